"""What `kubectl apply -k manifests/operator`, or an overlay of it, gives to the operator."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress import cli
from tests.support.servers import needs
from tests.support.servers.binaries import kubernetes

PROJECT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
TARGETS = ("operator", "compressor", "worker", "worker-gpu")
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A copy of the manifests that a test may edit."""
    for name in ("manifests", "crds"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    return tmp_path / "manifests" / "operator"


def overlay(folder: Path, base: Path, images: list[dict[str, str]], **more: Any) -> Path:
    """Write a kustomization over `base`; return its folder."""
    folder.mkdir()
    body = {"resources": [os.path.relpath(base, folder)], "images": images, **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(body))
    return folder


def moved(registry: str, **version: str) -> list[dict[str, str]]:
    """Entries of `images:` that take all images from another registry."""
    return [
        {"name": f"modelpress/{target}", "newName": f"{registry}/{target}", **version} for target in TARGETS
    ]


def render(folder: Path) -> str:
    needs.program("controlplane")
    command = [*kubernetes("kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pod(rendered: str, deployment: str) -> dict[str, Any]:
    """Return the pod spec of a Deployment."""
    for document in yaml.safe_load_all(rendered):
        if document["kind"] == "Deployment" and document["metadata"]["name"] == deployment:
            spec: dict[str, Any] = document["spec"]["template"]["spec"]
            return spec
    raise AssertionError(f"no Deployment {deployment}")


def images(rendered: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the operator's own image and those that its command line then has, by target."""
    (container,) = pod(rendered, "modelpress-operator")["containers"]
    for name in [name for name in os.environ if name.startswith("MODELPRESS_")]:
        monkeypatch.delenv(name)
    for variable in container.get("env", []):
        monkeypatch.setenv(variable["name"], variable["value"])
    command: list[str] = [*container["command"], *container["args"]]
    assert command[:2] == ["modelpress", "operator"]
    group = cli.main.make_context("modelpress", command[1:])
    options = cli.operator.make_context("operator", command[2:], parent=group).params
    return {
        "operator": container["image"],
        "compressor": options["compressor_image"],
        "worker": options["worker_image"],
        "worker-gpu": options["worker_gpu_image"],
    }


def test_plain_manifests_name_the_images_of_this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = render(PROJECT / "manifests" / "operator")
    assert images(rendered, monkeypatch) == {t: f"modelpress/{t}:{VERSION}" for t in TARGETS}


@pytest.mark.parametrize(
    ("version", "suffix"),
    [
        ({}, f":{VERSION}"),
        ({"newTag": "7"}, ":7"),
        ({"digest": DIGEST}, f"@{DIGEST}"),
    ],
)
def test_an_overlay_moves_the_operator_and_the_images_that_it_gives_to_pods(
    manifests: Path, tmp_path: Path, version: dict[str, str], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = overlay(tmp_path / "overlay", manifests, moved("registry.example.com:5000/ml", **version))
    expected = {target: f"registry.example.com:5000/ml/{target}{suffix}" for target in TARGETS}
    assert images(render(folder), monkeypatch) == expected


def test_edits_in_place_and_the_same_overlay_twice_give_the_same(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = moved("registry.example.com/ml")
    once = overlay(tmp_path / "once", manifests, entries)
    twice = overlay(tmp_path / "twice", once, entries)
    expected = {target: f"registry.example.com/ml/{target}:{VERSION}" for target in TARGETS}
    assert images(render(twice), monkeypatch) == expected
    # as `kustomize edit set image` writes
    file = manifests / "kustomization.yaml"
    body = yaml.safe_load(file.read_text())
    assert [entry["name"] for entry in body["images"]] == [f"modelpress/{target}" for target in TARGETS]
    body["images"] = [{**entry, "newTag": VERSION} for entry in entries]
    file.write_text(yaml.safe_dump(body))
    assert images(render(manifests), monkeypatch) == expected


def test_an_overlay_gives_pull_secrets_to_operator_and_registry_and_moves_the_registry(
    manifests: Path, tmp_path: Path
) -> None:
    secrets = [{"name": "registry-login"}]
    (readme,) = re.findall(r"```yaml\n(patches:.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    patches = yaml.safe_load(readme)["patches"]
    entries = [{"name": "registry", "newName": "mirror.example.com/registry", "digest": DIGEST}]
    rendered = render(overlay(tmp_path / "overlay", manifests, entries, patches=patches))
    for name in ("modelpress-operator", "modelpress-registry"):
        assert pod(rendered, name)["imagePullSecrets"] == secrets
    (registry,) = pod(rendered, "modelpress-registry")["containers"]
    assert registry["image"] == f"mirror.example.com/registry@{DIGEST}"
    assert registry["env"] == pod(render(manifests), "modelpress-registry")["containers"][0]["env"]


def test_the_registry_is_pinned_to_a_release() -> None:
    (registry,) = pod(render(PROJECT / "manifests" / "operator"), "modelpress-registry")["containers"]
    assert re.fullmatch(r"registry:\d+\.\d+\.\d+", registry["image"])
