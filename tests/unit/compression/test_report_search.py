"""The candidates of scheme Auto in the reports."""

from typing import Any

import pytest
from rich.console import Console

from modelpress.compression.report import assemble as result
from modelpress.compression.report import search as report_search
from modelpress.compression.report import terminal
from modelpress.compression.report.document import Report
from modelpress.compression.report.html import page as report_html
from modelpress.compression.report.html.scatter import Point, scatter, together
from tests.support.reports import report


def search(*, passed: bool = True, name: str = "dense/MatMul") -> dict[str, Any]:
    times = [
        {"batch": batch, "original": 10.0, "compressed": 4.0, "speedup": 2.5 * batch} for batch in (1, 32)
    ]
    measured = {"score": 97.0, "drop": 0.4, "dropInterval": [-0.3, 1.1], "latency": times}
    candidates = [
        {"name": "Int8Dynamic", "bytes": 6200, "ratio": 2.7, **measured, "whyNot": "larger than Int4Dynamic"},
        {"name": "Int8Static", "whyNot": "needs data.calibration"},
        {
            "name": "Int4Dynamic, 1 Int8Dynamic",
            "parameters": {"scheme": "Int4Dynamic", "Int8Dynamic": name},
            "bytes": 4100,
            "ratio": 4.1,
            **measured,
            "passed": passed,
            "front": True,
            "chosen": True,
        },
    ]
    note = "it is the smallest" if passed else "no candidate passes the limits: it comes closest to them"
    ranking = [
        {"operators": [name, "b"], "scheme": "Int4Dynamic", "bytes": 16384, "damage": 0.012},
        {"operators": ["c"], "scheme": "Int4Dynamic", "bytes": 64},
    ]
    return {
        "rows": 270,
        "budget": 12,
        "passed": passed,
        "note": note,
        "candidates": candidates,
        "sensitivity": ranking,
    }


def made(**fields: Any) -> Report:
    recipe = {"scheme": "Auto", "chosen": "Int4Dynamic, 1 Int8Dynamic"}
    return report(recipe=recipe, search=search(**fields))


def printed(found: Report) -> str:
    console = Console(width=200, record=True)
    console.print(terminal.render(found))
    return console.export_text()


def test_the_terminal_shows_every_candidate_and_the_choice() -> None:
    shown = printed(made())
    assert "Auto -> Int4Dynamic, 1 Int8Dynamic" in shown
    for text in ("needs data.calibration", "larger than Int4Dynamic", "4.10x", "80.00x", "+0.40", "chosen"):
        assert text in shown
    assert "* Int4Dynamic, 1 Int8Dynamic" in shown
    assert "Int4Dynamic alone, dense/MatMul, b: error 1.2 %" in shown


def test_the_page_shows_every_candidate_as_a_row_and_those_that_work_as_dots() -> None:
    page = report_html.render(made(), None)
    assert page.count('<circle class="dot original"') >= 1
    for text in (
        "Candidates of Auto",
        ">Candidate<",
        "needs data.calibration",
        "Sensitive operators",
        "1.2 %",
        "does not work",
    ):
        assert text in page


@pytest.mark.parametrize("render", [printed, lambda found: report_html.render(found, None)])
def test_that_none_passes_is_said_plainly(render: Any) -> None:
    shown = render(made(passed=False))
    assert "No candidate passes the limits" in shown
    assert "chosen: the closest to the limits" in shown
    failed = made(passed=False)
    assert "scheme Auto: no candidate passes the limits" in result.warnings((), None, failed.search)[0]


def test_names_of_operators_are_text() -> None:
    page = report_html.render(made(name="<script>alert(1)</script>[red]"), None)
    assert "<script>" not in page
    assert "[red]" in printed(made(name="[red]x"))


def test_a_report_without_a_search_shows_none() -> None:
    assert "Candidates of Auto" not in printed(report()) + report_html.render(report(), None)
    assert report_search.asked(report()) == "Int8Dynamic"


def test_candidates_at_the_same_place_share_a_label() -> None:
    assert together([(0, 0, "1"), (5, 5, "2"), (99, 0, "3")]) == [(0, 0, "1, 2"), (99, 0, "3")]


@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_chart_of_equal_candidates_has_coordinates(points: int) -> None:
    chart = scatter([Point(str(i), 100, 98.0, i == 0, True) for i in range(points)])
    circles = [item for item in chart.iter() if item.tag == "circle"]
    assert len(circles) == points
    assert all(0 <= float(item.get("cx", "")) <= 760 for item in circles)
