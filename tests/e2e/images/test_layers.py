"""Layers: what a change of the code builds and pushes again."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.e2e.images.conftest import PROJECT, Container, make
from tests.support import images
from tests.support.servers.servers import Registry

INPUTS = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")


def layers(name: str) -> list[str]:
    """Return the digests of an image's layers, unpacked, the base's first."""
    found: list[str] = json.loads(images.buildah("inspect", "--type", "image", name))["OCIv1"]["rootfs"][
        "diff_ids"
    ]
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what images are built from, with other times, as another machine has it."""
    for name in INPUTS:
        shutil.copyfile(PROJECT / name, tmp_path / name)
    shutil.copytree(PROJECT / "operator", tmp_path / "operator", copy_function=shutil.copyfile)
    (tmp_path / "operator/images/images.sh").chmod(0o755)
    return tmp_path


def test_a_change_of_the_code_changes_only_the_last_two_layers(
    built: dict[str, str], base: str, checkout: Path
) -> None:
    """Our code and the bill of materials; the layer of the packages is the one with TensorFlow."""
    before = layers(built["compressor"])
    with (checkout / "operator/modelpress/cli.py").open("a") as source:
        source.write("# changed\n")
    changed = "localhost/modelpress-test/changed:1"
    images.build(checkout, "compressor", changed, base)
    after = layers(changed)
    assert after[:-2] == before[:-2]
    assert after[-2] != before[-2]
    assert len(before) - len(layers(base)) == 4  # base's changes, packages, our code, bill


def test_a_build_from_nothing_on_another_machine_makes_the_same_layers(
    built: dict[str, str], base: str, checkout: Path
) -> None:
    again = "localhost/modelpress-test/again:1"
    options = ("--no-cache", "--layers", "--timestamp", "315532800", "--build-arg", f"BASE={base}")
    images.buildah("build", *options, "--target", "operator", "--tag", again, str(checkout))
    assert layers(again) == layers(built["operator"])


def test_make_push_puts_an_image_into_a_registry(
    built: dict[str, str], base: str, registry: Registry
) -> None:
    make("push", "IMAGES=operator", f"BASE={base}", "TAG=7", f"REGISTRY={registry.host}/ml", "PLAIN_HTTP=1")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    url = f"http://{registry.host}/v2/ml/modelpress/operator/manifests/7"
    answer = httpx.get(url, headers=accept, trust_env=False)
    assert answer.status_code == 200, answer.text
    manifest = answer.json()
    configuration = json.loads(registry.blob(manifest["config"]["digest"]).read_bytes())
    assert configuration["rootfs"]["diff_ids"] == layers(built["operator"])


@pytest.mark.usefixtures("base")
def test_an_image_on_a_base_like_python_slim_with_debians_python_works(checkout: Path) -> None:
    """As python:3.13-slim: python3 and pip in /usr/local, no byte code, no PEP 668."""
    plain = images.base_image("trixie")
    slim, name = "localhost/modelpress-test/slim:1", "localhost/modelpress-test/on-slim:1"
    folder = checkout / "slim"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM {plain}\n"
        "RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && find /usr/lib -name '*.pyc' -delete"
        " && python3 -m venv /tmp/v && mkdir -p /usr/local/lib/python3.13/site-packages"
        " && cp -r /tmp/v/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/site-packages/"
        " && cp /tmp/v/bin/pip3 /usr/local/bin/pip3 && rm -rf /tmp/v"
        " && ln -s /usr/bin/python3.13 /usr/local/bin/python3\n"
    )
    images.buildah("build", "--tag", slim, str(folder))
    images.build(checkout, "operator", name, slim)
    identifier = images.buildah("from", "--pull-never", name).strip()
    try:
        root = Path(images.buildah("mount", identifier).strip())
        assert (root / "opt/modelpress/bin/python3").readlink() == Path("/usr/local/bin/python3")
        assert list(root.glob("usr/local/lib/python3*/site-packages/pip*")) == []
        done = Container(identifier, root).run("modelpress", "--version", PYTHONVERBOSE="1")
        assert done.stdout.startswith("modelpress, version") or "0.1.0" in done.stdout, done.stderr[-2000:]
        sources = [line for line in done.stderr.splitlines() if line.startswith("# code object from ")]
        assert [line for line in sources if not line.rstrip("'").endswith(".pyc")] == []
    finally:
        images.buildah("rm", identifier)
