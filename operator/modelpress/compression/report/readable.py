"""Numbers as a person reads them. Pure."""

from collections.abc import Sequence

from modelpress.artifacts.manifest import Shapes, TensorSpec
from modelpress.compression.report.document import Bounds


def size(count: int) -> str:
    """Return bytes for a person: 26,280 B, 1.2 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 100_000 if unit == "B" else value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count:,} B" if unit == "B" else f"{value:,.1f} {unit}"


def percent(value: float) -> str:
    """Return a score; one that is almost 100 with more decimals, so that it does not look perfect."""
    return f"{value:.4f}%" if 0 < abs(100 - value) < 0.05 else f"{value:.2f}%"


def points(drop: float) -> str:
    """Return a drop in percentage points; what was lost is positive."""
    return f"{drop:+.4f}" if 0 < abs(drop) < 0.01 else f"{drop:+.2f}" if drop else "0.00"


def duration(microseconds: float) -> str:
    """Return a time for a person."""
    if microseconds >= 10_000:
        return f"{microseconds / 1000:,.1f} ms"
    return (
        f"{microseconds:,.0f} \N{MICRO SIGN}s"
        if microseconds >= 100
        else f"{microseconds:.1f} \N{MICRO SIGN}s"
    )


def shapes_text(inputs: Sequence[TensorSpec], shapes: Shapes) -> str:
    """Return the shapes of a row of those inputs that have free sizes: tokens [128]."""
    named = zip(inputs, shapes, strict=True)
    return ", ".join(f"{spec.name} {list(shape)}" for spec, shape in named if -1 in spec.shape[1:])


def bounds_text(bounds: Bounds | None, *, signed: bool = False) -> str:
    """Return an interval as `low to high`; nothing where there is none."""
    if bounds is None:
        return ""
    digits = 4 if 0 < bounds[1] - bounds[0] < 0.02 else 2
    low, high = (f"{value:{'+' if signed else ''}.{digits}f}" for value in bounds)
    return f"{low} to {high}"
