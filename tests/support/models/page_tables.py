"""Tables of docs/compression.md that are written by a program, between two marks."""

from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "compression.md"


def rewritten(text: str, name: str, lines: Iterable[str]) -> str:
    """Return a page with the lines of now between the marks of `name`."""
    begin, end = f"<!-- {name}: written by a program -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return "".join((before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, after))


def row(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"
