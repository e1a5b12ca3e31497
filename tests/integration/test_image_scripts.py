"""The script that builds images, as far as it needs no engine."""

import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "operator/images"


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
    (checkout / "operator/images").mkdir(parents=True)
    shutil.copy(SCRIPTS / "images.sh", checkout / "operator/images/images.sh")
    shutil.copy(PROJECT / "pyproject.toml", checkout)
    command = [str(programs / "sh"), str(checkout / "operator/images/images.sh"), *arguments]
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
