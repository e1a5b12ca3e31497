"""Texts of others on the terminal: manifests, artifacts, logs and answers are shown and never obeyed."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelpress import cli, logs
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.local import documents, reports
from modelpress.local import plan as planned
from modelpress.local.display import Display
from tests.support import manifest_table
from tests.support.reports import wire

TITLE = "\x1b]0;mine\x07"  # sets the title of the window
HOSTILE = (
    f"{TITLE}\x1b[2J\x9b1m\x1b]8;;http://evil\x1b\\x\x08\x7f\r\u202egnp.exe\u2066\u200b"
    " [red]a[/red] [link=x]b[/link] :boom:"
)
SHOWN = (
    r"\x1b]0;mine\x07\x1b[2J\x9b1m\x1b]8;;http://evil\x1b\x\x08\x7f\r\u202egnp.exe\u2066\u200b"
    " [red]a[/red] [link=x]b[/link] :boom:"
)


def modelpress(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def assert_harmless(text: str) -> None:
    assert all(letter.isprintable() for letter in text if letter != "\n"), repr(text)


PLACES = {
    "a key of the spec": ("spec", HOSTILE, 1),
    "a key of a map": ("spec", "worker", {"nodeSelector": {HOSTILE: 1}}),
    "a value": ("spec", "devices", {"type": HOSTILE}),
    "a value with a line break": ("spec", "devices", {"type": f"x\nerror: forged\n{HOSTILE}"}),
    "a variable": ("spec", "job", {"env": [{"name": HOSTILE}]}),
    "the value of a variable": ("spec", "job", {"env": [{"name": "A", "value": [HOSTILE]}]}),
    "an amount": ("spec", "job", {"resources": {"limits": {HOSTILE: [HOSTILE]}}}),
    "a local path": ("spec", "model", {"uri": f"~nobody{TITLE}/x"}),
    "the name": ("metadata", "name", HOSTILE),
    "a label": ("metadata", "labels", {HOSTILE: HOSTILE}),
    "the kind": ("kind", "", HOSTILE),
}


@pytest.mark.parametrize("command", ["plan", "run", "compress"])
@pytest.mark.parametrize("place", PLACES)
def test_errors_of_a_manifest(place: str, command: str, tmp_path: Path) -> None:
    part, key, value = PLACES[place]
    body: dict[str, Any] = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits"},
        "spec": {"model": {"uri": "s3://models/m"}},
    }
    if key:
        body[part][key] = value
    else:
        body[part] = value
    path = tmp_path / "manifest.yaml"
    path.write_text(json.dumps(body))
    more = {"compress": ["-o", str(tmp_path / "out")], "run": ["--state", str(tmp_path / "state")]}
    result = modelpress(command, "-f", str(path), *more.get(command, ()))
    assert (result.exit_code, result.stdout) == (64, "")
    assert_harmless(result.stderr)
    assert "mine" in result.stderr or (place, command) == ("a local path", "plan")
    assert all(
        line.startswith((f"error: {path}: ", f"warning: {path}: ")) for line in result.stderr.splitlines()
    )


def test_a_secret_and_a_tag(tmp_path: Path) -> None:
    for text in (
        json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": HOSTILE}}),
        json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {HOSTILE: ""}}),
        "a: !<!%1b%5d0;mine%07> b",
        "a: [\u202emine\u2066, *mine\u2066",
    ):
        (tmp_path / "manifest.yaml").write_text(text)
        result = modelpress("plan", "-f", str(tmp_path / "manifest.yaml"))
        assert result.exit_code == 64
        assert_harmless(result.stderr)
        assert result.stderr.count("\n") == 1


def test_names_of_files(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    missing = modelpress("plan", "-f", str(tmp_path / name))
    assert missing.exit_code == 66
    assert_harmless(missing.stderr)
    (tmp_path / name).mkdir()
    assert_harmless(modelpress("report", str(tmp_path / name)).stderr)
    (tmp_path / name / "manifest.yaml").write_text("a: [")
    assert_harmless(modelpress("plan", "-f", str(tmp_path / name / "manifest.yaml")).stderr)


def test_what_plan_prints(tmp_path: Path) -> None:
    text = manifest_table.manifest(spec=f"worker: {json.dumps({'annotations': {'a': HOSTILE}})}")
    (tmp_path / "manifest.yaml").write_text(text)
    result = modelpress("plan", "-f", str(tmp_path / "manifest.yaml"))
    assert result.exit_code == 0
    assert "mine" in result.stdout
    assert_harmless(result.stdout)


def test_an_error_that_quotes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> int:
        raise DataError(Reason.INVALID_MODEL, f"the server answers 500 {HOSTILE}\nsecond line")

    monkeypatch.setattr(planned, "plan", failing)
    result = modelpress("plan", "-f", "x")
    assert result.stderr == f"error: the server answers 500 {SHOWN}\nerror: second line\n"


def test_an_unexpected_error_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> documents.Documents:
        raise LookupError(HOSTILE)

    monkeypatch.setattr(documents, "read", failing)
    result = modelpress("plan", "-f", "x")
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert result.stderr.endswith(f"error: unexpected LookupError: {SHOWN}\n")
    assert_harmless(result.stderr)


def test_lines_of_containers(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(verbose=True) as display:
        display.say(HOSTILE)
        display.log("job", HOSTILE)
        display.log("job", json.dumps({"level": "WARNING", "message": HOSTILE}))
        display.log(
            "job",
            json.dumps({"message": "", "progress": {"step": HOSTILE, "done": 1, "total": 2, HOSTILE: 1}}),
        )
    said = capsys.readouterr().err
    assert said.splitlines() == [SHOWN, f"job: {SHOWN}", f"job: {SHOWN}", f"{SHOWN} 1/2 {SHOWN}=1"]


def test_bars_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "500")
    with Display() as display:
        display.advance(f"one {HOSTILE}", 1, 2, phase=f"two {HOSTILE}")
        display.say(f"three {HOSTILE}")
    said = capsys.readouterr().err
    assert "\x1b" in said, "bars are drawn"
    for number in ("one", "two", "three"):
        assert f"{number} {SHOWN}" in said
    assert all(letter not in said for letter in (TITLE, "\x9b", "\u202e", "\u2066", "\x7f"))


def hostile_report() -> dict[str, Any]:
    """Return a report in which each text that an artifact may choose is hostile."""
    found = wire()

    def spoiled(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: spoiled(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item, name) for item in value]
        return (
            f"{value}{HOSTILE}"
            if isinstance(value, str) and name not in ("metric", "minScore", "maxDrop", "maxSize", "dtype")
            else value
        )

    spoilt: dict[str, Any] = spoiled(found)
    spoilt["passes"][0]["note"] = HOSTILE
    spoilt["passes"][0]["parameters"] = {HOSTILE: HOSTILE}
    spoilt["warnings"] = [HOSTILE]
    spoilt["latencyOf"] = HOSTILE
    return spoilt


def test_the_report_of_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    (tmp_path / "report.json").write_text(json.dumps(hostile_report(), ensure_ascii=False))
    reports.show(tmp_path, as_json=False)
    said = capsys.readouterr().out
    assert_harmless(said)
    assert said.count(r"\x1b]0;mine") > 10
    assert "[red]a[/red] [link=x]b[/link] :boom:" in said
    monkeypatch.setenv("FORCE_COLOR", "1")
    reports.show(tmp_path, as_json=False)
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert all(
        letter not in coloured for letter in (TITLE, "\x1b]", "\x9b", "\u202e", "\u2066", "\x7f", "\x1b[2J")
    )


def test_the_report_as_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = hostile_report()
    (tmp_path / "report.json").write_text(json.dumps(found, ensure_ascii=False))
    reports.show(tmp_path, as_json=True)
    said = capsys.readouterr().out
    assert_harmless(said)
    assert json.loads(said) == found


def test_a_report_that_is_none(tmp_path: Path) -> None:
    for content in (
        "[" * 100_000,
        '{"name": ' + "9" * 6_000 + "}",
        json.dumps({HOSTILE: 1}),
        "\x1b[2J",
        '{"a": "\x1b"}',
    ):
        (tmp_path / "report.json").write_text(content)
        result = modelpress("report", str(tmp_path))
        assert result.exit_code == 65
        assert result.stderr.count("\n") == 1
        assert_harmless(result.stderr)


def test_log_lines_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("MODELPRESS_LOG_FORMAT", raising=False)
    logs.configure()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("test").exception("model %s", HOSTILE)
    text = capsys.readouterr().err
    monkeypatch.setenv("MODELPRESS_LOG_FORMAT", "json")
    logs.configure()
    logging.getLogger("test").error("model %s", HOSTILE)
    line = capsys.readouterr().err
    assert_harmless(text)
    assert f"ERROR   model {SHOWN}\nTraceback" in text
    assert json.loads(line)["message"] == f"model {HOSTILE}"
    assert_harmless(line.replace("\x7f", ""))
