"""What is in the images that `make images` builds."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.images.conftest import PROJECT, TARGETS, Container
from tests.support import images
from tests.unit.test_lock_files import locked

MEGABYTE = 10**6
LIMITS = {
    "operator": 120 * MEGABYTE,
    "worker": 180 * MEGABYTE,
    "compressor": 1500 * MEGABYTE,
}  # beyond the base
NOT_INSIDE = (
    *("pip", "pip3*", "pip-*", "setuptools*", "wheel", "wheel-*", "ensurepip", "uv"),
    *("cc", "c++", "gcc*", "g++*", "clang*", "ld", "as", "make"),
)
Get = Callable[[str], Container]


def config(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(images.buildah("inspect", "--type", "image", name))["OCIv1"]
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_small(target: str, built: dict[str, str], base: str) -> None:
    size = images.unpacked_bytes(built[target]) - images.unpacked_bytes(base)
    print(f"{target}: {size / MEGABYTE:.0f} MB beyond its base")
    assert 10 * MEGABYTE < size <= LIMITS[target]


@pytest.mark.parametrize("target", TARGETS)
def test_no_installer_and_no_compiler_is_inside(target: str, container: Get) -> None:
    root = container(target).root
    folders = [root / "bin", root / "usr/bin", root / "usr/local/bin", root / "opt/modelpress/bin"]
    folders += [*root.glob("usr/lib/python3*"), *root.glob("usr/local/lib/python3*")]
    folders += [*root.glob("usr/lib/python3*/dist-packages"), *root.glob("opt/modelpress/lib/python3*/*")]
    assert any(folder.name == "site-packages" for folder in folders)
    found = [path for folder in folders for pattern in NOT_INSIDE for path in folder.glob(pattern)]
    assert found == []
    assert list((root / "usr").rglob("pip-*.whl")) == []


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is(target: str, built: dict[str, str]) -> None:
    described = config(built[target])["config"]
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    git = ["git", "rev-parse", "HEAD"]
    revision = subprocess.run(git, cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()
    labels = {key.removeprefix("org.opencontainers.image."): v for key, v in described["Labels"].items()}
    assert labels["version"] == version
    assert labels["revision"] == (revision or "unknown")
    assert labels["source"] == "https://example.com/src"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"] == f"ModelPress {target}"
    assert described["User"] == "65532:65532"
    assert described["Entrypoint"] == ["modelpress"]  # a list: needs no shell


@pytest.mark.parametrize("target", TARGETS)
def test_the_bill_of_materials_is_beside_and_inside_and_lists_what_was_locked(
    target: str, container: Get
) -> None:
    text = (PROJECT / "build" / "sbom" / f"{target}.cdx.json").read_text()
    assert (container(target).root / "opt/modelpress/sbom.cdx.json").read_text() == text
    bill = json.loads(text)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {(re.sub("[-_.]+", "-", part["name"]).lower(), part["version"]) for part in bill["components"]}
    entries = {
        (name, str(entry.specifier)[2:])
        for name, kinds in locked(target).items()
        for entry in kinds
        if entry.marker is None
    }
    assert len(entries) > 20
    assert entries <= listed
    assert "modelpress" in {name for name, _ in listed}


@pytest.mark.parametrize("target", TARGETS)
def test_the_user_has_a_name_and_a_home_that_pods_can_write_to(target: str, container: Get) -> None:
    script = "import getpass, pwd, os, grp; print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_name,"
    script += " grp.getgrgid(os.getgid()).gr_name, os.path.expanduser('~'), os.getuid())"
    done = container(target).run("/opt/modelpress/bin/python", "-c", script)
    assert done.stdout.split() == ["modelpress", "modelpress", "modelpress", "/tmp", "65532"], done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_inside_can_be_written_by_its_user(target: str, container: Get) -> None:
    """So that a read-only root changes nothing."""
    script = (
        "find / -xdev ( -type f -o -type d ) -writable -not -path /proc/* -not -path /sys/* -not -path /dev/*"
    )
    done = container(target).run("find", *script.split()[1:])
    found = done.stdout.split()
    assert "/tmp" in found, f"find has not looked: {done.stderr}"
    writable = {path for path in found if not path.startswith(("/tmp", "/var/tmp", "/run/lock"))}
    assert writable == set(), done.stderr


IMAGES = ("--compressor-image=a", "--worker-image=b", "--worker-gpu-image=c")
COMMANDS = {
    "operator": ("modelpress", "operator", "--store=oci://a.example/b", *IMAGES),
    "worker": ("modelpress", "serve", "/tmp"),
    "compressor": ("modelpress", "job"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_start_compiles_no_module(target: str, container: Get) -> None:
    """Each command ends with its own error only after its imports."""
    said = container(target).run(*COMMANDS[target], PYTHONVERBOSE="1").stderr
    assert_all_compiled(said)


def test_the_process_that_converts_compiles_no_module(container: Get) -> None:
    module = "modelpress.compression.formats.litert.conversion_server"
    done = container("compressor").run(
        "/opt/modelpress/bin/python", "-m", module, "tensorflow", PYTHONVERBOSE="1"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "import 'tensorflow'" in done.stderr
    assert_all_compiled(done.stderr)


def assert_all_compiled(said: str) -> None:
    """Check what `python -v` says: where each module's code came from."""
    sources = re.findall(r"^# code object from '?([^'\n]+)'?$", said, re.MULTILINE)
    assert len(sources) > 100, said[-2000:]
    assert [source for source in sources if not source.endswith(".pyc")] == []
    assert "import 'modelpress" in said
