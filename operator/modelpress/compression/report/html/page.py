"""report.json as one HTML page that needs nothing else: no script, no file, no network. It prints on A4."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from modelpress.artifacts.manifest import TensorSpec
from modelpress.compression.report import search as report_search
from modelpress.compression.report.document import Report
from modelpress.compression.report.html import quality, sections
from modelpress.compression.report.html.elements import Child, Element, document, tag
from modelpress.compression.report.readable import duration, percent, points, size

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class PageVerdict:
    """What the gate says of the limits in the report; `missed` is why it fails."""

    missed: str | None


def render(report: Report, verdict: PageVerdict | None) -> str:
    """Return the page; `verdict` is None where the report has no limits."""
    body = tag(
        "main",
        _header(report, verdict),
        _tiles(report),
        tag("div", tag("strong", "Missed: "), verdict.missed, class_="note bad")
        if verdict and verdict.missed
        else None,
        _warnings(report.warnings),
        quality.quality(report.evaluation) if report.evaluation else None,
        quality.confusion(report.evaluation) if report.evaluation else None,
        sections.sizes(report) if report.layers else None,
        sections.histograms(report) if report.histograms else None,
        sections.latency(report) if report.latency else None,
        sections.input_sizes(report.source.inputs, report.input_sizes) if report.input_sizes else None,
        report_search.section(report.search) if report.search else None,
        *(sections.passed(step) for step in report.passes),
        sections.steps(report.steps) if report.steps else None,
        _origin(report),
        tag("footer", f"ModelPress {report.versions.get('modelpress', '')}, report of {report.name}"),
    )
    return document(tag("html", _head(report.name), tag("body", body), lang="en"))


def _head(name: str) -> Element:
    css = (files("modelpress.compression.report.html") / "report.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name} - compression report"),
        tag("style", css),
    )


def _header(report: Report, verdict: PageVerdict | None) -> Element:
    if verdict is None:
        badge = tag("span", "no limits set", class_="badge none")
    elif verdict.missed:
        badge = tag("span", "\N{BALLOT X} misses the limits", class_="badge bad")
    else:
        badge = tag("span", "\N{CHECK MARK} within the limits", class_="badge good")
    recipe = ", ".join(f"{key}: {value}" for key, value in report.recipe.items())
    title = tag(
        "div",
        tag("p", "Compression report", class_="eyebrow"),
        tag("h1", report.name),
        tag("p", tag("code", report.source.file), f" ({report.source.kind}), {recipe}", class_="sub"),
    )
    return tag("header", title, badge)


def _tiles(report: Report) -> Element:
    sizes = report.sizes
    tiles = [
        _tile(
            "Size",
            (f"{sizes.ratio:.2f}", "x smaller"),
            f"{size(sizes.original_bytes)} to {size(sizes.compressed_bytes)}",
        )
    ]
    if scores := report.evaluation:
        value = ("no", " numbers") if scores.invalid else (percent(scores.compressed)[:-1], "%")
        detail = f"was {percent(scores.original)}, drop {points(scores.drop)}"
        tiles.append(_tile(scores.metric.value, value, "" if scores.invalid else detail))
    tiles.extend(
        _tile(
            f"Speed, batch {item.batch}",
            (f"{item.speedup:.2f}", "x"),
            f"{duration(item.original)} to {duration(item.compressed)}",
        )
        for item in report.latency[:2]
    )
    return tag("div", *tiles, class_="tiles")


def _tile(name: str, value: tuple[str, str], detail: str) -> Element:
    return tag(
        "div",
        tag("p", name, class_="name"),
        tag("p", value[0], tag("small", value[1]), class_="value"),
        tag("p", detail, class_="detail"),
        class_="tile",
    )


def _warnings(warnings: Sequence[str]) -> Element | None:
    if not warnings:
        return None
    lines = tag("ul", *(tag("li", line) for line in warnings))
    return tag(
        "div", tag("strong", "Warnings" if len(warnings) > 1 else "Warning"), lines, class_="note warn"
    )


def _origin(report: Report) -> Element:
    source = report.source
    entries: tuple[tuple[str, Child], ...] = (
        ("Model", tag("span", tag("code", source.file), f" ({source.kind})")),
        ("Digest", tag("code", source.digest)),
        ("Inputs", tag("code", _specs(source.inputs))),
        ("Outputs", tag("code", _specs(source.outputs))),
        ("Recipe", tag("code", report.recipe_hash)),
        ("Artifact key", tag("code", report.artifact_key)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
    )
    terms = [part for name, value in entries for part in (tag("dt", name), tag("dd", value))]
    return tag("section", tag("h2", "Where it comes from"), tag("dl", *terms), class_="keep")


def _specs(specs: Sequence[TensorSpec]) -> str:
    shapes = (", ".join("N" if size < 0 else str(size) for size in spec.shape) for spec in specs)
    return "; ".join(f"{spec.name} {spec.dtype} ({shape})" for spec, shape in zip(specs, shapes, strict=True))
