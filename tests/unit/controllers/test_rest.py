"""Where the API server is, as a pod's environment tells it."""

from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from modelpress.controllers.rest import load_configuration


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("10.96.0.1", "https://10.96.0.1:443"),
        ("fd00:10:96::1", "https://[fd00:10:96::1]:443"),
    ],
)
def test_the_api_server_is_found_by_an_address_of_either_family(
    host: str, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TOKEN", "CERT"):
        (tmp_path / name).write_text("content")
        monkeypatch.setattr(incluster_config, f"SERVICE_{name}_FILENAME", str(tmp_path / name))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert load_configuration().host == url
