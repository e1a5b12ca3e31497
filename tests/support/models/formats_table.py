"""The table of models and formats in docs/compression.md.

`make formats` or `python -m tests.support.models.formats_table` writes it.
"""

from collections.abc import Iterator

from tests.support.models import page_tables
from tests.support.models.formats import CASES, Case, Refusal, Step
from tests.support.models.page_tables import PAGE, row


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    """Return the page with the tables of now."""
    return page_tables.rewritten(text, "formats", lines())


def lines() -> Iterator[str]:
    """Yield the table of what can be compressed, that of what is refused whole, and the notes of both."""
    notes: list[Refusal] = []
    some = [case for case in CASES if len(case.refused) < len(Step)]
    yield row(
        "model", "file", "what is in it", *(f"`{step}`" if step[0].isupper() else step for step in Step)
    )
    yield row(*["---"] * (3 + len(Step)))
    for case in some:
        yield row(case.name, case.file, case.covers, *(cell(case, step, notes) for step in Step))
    yield ""
    yield "These are refused before any pass:"
    yield ""
    yield row("model", "file", "what is in it", "")
    yield row(*["---"] * 4)
    for case in CASES:
        if case not in some:
            yield row(case.name, case.file, case.covers, cell(case, Step.FLOAT32, notes))
    yield ""
    for number, note in enumerate(notes, start=1):
        yield f'{number}. `{note.reason}`, "… {note.message} …": {note.why}.'


def cell(case: Case, step: Step, notes: list[Refusal]) -> str:
    refusal = case.refused.get(step)
    if refusal is None:
        return "works"
    if refusal not in notes:
        notes.append(refusal)
    return f"refused ({notes.index(refusal) + 1})"


if __name__ == "__main__":
    main()
