"""The table of combinations in docs/compression.md.

`python -m tests.support.combinations_table` writes it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from modelpress.api.spec import DeviceType, Spec
from modelpress.api.support import unsupported
from modelpress.models.types import Kind
from tests.support.combinations import PRUNINGS, SCHEMES, Combination, every, expected

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compression.md"
BEGIN, END = "<!-- combinations: written by a program -->\n", "<!-- end of combinations -->\n"
BASE = Combination(None, "none", clipping=False, tuning=False, device=DeviceType.CPU, kind=Kind.LAYERS)


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    """Return a page with the table of now between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "".join((before, BEGIN, "\n", *(f"{line}\n" for line in lines()), "\n", END, after))


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
    yield ""
    yield from (f"- {one}: {cell(one)}" for one in others)
    for device in DeviceType:
        spec = Spec.model_validate(replace(BASE, device=device).spec())
        yield from (f"- {line}." for line in unsupported(spec))


def follows(one: Combination) -> bool:
    """Return whether both tables say that a combination works."""
    first = replace(BASE, scheme=one.scheme, device=one.device)
    second = replace(BASE, pruning=one.pruning, tuning=one.tuning, kind=one.kind)
    return expected(first) is None and expected(second) is None


def cell(one: Combination) -> str:
    refusal = expected(one)
    return "works" if refusal is None else f"refused: `{refusal.field}` ({refusal.reason})"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
