"""Which pods show the default store a token of their ServiceAccount."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from modelpress.api import defaults, names
from modelpress.planning.preview import preview
from tests.unit.planning.fake_cluster import SETTINGS

GUARDED = replace(SETTINGS, store="oci://registry:5000/models", store_audience="registry")
SECRET = {"secretRef": {"name": "login"}}


def shown(settings: Any, storage: dict[str, Any] | None) -> dict[str, bool]:
    """Return for Job and Deployment whether their pods have the token."""
    spec = {"model": {"uri": "https://example.com/digits.keras"}, **({"storage": storage} if storage else {})}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "digits", "namespace": "shop"},
        "spec": {**spec, "compression": {"quantization": {"scheme": "Float16"}}},
    }
    pods = {
        made["kind"]: made["spec"]["template"]["spec"]
        for made in preview(body, settings)
        if made["kind"] in ("Job", "Deployment")
    }
    return {
        kind: any("projected" in volume for volume in pod["volumes"])
        and any(
            mount["mountPath"] == "/etc/modelpress/secrets/storage"
            for container in (*pod.get("initContainers", ()), *pod["containers"])
            for mount in container["volumeMounts"]
        )
        for kind, pod in pods.items()
    }


@pytest.mark.parametrize(
    ("storage", "has_token"),
    [
        (None, True),
        ({"uri": "oci://registry:5000/models/shop"}, True),
        ({"uri": "oci://registry:5000/models/bank"}, False),
        ({"uri": "oci://elsewhere.example.com/models/shop"}, False),
        ({"uri": "oci://elsewhere.example.com/models/shop", **SECRET}, False),
        ({"uri": "oci://registry:5000/models/shop", **SECRET}, False),
    ],
)
def test_a_token_is_shown_to_the_default_store_alone(storage: dict[str, Any] | None, has_token: bool) -> None:
    assert shown(GUARDED, storage) == {"Job": has_token, "Deployment": has_token}


def test_an_operator_without_an_audience_gives_none() -> None:
    assert shown(replace(GUARDED, store_audience=None), None) == {"Job": False, "Deployment": False}


def test_the_operators_storage_is_another_store() -> None:
    text = yaml.safe_dump({"storage": {"uri": "oci://elsewhere.example.com/models"}})
    settings = replace(GUARDED, defaults=defaults.parse(text))
    assert shown(settings, None) == {"Job": False, "Deployment": False}
