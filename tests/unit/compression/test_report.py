"""report.json: its published schema is that of the code, and readers of an old release say what is wrong."""

import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.report import document as report
from modelpress.compression.report import terminal
from modelpress.local.reports import verdict
from tests.support import reports

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == report.schema(), "run `make schema`"


def test_a_report_fits_its_schema_and_is_read_back(tmp_path: Path) -> None:
    made = reports.report()
    report.save(made, tmp_path)
    body = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert body["schemaVersion"] == report.SCHEMA_VERSION
    jsonschema.Draft202012Validator(json.loads(report.schema())).validate(body)
    assert report.load(tmp_path) == made


def test_a_report_of_a_newer_release_is_refused_by_its_version(tmp_path: Path) -> None:
    report.save(reports.report(schemaVersion=99), tmp_path)
    with pytest.raises(DataError, match="schemaVersion 99 was written by a newer release") as caught:
        report.load(tmp_path)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


def test_the_verdict_is_that_of_the_gate_by_the_limits_in_the_report() -> None:
    within = verdict(reports.report())
    assert within is not None
    assert within.missed is None
    evaluation = reports.wire()["evaluation"]
    strict = {**evaluation, "limits": {"maxDrop": "0.1%", "maxSize": "1Ki"}}
    missed = verdict(reports.report(evaluation=strict))
    assert missed is not None
    assert missed.missed is not None
    assert "maxDrop: Accuracy drops by 0.4%" in missed.missed
    assert "maxSize: the model has 6200 bytes" in missed.missed
    assert verdict(reports.report(evaluation=None)) is None
    assert verdict(reports.report(evaluation={**evaluation, "limits": None})) is None


def test_the_terminal_shows_every_metric_with_its_intervals_and_the_bytes_by_layer() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(terminal.render(reports.report()))
    text = console.export_text()
    for word in (
        "Accuracy",
        "97.00%",
        "95.60 to 98.40",
        "+0.40",
        "Agreement",
        "R2 was not measured",
        "learning rate",
        "dense",
        "1.9 GiB",
        "not measured",
        "Memory of one row",
        "image [4096]",
    ):
        assert word in text
