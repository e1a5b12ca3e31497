"""The charts of the HTML report, as SVG. Colours are classes of report.css."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelpress.compression.report.document import Bounds, Confusion, TensorHistogram
from modelpress.compression.report.html.elements import Element, tag

_WIDTH = 490.0
_LABELS = 90.0  # width for the labels of a dot plot's rows
_RIGHT = 28.0
_ROW = 34.0
_MANY = 40  # points that get a dot
_HIGHEST = 1.5  # a histogram's height, times the original's highest bin


@dataclass(frozen=True)
class Dot:
    """A row of a dot plot: a value with its interval."""

    label: str
    value: float
    bounds: Bounds | None
    kind: str  # a class of report.css: original or compressed


@dataclass(frozen=True)
class Limit:
    """A line of a dot plot, and on which side of it values miss it."""

    value: float
    label: str
    above: bool


def dots(rows: Sequence[Dot], limit: Limit | None, unit: str, zero: bool) -> Element:
    """Return values with their intervals on one axis, and the limit; `zero`: draw a line at 0."""
    low, high = _range(rows, limit, zero)
    inner = _WIDTH - _LABELS - _RIGHT
    bottom = 24 + _ROW * len(rows)

    def x(value: float) -> float:
        return _LABELS + inner * (value - low) / (high - low)

    chart = _svg(_WIDTH, bottom + 24, "chart")
    for tick in ticks(low, high):
        chart.append(tag("line", class_="grid", x1=x(tick), x2=x(tick), y1=20, y2=bottom))
        chart.append(_text(f"{tick:g}{unit}", x(tick), bottom + 16, "tick", "middle"))
    if limit:
        start, end = (x(limit.value), x(high)) if limit.above else (x(low), x(limit.value))
        chart.append(
            tag("rect", class_="forbidden", x=start, y=20, width=max(0.0, end - start), height=bottom - 20)
        )
    if zero:
        chart.append(tag("line", class_="axis", x1=x(0), x2=x(0), y1=20, y2=bottom))
    if limit:
        chart.append(tag("line", class_="limit", x1=x(limit.value), x2=x(limit.value), y1=16, y2=bottom))
        anchor = (
            "end" if x(limit.value) > _WIDTH * 0.7 else "start" if x(limit.value) < _WIDTH * 0.3 else "middle"
        )
        chart.append(_text(limit.label, x(limit.value), 11, "limit-label", anchor))
    for number, row in enumerate(rows):
        y = 20 + _ROW * (number + 0.5)
        chart.append(_text(row.label, 0, y + 4, "label", "start"))
        if row.bounds:
            left, right = x(max(low, row.bounds[0])), x(min(high, row.bounds[1]))
            chart.append(tag("line", class_=f"whisker {row.kind}", x1=left, x2=right, y1=y, y2=y))
            for end in (left, right):
                chart.append(tag("line", class_=f"whisker {row.kind}", x1=end, x2=end, y1=y - 5, y2=y + 5))
        chart.append(
            tag("circle", class_=f"dot {row.kind}", cx=x(min(high, max(low, row.value))), cy=y, r=5.5)
        )
    return chart


def ticks(low: float, high: float) -> list[float]:
    """Return 3 to 7 round numbers from `low` to `high`."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = -(-low // step)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def confusion(matrix: Confusion, counts: Sequence[Sequence[int]]) -> Element:
    """Return a matrix: rows are labels, columns decisions; a cell is as dark as its share of the row."""
    size = len(matrix.classes)
    cell = max(15.0, min(48.0, 340.0 / size))
    left, top = 52.0, 46.0
    chart = _svg(left + cell * size + 16, top + cell * size + 4, "matrix")
    across, down = left + cell * size / 2, top + cell * size / 2
    chart.append(_text("decision", across, 11, "tick", "middle"))
    chart.append(_turned("label", 9, down, -90, "middle"))
    for row, (name, values) in enumerate(zip(matrix.classes, counts, strict=True)):
        total = sum(values)
        y = top + cell * row
        chart.append(_text(name[:8], left - 6, y + cell / 2 + 3.5, "tick", "end"))
        x = left + cell * (row + 0.5)
        if len(name) * 7 > cell:
            chart.append(_turned(name[:8], x - 1, top - 5, -45, "start"))
        else:
            chart.append(_text(name[:8], x, top - 6, "tick", "middle"))
        for column, count in enumerate(values):
            share = count / total if total else 0.0
            chart.append(_cell((left + cell * column, y, cell), count, share, row == column))
    return chart


