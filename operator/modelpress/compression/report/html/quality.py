"""The sections of the HTML report about scores."""

from collections.abc import Iterator

from modelpress.api.values import parse_percent
from modelpress.compression.report.document import EvaluationReport, MetricScores
from modelpress.compression.report.html import charts
from modelpress.compression.report.html.elements import Child, Element, tag
from modelpress.compression.report.html.tables import figure, row_of, table
from modelpress.compression.report.readable import bounds_text, percent, points


def quality(scores: EvaluationReport) -> Element:
    """Return the scores of all metrics, and those of the gate against its limits as charts."""
    name = scores.metric.value
    intervals = "bars are 95 % confidence intervals"
    hint = f"{name} on {scores.rows:,} rows of data.evaluation; {intervals}, the drop is paired row by row."
    if len(scores.outputs) > 1:
        hint += f" The worst of {len(scores.outputs)} outputs counts."
    columns = tag("div", *_quality_charts(scores), class_="columns") if not scores.invalid else None
    headings = ("Metric", "Original", "95 % interval", "Compressed", "95 % interval", "Drop", "95 % interval")
    outputs = _output_rows(scores) if len(scores.outputs) > 1 else ()
    rows = [_score_row(scores, "main"), *outputs, *(_score_row(other, "") for other in scores.others)]
    missing = [f"{item.metric.value} was not measured: {item.reason}." for item in scores.not_measured]
    return tag(
        "section",
        tag("h2", "Quality"),
        tag("p", hint, class_="hint"),
        columns,
        table(headings, rows, right_from=1),
        tag("p", " ".join(missing), class_="foot") if missing else None,
    )


def _quality_charts(scores: EvaluationReport) -> Iterator[Element]:
    limits, name = scores.limits, scores.metric.value
    if limits and limits.outputs:  # each output has its own, and its row in the table
        limits = None
    floor = (
        charts.Limit(float(parse_percent(limits.min_score)), f"minScore {limits.min_score}", above=False)
        if limits and limits.min_score
        else None
    )
    ceiling = (
        charts.Limit(float(parse_percent(limits.max_drop)), f"maxDrop {limits.max_drop}", above=True)
        if limits and limits.max_drop
        else None
    )
    values = (
        charts.Dot("original", scores.original, scores.original_interval, "original"),
        charts.Dot("compressed", scores.compressed, scores.compressed_interval, "compressed"),
    )
    drop = (charts.Dot("drop", scores.drop, scores.drop_interval, "compressed"),)
    yield figure(f"{name}, %", charts.dots(values, floor, "", zero=False))
    yield figure("Drop, percentage points", charts.dots(drop, ceiling, "", zero=True))


def _score_row(scores: MetricScores, kind: str) -> Element:
    return row_of(
        (
            scores.metric.value,
            percent(scores.original),
            bounds_text(scores.original_interval),
            percent(scores.compressed),
            bounds_text(scores.compressed_interval),
            points(scores.drop),
            bounds_text(scores.drop_interval, signed=True),
        ),
        kind,
    )


def _output_rows(scores: EvaluationReport) -> Iterator[Element]:
    for output in scores.outputs:
        yield row_of(
            (
                tag("span", f"{(output.metric or scores.metric).value} of ", tag("code", output.name)),
                percent(output.original),
                "",
                percent(output.compressed),
                bounds_text(output.compressed_interval),
                points(output.original - output.compressed),
                bounds_text(output.drop_interval, signed=True),
            )
        )


def confusion(scores: EvaluationReport) -> Element | None:
    """Return the confusion matrices of both models; None where there are no classes."""
    if not scores.confusion:
        return None
    parts: list[Child] = [
        tag("h2", "Confusion"),
        tag(
            "p",
            "Rows are labels, columns are decisions. Blue is right, red is wrong;"
            " red is drawn four times as strong, so that single mistakes can be seen.",
            class_="hint",
        ),
    ]
    for matrix in scores.confusion:
        if len(scores.confusion) > 1:
            parts.append(tag("h3", "Output ", tag("code", matrix.output)))
        pair = (
            figure(title, charts.confusion(matrix, counts))
            for title, counts in (("Original", matrix.original), ("Compressed", matrix.compressed))
        )
        parts.append(tag("div", *pair, class_="columns"))
    return tag("section", *parts, class_="keep" if len(scores.confusion) == 1 else "")
