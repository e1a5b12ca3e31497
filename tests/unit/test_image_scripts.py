"""The scripts that build images, as far as they need no engine."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "images"


def cut(file: Path) -> int:
    """Call the function of images/strip.py."""
    specification = importlib.util.spec_from_file_location("strip_libraries", SCRIPTS / "strip.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return int(module.cut(file))


def test_a_library_without_its_symbol_tables_still_loads_and_works(tmp_path: Path) -> None:
    found = importlib.util.find_spec("csimdjson")
    assert found is not None
    assert found.origin is not None
    library = tmp_path / Path(found.origin).name
    shutil.copyfile(found.origin, library)
    before = library.stat().st_size
    by = cut(library)
    assert by > 0
    assert library.stat().st_size == before - by
    assert cut(library) == 0
    script = "import csimdjson; print(csimdjson.__file__, csimdjson.Parser().parse(b'[1, 2]').as_list())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split(maxsplit=1) == [str(library), "[1, 2]\n"], done.stderr


@pytest.mark.parametrize("content", [b"", b"/* GNU ld script */", zlib.compress(b"x" * 100)])
def test_a_file_that_is_no_library_stays(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "libx.so"
    file.write_bytes(content)
    assert cut(file) == 0
    assert file.read_bytes() == content


def script(
    tmp_path: Path, *arguments: str, engines: dict[str, str], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run images.sh where only the programs `engines` are engines, with these bodies."""
    programs = tmp_path / "bin"
    programs.mkdir(parents=True)
    for name in ("sh", "sed", "git", "dirname", "mkdir"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name, body in engines.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    checkout = tmp_path / "checkout"
    (checkout / "images").mkdir(parents=True)
    shutil.copy(SCRIPTS / "images.sh", checkout / "images/images.sh")
    shutil.copy(PROJECT / "pyproject.toml", checkout)
    command = [str(programs / "sh"), str(checkout / "images/images.sh"), *arguments]
    environment = {"PATH": str(programs), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_an_engine_one_line_says_so(tmp_path: Path) -> None:
    done = script(tmp_path, "build", "operator", engines={"docker": "exit 1"})  # no daemon
    assert (done.returncode, done.stderr) == (69, "error: none of docker, podman and buildah works here\n")


def test_docker_gets_what_the_dockerfile_takes_with_a_recorded_docker(tmp_path: Path) -> None:
    record = tmp_path / "record"
    engine = f'echo "$@" "$SOURCE_DATE_EPOCH" >>{record}'
    options = {"BASE": "debian", "REGISTRY": "registry.example.com/ml", "TAG": "7", "REVISION": "abc"}
    for command in ("build", "push"):
        done = script(tmp_path / command, command, "worker", engines={"docker": engine}, **options)
        assert done.returncode == 0, done.stderr
    image = "registry.example.com/ml/modelpress/worker:7"
    _info, build, run, _info2, push = record.read_text().splitlines()
    assert build.startswith(
        f"build --target worker --tag {image} --build-arg BASE=debian --build-arg VERSION="
    )
    assert "--build-arg REVISION=abc --build-arg SOURCE=unknown . 315532800" in build
    assert run.startswith(f"run --rm --entrypoint cat {image} /opt/modelpress/sbom.cdx.json")
    assert push == f"push {image} 315532800"
