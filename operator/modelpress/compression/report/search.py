"""What `scheme: Auto` tried and chose, for the terminal and for the HTML report."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from modelpress.compression.report.document import CandidateReport, Report, SearchReport, Sensitivity
from modelpress.compression.report.html.elements import Element, tag
from modelpress.compression.report.html.scatter import Point, scatter
from modelpress.compression.report.html.tables import figure, row_of, table
from modelpress.compression.report.readable import bounds_text, percent, points, size

MAX_OPERATORS = 6  # operators that a candidate or ranking names; report.json has all


def asked(report: Report) -> str:
    """Return the scheme of the recipe, and what Auto made of it: `Auto -> Int8Static`."""
    scheme, chosen = report.recipe.get("scheme", ""), report.recipe.get("chosen")
    return f"{scheme} -> {chosen}" if chosen else scheme


def text(search: SearchReport) -> Table:
    """Return the candidates as a table for a terminal; a star stands before those of the Pareto front."""
    lines = [_sentence(search), *(_ranking(item) for item in search.sensitivity[:MAX_OPERATORS])]
    shown = Table(
        title=f"Candidates of Auto, on the {search.rows:,} rows that choose",
        title_justify="left",
        caption=Text("\n".join(lines)),
        caption_justify="left",
    )
    batches = _batches(search)
    for column in ("candidate", "bytes", "smaller", "score", "drop", *(f"batch {n}" for n in batches)):
        shown.add_column(column, justify="left" if column == "candidate" else "right")
    shown.add_column("", overflow="fold")
    for item in search.candidates:
        name = Text(f"{'*' if item.front else ' '} {item.name}")
        shown.add_row(name, *_cells(item, batches), Text(_why(item)), style="bold" if item.chosen else "")
    return shown


def section(search: SearchReport) -> Element:
    """Return the candidates as a chart and a table."""
    batches = _batches(search)
    rows = [
        row_of(
            (
                str(number),
                _named(item),
                *_cells(item, batches),
                bounds_text(item.drop_interval, signed=True),
            ),
            "main" if item.chosen else "",
        )
        for number, item in enumerate(search.candidates, 1)
    ]
    headings = ("", "Candidate", "Bytes", "Smaller", "Score", "Drop", *(f"Batch {n}" for n in batches))
    listed = table((*headings, "Drop, 95 %"), rows, right_from=2)
    hint = (
        f"Measured on {search.rows:,} rows of data.evaluation, which are not those of the scores above."
        " Speeds are against the original in float32. The line joins what nothing is smaller and better than."
    )
    return tag(
        "section",
        tag("h2", "Candidates of Auto"),
        tag("p", hint, class_="hint"),
        tag("p", _sentence(search)),
        figure("Score in % against bytes; the numbers are those of the table", scatter(_points(search)))
        if _points(search)
        else None,
        listed,
        *_sensitive(search.sensitivity),
    )


def _sentence(search: SearchReport) -> str:
    return f"{search.note[:1].upper()}{search.note[1:]}."


def _batches(search: SearchReport) -> tuple[int, ...]:
    return tuple(dict.fromkeys(time.batch for item in search.candidates for time in item.latency))


def _cells(item: CandidateReport, batches: Sequence[int]) -> tuple[str, ...]:
    speeds = {time.batch: f"{time.speedup:.2f}x" for time in item.latency}
    return (
        "" if item.bytes is None else size(item.bytes),
        "" if item.ratio is None else f"{item.ratio:.2f}x",
        "" if item.score is None else percent(item.score),
        "" if item.drop is None else points(item.drop),
        *(speeds.get(batch, "") for batch in batches),
    )


def _why(item: CandidateReport) -> str:
    if not item.chosen:
        return item.why_not or ""
    return "chosen" if item.passed else "chosen: the closest to the limits"


def _named(item: CandidateReport) -> Element:
    """Return the name, what was done with it, and the operators with another scheme, below each other."""
    exceptions = (
        tag("div", f"{key}: ", tag("code", _few(value)), class_="foot")
        for key, value in item.parameters.items()
        if key != "scheme"
    )
    return tag("div", item.name, *exceptions, tag("div", _why(item), class_="foot"))


def _few(names: str) -> str:
    every = names.split(", ")
    more = len(every) - MAX_OPERATORS
    return ", ".join(every[:MAX_OPERATORS]) + (f" and {more} more" if more > 0 else "")


def _ranking(item: Sensitivity) -> str:
    damage = "does not work" if item.damage is None else f"error {100 * item.damage:.2g} %"
    return f"{item.scheme} alone, {_few(', '.join(item.operators))}: {damage}"


def _sensitive(ranking: Sequence[Sensitivity]) -> list[Element]:
    if not ranking:
        return []
    rows = [
        row_of(
            (
                tag("code", _few(", ".join(item.operators))),
                item.scheme,
                size(item.bytes),
                "does not work" if item.damage is None else f"{100 * item.damage:.2g} %",
            )
        )
        for item in ranking
    ]
    hint = "The error of the outputs where only these operators are quantized, everything else in float32."
    return [
        tag("h3", "Sensitive operators"),
        tag("p", hint, class_="hint"),
        table(("Operators", "To", "Bytes in float32", "Error"), rows, right_from=2),
    ]


def _points(search: SearchReport) -> list[Point]:
    return [
        Point(str(number), item.bytes, item.score, item.chosen, item.front)
        for number, item in enumerate(search.candidates, 1)
        if item.bytes is not None and item.score is not None
    ]
