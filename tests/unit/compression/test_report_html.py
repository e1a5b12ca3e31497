"""The HTML report: well-formed, self-contained, and safe with whatever names a model file holds."""

import re
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.compression.report import readable
from modelpress.compression.report.document import LayerSize, Report
from modelpress.compression.report.html import charts, sections
from modelpress.compression.report.html import page as report_html
from modelpress.compression.report.html.page import PageVerdict
from tests.support import reports

HOSTILE = (
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table><iframe src='https://example.com'>",
    "<!--",
    "]]>&lt;&amp;'\"",
    "javascript:alert(1)",
    "a\x00b\x1b[31m\u202egnp.exe\ufeff",
    "x" * 3000,
    "{{7*7}}${7*7}",
)


def render(report: Report, missed: str | None = None) -> str:
    return report_html.render(report, PageVerdict(missed))


def elements(page: str) -> Iterator[Any]:
    """Parse as browsers do; raise for anything that they would have to repair."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return iter(parser.parse(page).iter())


def name_of(element: Any) -> str:
    return str(element.tag).rpartition("}")[2] if isinstance(element.tag, str) else "comment"


def check(page: str) -> str:
    """Check that the page is well-formed and loads nothing; return what a reader sees."""
    text = []
    for element in elements(page):
        assert name_of(element) not in {"script", "iframe", "img", "link", "object", "embed", "a", "comment"}
        for attribute in element.attrib:
            assert not attribute.lower().startswith("on")
            assert attribute not in {"src", "href", "xlink:href", "srcset", "action", "style"}
        if name_of(element) not in {"style"}:
            text += [element.text or "", element.tail or ""]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|expression\(", style[1])
    return " ".join(text)


def test_the_page_tells_everything_and_loads_nothing() -> None:
    page = render(reports.report())
    text = check(page)
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page
    for word in (
        "digits",
        "within the limits",
        "540 rows of data.evaluation",
        "minScore 92%",
        "maxDrop 0.5%",
        "R2 was not measured: labels have shape (540,)",
        "95.60 to 98.40",
        "174",
        "2.68x",
        "dense/kernel",
        "12.0 ms",
        "fewer than 1,024 elements",
        "540 rows cannot tell it from the limit",
        "Learning rate 0.0003",
        "4,736",
        "(parameters)",
        "merged by the converter",
        "81 %",
        "700.0 MiB",
        "61.2 s",
        "not measured",
        "Length of inputs",
        "image [4096]",
    ):
        assert word in text, word


def test_a_missed_limit_stands_above_everything_else() -> None:
    text = check(render(reports.report(), "maxDrop: Accuracy drops by 0.6%"))
    assert "misses the limits" in text
    assert text.index("maxDrop: Accuracy drops by 0.6%") < text.index("Quality")
    assert "no limits set" in check(report_html.render(reports.report(), None))


def test_a_report_without_measurements_has_no_empty_sections() -> None:
    bare = reports.report(
        evaluation=None,
        inputSizes=None,
        latency=[],
        layers=[],
        histograms=[],
        passes=[],
        warnings=[],
        steps=[],
    )
    text = check(render(bare))
    for heading in (
        "Quality",
        "Confusion",
        "Latency",
        "Length of inputs",
        "Size by layer",
        "Weights",
        "Pass:",
        "Warning",
        "memory",
    ):
        assert heading not in text


def test_outputs_without_numbers_get_no_chart_of_their_score() -> None:
    invalid = {
        **reports.metric("Accuracy", 97.4, -9999.0, compressedInterval=None, dropInterval=None),
        "rows": 540,
        "invalid": "output digit is NaN or infinite for 3 rows",
    }
    page = render(reports.report(evaluation=invalid), "minScore")
    assert "no" in check(page)
    assert "chart" in page
    assert "Drop, percentage points" not in page


def test_several_outputs_are_listed_and_the_worst_counts() -> None:
    outputs = [
        {"name": "first", "original": 97.4, "compressed": 97.3},
        {"name": "second", "original": 98.0, "compressed": 97.0, "compressedInterval": [96.0, 98.0]},
    ]
    evaluation = {**reports.wire()["evaluation"], "outputs": outputs}
    text = check(render(reports.report(evaluation=evaluation)))
    assert "The worst of 2 outputs counts" in text
    assert "second" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    body = reports.wire(name=name, warnings=[name], recipe={name: name}, versions={name: name})
    body["source"].update(file=name, kind=name, digest=name)
    body["source"]["inputs"][0]["name"] = name[:512]
    for step in body["passes"]:
        step.update(name=name, note=name, parameters={name: name})
        for tensor in step["tensors"]:
            tensor.update(name=name, facts={name: 1.0})
    body["passes"][1]["tensors"][1]["skipped"] = name
    body["evaluation"]["confusion"][0].update(output=name, classes=[name, "1", "2"])
    body["evaluation"]["outputs"] = [{"name": name, "original": 1.0, "compressed": 1.0}] * 2
    body["layers"][0]["name"] = body["histograms"][0]["name"] = name
    page = render(Report.model_validate(body), name)
    text = check(page)
    assert not re.search("[\x00\x1b\u202e\ufeff]", page)
    if name.isprintable():
        assert name in text


def test_many_layers_share_a_row_and_no_byte_is_lost() -> None:
    layers = [LayerSize(name=f"layer{i}", before=i * 10, after=i) for i in range(500)]
    rows = sections.folded(layers)
    assert len(rows) == sections.MAX_LAYERS
    assert rows[-1].name == "(461 smaller layers)"
    assert sum(row.before for row in rows) == sum(layer.before for layer in layers)
    assert sum(row.after for row in rows) == sum(layer.after for layer in layers)
    assert [row.name for row in rows[:-1]] == [f"layer{i}" for i in range(461, 500)]


def test_many_tensors_are_counted_and_left_to_the_json() -> None:
    tensor = reports.wire()["passes"][1]["tensors"][0]
    tensors = [{**tensor, "name": f"t{i}"} for i in range(100)]
    text = check(render(reports.report(passes=[{"name": "quantization", "tensors": tensors}])))
    assert "60 further tensors are in report.json" in text
    assert "100 tensors changed" in text


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
@settings(max_examples=200)
def test_ticks_are_few_round_and_within_the_axis(low: float, span: float) -> None:
    found = charts.ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)


@given(
    st.floats(-9999, 100),
    st.one_of(st.none(), st.tuples(st.floats(-9999, 100), st.floats(-9999, 100))),
    st.one_of(st.none(), st.floats(0, 100)),
    st.booleans(),
)
@settings(max_examples=100)
def test_every_coordinate_of_a_dot_plot_is_a_number_within_it(
    value: float, bounds: tuple[float, float] | None, limit: float | None, zero: bool
) -> None:
    ordered = (min(*bounds, value), max(*bounds, value)) if bounds else None
    line = charts.Limit(limit, "limit", above=True) if limit is not None else None
    chart = charts.dots([charts.Dot("a", value, ordered, "original")], line, "%", zero=zero)
    for element in chart.iter():
        for key in ("x", "x1", "x2", "cx"):
            if key in element.attrib:
                assert -1 <= float(element.attrib[key]) <= 491


def test_numbers_are_told_as_people_read_them() -> None:
    assert [readable.size(n) for n in (0, 26_280, 153_384, 57 * 2**20, 3 * 2**30)] == [
        "0 B",
        "26,280 B",
        "149.8 KiB",
        "57.0 MiB",
        "3.0 GiB",
    ]
    assert readable.percent(99.9998) == "99.9998%"
    assert readable.percent(100.0) == "100.00%"
    assert [readable.points(n) for n in (0.0, 0.0002, -0.5)] == ["0.00", "+0.0002", "-0.50"]
    assert readable.duration(9.41) == "9.4 \N{MICRO SIGN}s"
