"""Tables and legends of the HTML report."""

from collections.abc import Sequence

from modelpress.compression.report.html.elements import Child, Element, tag


def legend() -> Element:
    """Return what the two colours stand for."""
    keys = (
        tag("span", tag("span", class_=f"key {kind}"), text)
        for kind, text in (("original", "original"), ("compressed", "compressed"))
    )
    return tag("p", *keys, class_="legend")


def figure(caption: str, chart: Element) -> Element:
    """Return a chart below its caption."""
    return tag("figure", tag("figcaption", caption), chart)


def row_of(cells: Sequence[Child], kind: str = "") -> Element:
    """Return a row of a table; `kind` is a class of report.css."""
    row = tag("tr", *(tag("td", cell) for cell in cells))
    if kind:
        row.set("class", kind)
    return row


def table(
    headings: Sequence[str],
    rows: Sequence[Element],
    *,
    right_from: int | None = None,
    bars: int | None = None,
) -> Element:
    """Return a table; columns from `right_from` on are numbers, column `bars` takes the room that is left."""
    head = tag("tr", *(tag("th", heading) for heading in headings))
    for row in (head, *rows):
        for i, cell in enumerate(row):
            if right_from is not None and i >= right_from:
                cell.set("class", "right-side")
            if i == bars:
                cell.set("class", "bars")
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")
