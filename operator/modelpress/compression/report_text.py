"""report.json as text for a terminal. Must not import TensorFlow."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelpress.compression.report import EvaluationReport, PassReport, Report, TensorReport


def render(report: Report) -> RenderableType:
    """Return the whole report; text from the model file is never taken for markup."""
    parts: list[RenderableType] = [_summary(report)]
    if report.evaluation:
        parts.append(_scores(report.evaluation))
    if report.latency:
        parts.append(_latency(report))
    parts.extend(_pass(step) for step in report.passes)
    parts.extend(Text(f"Warning: {warning}", style="yellow") for warning in report.warnings)
    return Group(*parts)


def show(report: Report) -> None:
    """Print the report."""
    Console().print(render(report))


def _summary(report: Report) -> Table:
    table = Table(title=Text(report.name), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # a digest that is cut off is of no use
    sizes = report.sizes
    rows = (
        ("model", f"{report.source.file} ({report.source.kind})"),
        ("source digest", report.source.digest),
        ("inputs", ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in report.source.inputs)),
        (
            "outputs",
            ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in report.source.outputs),
        ),
        ("scheme", report.recipe.get("scheme", "")),
        ("weights in float32", f"{sizes.original_bytes:,} bytes"),
        ("serving form", f"{sizes.compressed_bytes:,} bytes, {sizes.ratio:.2f}x smaller"),
    )
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _scores(scores: EvaluationReport) -> Table:
    table = Table(title=f"{scores.metric.value} on {scores.rows} rows", title_justify="left")
    for column in ("output", "original", "compressed", "drop", "95 % interval"):
        table.add_column(column, justify="left" if column == "output" else "right")
    for output in scores.outputs:
        drop = output.original - output.compressed
        table.add_row(
            Text(output.name), f"{output.original:.2f}%", f"{output.compressed:.2f}%", f"{drop:+.2f}", ""
        )
    interval = (
        f"{scores.drop_interval[0]:+.2f} to {scores.drop_interval[1]:+.2f}" if scores.drop_interval else ""
    )
    compressed = "no numbers" if scores.invalid else f"{scores.compressed:.2f}%"
    table.add_row(
        "worst", f"{scores.original:.2f}%", compressed, f"{scores.drop:+.2f}", interval, style="bold"
    )
    return table


def _latency(report: Report) -> Table:
    table = Table(title="Latency of one call on one thread (median)", title_justify="left")
    for column in ("batch", "float32", "serving form", "speed"):
        table.add_column(column, justify="right")
    for item in report.latency:
        table.add_row(
            str(item.batch), f"{item.original:,.1f} us", f"{item.compressed:,.1f} us", f"{item.speedup:.2f}x"
        )
    return table


def _pass(step: PassReport) -> Table:
    settings = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
    table = Table(title=Text(f"{step.name} ({settings})"), title_justify="left", caption=step.note)
    for column in ("tensor", "shape", "changed", "what"):
        table.add_column(column, justify="right" if column == "changed" else "left")
    for tensor in step.tensors:
        changed = "-" if tensor.skipped else f"{tensor.changed:,} of {tensor.elements:,}"
        table.add_row(
            Text(tensor.name), "x".join(map(str, tensor.shape)) or "scalar", changed, Text(_what(tensor))
        )
    return table


def _what(tensor: TensorReport) -> str:
    if tensor.skipped:
        return f"skipped: {tensor.skipped}"
    parts = [f"{key}={value:.4g}" for key, value in tensor.facts.items()]
    if tensor.bytes_before and tensor.bytes_after:
        parts.append(f"{tensor.bytes_before:,} -> {tensor.bytes_after:,} bytes")
    if tensor.formula:
        channels = len(tensor.formula.scale)
        parts.append(
            f"{channels} scale{'s' if channels > 1 else ''}, error {tensor.formula.largest_error:.4f}"
        )
    return ", ".join(parts)
