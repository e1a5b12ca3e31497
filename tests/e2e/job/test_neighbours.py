"""What a neighbour who reaches the default registry can do to a Job of another namespace.

The registry is real, with the settings of manifests/registry but for the tokens: it lets everybody in.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from modelpress.api import contract
from modelpress.api.contract import JobRequest, JobResult
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.image import MANIFEST_TYPE, kept_tag, key_tag, pack
from modelpress.artifacts.key import artifact_key, key_recipe
from modelpress.artifacts.stores.base import open_store
from tests.e2e.job.test_job import Pod, request
from tests.support.artifact_folders import make
from tests.support.models.trained import DigitsModels
from tests.support.servers.servers import Registry, run_registry

DEPLOYMENT = Path(__file__).resolve().parents[3] / "manifests" / "registry" / "deployment.yaml"
PERFECT = {"metric": "Accuracy", "original": 100.0, "compressed": 100.0, "rows": 400}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry as it is installed, but for where its files are and who may reach it."""
    (container,) = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
    entries = (entry for entry in container["env"] if not entry["name"].startswith("REGISTRY_AUTH"))
    settings = {entry["name"]: entry["value"] for entry in entries}
    del settings["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"]
    with run_registry(tmp_path_factory.mktemp("registry"), settings=settings) as running:
        yield running


class Neighbour:
    """Somebody else's pod, in the repository of the namespace `shop`."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.uri = f"oci://{registry.host}/modelpress/shop"
        self._root = f"http://{registry.host}/v2/modelpress/shop"
        self._folder = folder

    def push(self, key: str, source_digest: str, name: str) -> str:
        """Store an artifact that says what a Job asks for, with perfect scores; return its digest."""
        folder = make(self._folder / name, {"model.tflite": name.encode() * 999, "report.json": b"{}"}, key)
        lies: dict[str, Any] = {"source_digest": source_digest, "scores": PERFECT}
        wire = json.loads(manifests.load(folder).to_json())
        said = manifests.ArtifactManifest.model_validate({**wire, "sourceDigest": source_digest, **lies})
        manifests.save(said, folder)
        with pack(folder) as image:
            return open_store(self.uri).push(image, key)

    def ask(self, method: str, path: str, content: bytes | None = None) -> int:
        """Return what the registry answers."""
        headers = {"Content-Type": MANIFEST_TYPE, "Accept": MANIFEST_TYPE}
        answer = httpx.request(
            method, f"{self._root}/{path}", content=content, headers=headers, trust_env=False
        )
        return answer.status_code

    def read(self, path: str) -> bytes:
        """Return a document of the registry."""
        answer = httpx.get(f"{self._root}/{path}", headers={"Accept": MANIFEST_TYPE}, trust_env=False)
        return answer.raise_for_status().content


@pytest.mark.timeout(900)  # two whole compressions
def test_a_job_serves_its_own_whatever_a_neighbour_does(
    registry: Registry, digits_models: DigitsModels, tmp_path: Path
) -> None:
    asked = request(digits_models.functional, digits_models.flat_data)
    source, data = (file_sha256(path) for path in (digits_models.functional, digits_models.flat_data))
    recipe = key_recipe(JobRequest.model_validate(asked))
    key = artifact_key(source, {"evaluation": data}, recipe, version("modelpress"))  # as anybody can tell
    neighbour, pod = Neighbour(registry, tmp_path / "neighbour"), Pod(tmp_path)
    pod.store = neighbour.uri

    def run(**known: str) -> JobResult:
        pod.variables[contract.KNOWN_ARTIFACTS] = json.dumps({key: known["digest"]} if known else {})
        ended = pod.run(asked)
        assert ended.code == 0, ended.log
        result = JobResult.model_validate_json(ended.message)
        assert (result.artifact_key, result.source_digest) == (key, f"sha256:{source}")
        return result

    # before the first Job
    poison = neighbour.push(key, f"sha256:{source}", "poison")
    assert open_store(pod.store).find(key) == poison, "a store that is believed would give it"
    made = run()
    assert not made.reused
    assert made.artifact_digest != poison
    assert made.scores is not None
    assert made.scores.original < 100

    # after it: its tags are taken, its content cannot be
    poisoned = neighbour.read(f"manifests/{poison}")
    for tag in (key_tag(key), kept_tag(made.artifact_digest)):
        assert neighbour.ask("PUT", f"manifests/{tag}", poisoned) == 201
        assert neighbour.ask("DELETE", f"manifests/{tag}") == 405
    parts = json.loads(neighbour.read(f"manifests/{made.artifact_digest}"))
    assert neighbour.ask("PUT", f"manifests/{made.artifact_digest}", poisoned) == 400
    assert neighbour.ask("DELETE", f"manifests/{made.artifact_digest}") == 405
    for layer in parts["layers"]:
        assert neighbour.ask("DELETE", f"blobs/{layer['digest']}") == 405
        assert neighbour.ask("POST", f"blobs/uploads/?digest={layer['digest']}", b"poison") in (202, 400)
    found = run(digest=made.artifact_digest)
    assert found == made.model_copy(update={"reused": True})
    open_store(pod.store).pull(made.artifact_digest, tmp_path / "served")
    assert manifests.load_verified(tmp_path / "served").scores == made.scores

    # one of another model, whoever named it
    other = neighbour.push(key, "sha256:" + "0" * 64, "other")
    again = run(digest=other)
    assert not again.reused
    assert again.artifact_digest not in (poison, other)
    assert again.scores == made.scores