def histogram(item: TensorHistogram) -> Element:
    """Return the values of a tensor: the original filled, the serving format as a line over it."""
    width, height, top = 290.0, 92.0, 6.0
    chart = _svg(width, top + height + 18, "chart")
    shares = [count / max(1, sum(item.before)) for count in item.before]
    after = [count / max(1, sum(item.after)) for count in item.after] if item.after else []
    most = max(shares)
    highest = max(most, min(max(after, default=0.0), _HIGHEST * most)) or 1.0
    base = top + height

    def points(values: Sequence[float]) -> str:
        step = width / len(values)
        corners = []
        for i, value in enumerate(values):
            y = base - height * min(value, highest) / highest
            corners += [f"{i * step:.1f},{y:.1f}", f"{(i + 1) * step:.1f},{y:.1f}"]
        return " ".join([f"0,{base:g}", *corners, f"{width:g},{base:g}"])

    chart.append(tag("polygon", class_="area original", points=points(shares)))
    if after:
        chart.append(tag("polyline", class_="line compressed", points=points(after)))
        chart.extend(_cut_bins(after, highest, width))
    chart.append(tag("line", class_="axis", x1=0, x2=width, y1=base, y2=base))
    chart.append(_text(f"{item.low:.3g}", 0, base + 14, "tick", "start"))
    chart.append(_text(f"{item.high:.3g}", width, base + 14, "tick", "end"))
    if item.low < 0 < item.high:
        zero = width * -item.low / (item.high - item.low)
        chart.append(tag("line", class_="zero", x1=zero, x2=zero, y1=base, y2=base + 4))
        chart.append(_text("0", zero, base + 14, "tick", "middle"))
    return chart


def curve(values: Sequence[float]) -> Element:
    """Return a line through values that were measured after each epoch, the first before epoch 1."""
    width, height, left = 490.0, 110.0, 64.0
    low, high = min(values), max(values)
    span = high - low or 1.0
    chart = _svg(width, height + 26, "chart")
    for tick in ticks(low, low + span):
        y = 6 + (height - 6) * (1 - (tick - low) / span)
        chart.append(tag("line", class_="grid", x1=left, x2=width - 8, y1=y, y2=y))
        chart.append(_text(f"{tick:.4g}", left - 8, y + 4, "tick", "end"))
    step = (width - 8 - left) / max(1, len(values) - 1)
    points = [
        (left + step * i, 6 + (height - 6) * (1 - (value - low) / span)) for i, value in enumerate(values)
    ]
    chart.append(
        tag("polyline", class_="line compressed", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    )
    if len(points) <= _MANY:
        chart.extend(tag("circle", class_="dot compressed", cx=x, cy=y, r=3) for x, y in points)
    for i in sorted({0, len(values) - 1}):
        chart.append(_text(str(i), points[i][0], height + 20, "tick", "middle"))
    return chart


def bar(share: float, kind: str) -> Element:
    """Return a bar as long as `share` (0 to 1) of its width."""
    shown = max(0.0, min(1.0, share))
    chart = tag("svg", class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")
    chart.append(tag("rect", class_=f"bar {kind}", x=0, y=0, width=100 * shown, height=8))
    return chart


def _cut_bins(shares: Sequence[float], highest: float, width: float) -> list[Element]:
    """Say how high the highest bin is that does not fit."""
    peak = max(range(len(shares)), key=lambda i: shares[i])
    if shares[peak] <= highest:
        return []
    step = width / len(shares)
    right = peak < 0.6 * len(shares)
    x = (peak + 1) * step + 5 if right else peak * step - 5
    return [_text(f"{100 * shares[peak]:.0f} %", x, 15, "cut", "start" if right else "end")]


def _cell(position: tuple[float, float, float], count: int, share: float, right: bool) -> Element:
    x, y, size = position
    kind = "right" if right else "wrong"
    strength = share if right else min(1.0, 4 * share)  # a single mistake in ten shall be seen
    group = tag("g")
    group.append(tag("rect", class_="cell", x=x, y=y, width=size - 1, height=size - 1, rx=2))
    if count:
        group.append(
            tag(
                "rect",
                class_=f"cell {kind}",
                x=x,
                y=y,
                width=size - 1,
                height=size - 1,
                rx=2,
                fill_opacity=round(0.12 + 0.88 * strength, 2),
            )
        )
        shade = "count dark" if strength > 0.5 else "count"
        font = "count-small" if size < 24 or count > 999 else ""
        group.append(
            _text(
                _short(count, size), x + (size - 1) / 2, y + size / 2 + 3, f"{shade} {font}".strip(), "middle"
            )
        )
    return group


def _range(rows: Sequence[Dot], limit: Limit | None, zero: bool) -> tuple[float, float]:
    values = [value for row in rows for value in (row.value, *(row.bounds or ()))]
    values += [limit.value] if limit else []
    values += [0.0] if zero else []
    low, high = min(values), max(values)
    pad = max(0.08 * (high - low), 0.02 * abs(high), 0.05)
    return low - pad, (high + pad if zero or high + pad < 100 else 100 + pad / 4)


def _svg(width: float, height: float, kind: str) -> Element:
    return tag(
        "svg", class_=kind, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, role="img"
    )


def _text(text: str, x: float, y: float, kind: str, anchor: str) -> Element:
    return tag("text", text, class_=kind, x=x, y=y, text_anchor=anchor)


def _turned(text: str, x: float, y: float, degrees: int, anchor: str) -> Element:
    element = _text(text, x, y, "tick", anchor)
    element.set("transform", f"rotate({degrees} {x:g} {y:g})")
    return element


def _short(count: int, size: float) -> str:
    """Return a count that fits into a cell."""
    return f"{count / 1000:.0f}k" if count > 999 and size < 24 else str(count)
