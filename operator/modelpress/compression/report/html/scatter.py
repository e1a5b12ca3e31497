"""The chart of the candidates of `scheme: Auto`, as SVG: score against bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelpress.compression.report.html.charts import ticks
from modelpress.compression.report.html.elements import Element, tag
from modelpress.compression.report.readable import size

_WIDTH, _HEIGHT = 760.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 30.0, 16.0, 30.0
_NEAR = 14.0  # labels that are closer share a position


@dataclass(frozen=True)
class Point:
    """A candidate: bytes to the right, score upwards."""

    label: str
    bytes: int
    score: float
    chosen: bool
    front: bool


def scatter(points: Sequence[Point]) -> Element:
    """Return the chart of at least one point; a line joins those of the Pareto front."""
    across = _Axis.of([point.bytes for point in points], (_LEFT, _WIDTH - _RIGHT))
    up = _Axis.of([point.score for point in points], (_HEIGHT - _BOTTOM, _TOP))
    chart = tag(
        "svg",
        class_="chart",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        width=_WIDTH,
        height=_HEIGHT,
        role="img",
    )
    for tick in ticks(up.low, up.high):
        y = up.at(tick)
        chart.append(tag("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y))
        chart.append(_text(f"{tick:g}", (_LEFT - 8, y + 4), "tick", "end"))
    for tick in ticks(across.low, across.high):
        if tick >= 0:
            chart.append(_text(size(round(tick)), (across.at(tick), _HEIGHT - 8), "tick", "middle"))
    best = sorted((point for point in points if point.front), key=lambda point: point.bytes)
    path = " ".join(f"{across.at(point.bytes):.1f},{up.at(point.score):.1f}" for point in best)
    chart.append(tag("polyline", class_="line compressed", points=path))
    for point in sorted(points, key=lambda point: point.chosen):
        kind = "compressed" if point.chosen else "original"
        chart.append(
            tag(
                "circle",
                class_=f"dot {kind}",
                cx=across.at(point.bytes),
                cy=up.at(point.score),
                r=6.5 if point.chosen else 4.5,
            )
        )
    positions = [(across.at(point.bytes), up.at(point.score), point.label) for point in points]
    chart.extend(_text(label, (x + 9, y - 6), "tick", "start") for x, y, label in together(positions))
    return chart


def together(positions: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Return labels with those that would cover each other joined at the position of the first."""
    found: list[tuple[float, float, str]] = []
    for x, y, label in positions:
        for i, (other_x, other_y, text) in enumerate(found):
            if abs(x - other_x) < _NEAR and abs(y - other_y) < _NEAR:
                found[i] = (other_x, other_y, f"{text}, {label}")
                break
        else:
            found.append((x, y, label))
    return found


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    position: tuple[float, float]  # where its two ends are in the chart

    @classmethod
    def of(cls, values: Sequence[float], position: tuple[float, float]) -> "_Axis":
        """Return an axis with room around the values, also where they are all the same."""
        low, high = min(values), max(values)
        pad = max(0.08 * (high - low), 0.001 * abs(high), 0.01)
        return cls(low - pad, high + pad, position)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.position[0] + (self.position[1] - self.position[0]) * share


def _text(text: str, position: tuple[float, float], kind: str, anchor: str) -> Element:
    return tag("text", text, class_=kind, x=position[0], y=position[1], text_anchor=anchor)
