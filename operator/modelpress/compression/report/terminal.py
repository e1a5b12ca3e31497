"""report.json as text for a terminal."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from modelpress.api.text import printable
from modelpress.artifacts.manifest import InputSizes, TensorSpec
from modelpress.compression.report import search as report_search
from modelpress.compression.report.document import (
    Bounds,
    EvaluationReport,
    MetricScores,
    PassReport,
    Report,
    StepReport,
    TensorReport,
    TrainingReport,
)
from modelpress.compression.report.readable import bounds_text, percent, points, shapes_text, size


def render(report: Report) -> RenderableType:
    """Return the whole report; text from the model file is never taken for markup."""
    parts: list[RenderableType] = [_summary(report)]
    if report.evaluation:
        parts.append(_scores(report.evaluation))
    if report.latency:
        parts.append(_latency(report))
    if report.input_sizes:
        parts.append(_input_sizes(report.source.inputs, report.input_sizes))
    if report.search:
        parts.append(report_search.text(report.search))
    if report.layers:
        parts.append(_layers(report))
    for step in report.passes:
        if step.training:
            parts.append(_training(step.name, step.training))
        parts.append(_pass(step))
    if report.steps:
        parts.append(_steps(report.steps))
    parts.extend(Text(f"Warning: {warning}", style="yellow") for warning in report.warnings)
    return Group(*parts)


def show(report: Report) -> None:
    """Print the report: nothing of an artifact reaches the terminal as anything but text."""
    Console(markup=False, emoji=False).print(_Printable(render(report)))


class _Printable:
    """Renders as its content does, without characters that a terminal obeys."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._content, options):
            yield segment._replace(text=printable(segment.text, keep="\n"))


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
        ("scheme", report_search.asked(report)),
        ("weights in float32", f"{sizes.original_bytes:,} bytes"),
        ("serving format", f"{sizes.compressed_bytes:,} bytes, {sizes.ratio:.2f}x smaller"),
    )
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _scores(scores: EvaluationReport) -> Table:
    table = Table(
        title=f"Scores on {scores.rows:,} rows, with 95 % intervals",
        title_justify="left",
        caption=_not_measured(scores),
        caption_justify="left",
    )
    for column in ("metric", "original", "compressed", "drop"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    lost = scores.invalid is not None
    _add_metric(table, scores, "bold", lost=lost)
    if len(scores.outputs) > 1:
        for output in scores.outputs:
            table.add_row(
                Text(f"  {output.name}" + (f" ({output.metric.value})" if output.metric else "")),
                percent(output.original),
                _cell(percent(output.compressed), output.compressed_interval),
                _cell(points(output.original - output.compressed), output.drop_interval, signed=True),
            )
    for other in scores.others:
        _add_metric(table, other, "", lost=lost)
    return table


def _add_metric(table: Table, scores: MetricScores, style: str, *, lost: bool) -> None:
    table.add_row(
        scores.metric.value,
        _cell(percent(scores.original), scores.original_interval),
        "no numbers" if lost else _cell(percent(scores.compressed), scores.compressed_interval),
        "" if lost else _cell(points(scores.drop), scores.drop_interval, signed=True),
        style=style,
    )


def _cell(value: str, bounds: Bounds | None, *, signed: bool = False) -> str:
    """Return a value with its interval below it: a terminal has no room for both in a line."""
    return f"{value}\n{bounds_text(bounds, signed=signed)}" if bounds else value


def _not_measured(scores: EvaluationReport) -> Text | None:
    lines = [f"{item.metric.value} was not measured: {item.reason}" for item in scores.not_measured]
    return Text("\n".join(lines)) if lines else None


def _layers(report: Report) -> Table:
    table = Table(title="Bytes by layer", title_justify="left")
    for column in ("layer", "float32", "serving format", "smaller"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer in report.layers:
        ratio = f"{layer.before / layer.after:.2f}x" if layer.before and layer.after else ""
        table.add_row(Text(layer.name), f"{layer.before:,}", f"{layer.after:,}", ratio)
    return table


def _latency(report: Report) -> Table:
    title = "Latency of one call (median)" + (f", {report.latency_of}" if report.latency_of else "")
    table = Table(title=title, title_justify="left")
    for column in ("batch", "float32", "serving format", "speed"):
        table.add_column(column, justify="right")
    for item in report.latency:
        table.add_row(
            str(item.batch), f"{item.original:,.1f} us", f"{item.compressed:,.1f} us", f"{item.speedup:.2f}x"
        )
    return table


def _input_sizes(inputs: Sequence[TensorSpec], sizes: InputSizes) -> Table:
    table = Table(title="Memory of one row by the size of its inputs", title_justify="left")
    table.add_column("inputs")
    table.add_column("memory", justify="right")
    for step in sizes.memory:
        table.add_row(shapes_text(inputs, step.shapes), size(step.bytes))
    return table


def _steps(steps: Sequence[StepReport]) -> Table:
    table = Table(title="Time and memory of the compression", title_justify="left")
    for column in ("step", "seconds", "peak of all processes"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for step in steps:
        peak = "not measured" if step.peak_bytes is None else size(step.peak_bytes)
        table.add_row(step.name, f"{step.seconds:,.1f}", peak)
    return table


def _training(name: str, training: TrainingReport) -> Table:
    rate = "the formula's" if training.by_formula else "the spec's"
    table = Table(
        title=Text(f"{name}: {training.rows:,} rows in batches of {training.batch}, learning rate {rate}"),
        title_justify="left",
    )
    for column in ("epoch", "learning rate", "loss", "nonzero", "objective"):
        table.add_column(column, justify="right")
    for epoch in training.epochs:
        objective = "" if epoch.objective is None else f"{epoch.objective:.5g}"
        if epoch.rejected_objective is not None:
            objective += f" (not {epoch.rejected_objective:.5g})"
        nonzero = "" if epoch.nonzero is None else f"{epoch.nonzero:,}"
        table.add_row(str(epoch.epoch), f"{epoch.learning_rate:.4g}", f"{epoch.loss:.5g}", nonzero, objective)
    return table


def _pass(step: PassReport) -> Table:
    settings = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
    table = Table(title=Text(f"{step.name} ({settings})"), title_justify="left", caption=step.note)
    for column in ("tensor", "shape", "changed", "what"):
        table.add_column(column, justify="right" if column == "changed" else "left")
    for tensor in step.tensors:
        changed = "-" if tensor.skipped else f"{tensor.changed:,} of {tensor.elements:,}"
        table.add_row(
            Text(tensor.name), "x".join(map(str, tensor.shape)) or "scalar", changed, Text(describe(tensor))
        )
    return table


def describe(tensor: TensorReport) -> str:
    """Return what a pass did to a tensor, or why it did not."""
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
