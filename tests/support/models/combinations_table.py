"""The tables of combinations in docs/compression.md.

`make formats` or `python -m tests.support.models.combinations_table` writes them.
"""

from collections.abc import Iterator
from dataclasses import replace

from modelpress.api.schemes import DeviceType
from modelpress.models.types import Kind
from tests.support.models import page_tables
from tests.support.models.combinations import PRUNINGS, SCHEMES, Combination, every, expected
from tests.support.models.page_tables import PAGE, row

BASE = Combination(None, "none", clipping=False, tuning=False, device=DeviceType.CPU, kind=Kind.LAYERS)


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    """Return the page with the tables of now."""
    return page_tables.rewritten(text, "combinations", lines())


def lines() -> Iterator[str]:
    """Yield the two tables, and what does not follow from both."""
    yield "| scheme | `devices.type: CPU` | `devices.type: GPU` |"
    yield "|---|---|---|"
    for scheme in SCHEMES:
        cells = (
            cell(replace(BASE, scheme=scheme, device=device)) for device in (DeviceType.CPU, DeviceType.GPU)
        )
        yield row(f"`{scheme.value}`" if scheme else "none (float32)", *cells)
    yield ""
    yield "| pruning | fine-tuning | model of layers (`.keras`, `.h5`) | SavedModel |"
    yield "|---|---|---|---|"
    for pruning in PRUNINGS:
        for tuning in (False, True):
            one = replace(BASE, pruning=pruning, tuning=tuning)
            yield row(pruning, "yes" if tuning else "no", *(cell(replace(one, kind=kind)) for kind in Kind))
    yield ""
    others = [one for one in every() if (expected(one) is None) != follows(one)]
    count = sum(expected(one) is None for one in every())
    yield f"{count} of {len(list(every()))} combinations work. `weightClipping` works with all of them."
    if others:
        yield ""
        yield from (f"- {one}: {cell(one)}" for one in others)


def follows(one: Combination) -> bool:
    """Return whether both tables say that a combination works."""
    first = replace(BASE, scheme=one.scheme, device=one.device)
    second = replace(BASE, pruning=one.pruning, tuning=one.tuning, kind=one.kind)
    return expected(first) is None and expected(second) is None


def cell(one: Combination) -> str:
    refusal = expected(one)
    return "works" if refusal is None else f"refused: `{refusal.field}` ({refusal.reason})"


if __name__ == "__main__":
    main()
