"""What a manifest may do to the folders and processes of a run."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelpress import cli
from tests.integration.local.pod_harness import Harness, python
from tests.support.command_line import GOOD, command


def test_files_of_secrets_are_for_the_user_alone(harness: Harness) -> None:
    harness.secrets["keys"] = {"token": b"abc"}
    before = os.umask(0)
    try:
        pod = harness.start(
            restartPolicy="Never",
            volumes=[{"name": "s", "secret": {"secretName": "keys"}}],
            containers=[python("print('ran')", volumeMounts=[{"name": "s", "mountPath": "/keys"}])],
        )
        harness.ended(pod)
    finally:
        os.umask(before)
    file = pod.folder / "volumes" / "s" / "token"
    assert file.read_bytes() == b"abc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("path", ["../../../escaped", "/escaped", "a/../../escaped", ".."])
def test_a_pod_writes_no_file_outside_of_its_volume(harness: Harness, path: str) -> None:
    harness.secrets["keys"] = {"token": b"abc"}
    volume = {"name": "s", "secret": {"secretName": "keys", "items": [{"key": "token", "path": path}]}}
    pod = harness.start(restartPolicy="Never", volumes=[volume], containers=[python("print('never')")])
    harness.until(pod.events, "an event")
    assert "invalid path of secret key token" in pod.events()[0]["message"]
    assert not list(harness.folder.rglob("*escaped*"))


def test_a_link_in_place_of_a_file_is_not_followed(harness: Harness) -> None:
    target = harness.folder / "target"
    target.write_bytes(b"mine")
    volume = harness.folder / "pod-0" / "volumes" / "s"
    volume.mkdir(parents=True)
    (volume / "token").symlink_to(target)
    harness.secrets["keys"] = {"token": b"abc"}
    pod = harness.start(
        restartPolicy="Never",
        volumes=[{"name": "s", "secret": {"secretName": "keys"}}],
        containers=[python("print('never')")],
    )
    harness.until(pod.events, "an event")
    assert "secret key token cannot be written" in pod.events()[0]["message"]
    assert target.read_bytes() == b"mine"


def test_a_link_in_place_of_the_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "state" / "runs").mkdir(parents=True)
    (tmp_path / "state" / "runs" / "digits").symlink_to(tmp_path / "mine")
    (tmp_path / "manifest.yaml").write_text(GOOD)
    result = CliRunner().invoke(cli.main, command("run", tmp_path))
    assert result.exit_code == 64
    assert "cannot be emptied; remove it, or give another --state" in result.stderr
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_a_process_that_cannot_be_started_ends_its_container(harness: Harness) -> None:
    pod = harness.start(
        restartPolicy="Never", containers=[python("print('never')", env=[{"name": "A", "value": "x\0y"}])]
    )
    status = harness.ended(pod)
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "StartError"
