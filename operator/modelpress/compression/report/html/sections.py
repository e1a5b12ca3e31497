"""The sections of the HTML report about bytes, weights, time and passes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from modelpress.artifacts.manifest import InputSizes, TensorSpec
from modelpress.compression.report.document import (
    LayerSize,
    PassReport,
    Report,
    StepReport,
    TensorReport,
    TrainingReport,
)
from modelpress.compression.report.html import charts
from modelpress.compression.report.html.elements import Child, Element, tag
from modelpress.compression.report.html.tables import figure, legend, row_of, table
from modelpress.compression.report.readable import duration, shapes_text, size
from modelpress.compression.report.terminal import describe

MAX_LAYERS = 40  # layers that get a row; the others share one
MAX_TENSORS = 40  # tensors of a pass that get a row; report.json has all of them
MAX_HISTOGRAMS = 12


def sizes(report: Report) -> Element:
    """Return the bytes of each layer, before and after."""
    rows = folded(report.layers)
    names = {layer.name for layer in report.layers}
    largest = max((max(layer.before, layer.after) for layer in report.layers), default=1) or 1
    body = [_layer_row(layer, largest if layer.name in names else None) for layer in rows]
    total = report.sizes
    body.append(
        row_of(
            ("Total", "", size(total.original_bytes), size(total.compressed_bytes), f"{total.ratio:.2f}x"),
            "main",
        )
    )
    listed = table(("Layer", "", "Original", "Compressed", "Smaller"), body, right_from=2, bars=1)
    hint = "Bytes of the weights in float32, and in the file that serves."
    return tag("section", tag("h2", "Size by layer"), tag("p", hint, class_="hint"), legend(), listed)


def _layer_row(layer: LayerSize, largest: int | None) -> Element:
    """Return the row of a layer; without bars where it stands for many, which would dwarf the others."""
    bars = (
        tag(
            "div",
            charts.bar(layer.before / largest, "original"),
            charts.bar(layer.after / largest, "compressed"),
        )
        if largest
        else None
    )
    ratio = f"{layer.before / layer.after:.1f}x" if layer.before and layer.after else ""
    return row_of((tag("code", layer.name), bars, size(layer.before), size(layer.after), ratio))


def folded(layers: Sequence[LayerSize]) -> list[LayerSize]:
    """Return at most `MAX_LAYERS` rows in the model's order: the largest, and one for all others."""
    if len(layers) <= MAX_LAYERS:
        return list(layers)
    largest = sorted(layers, key=lambda layer: -max(layer.before, layer.after))[: MAX_LAYERS - 1]
    names = {layer.name for layer in largest}
    rest = [layer for layer in layers if layer.name not in names]
    others = LayerSize(
        name=f"({len(rest)} smaller layers)",
        before=sum(layer.before for layer in rest),
        after=sum(layer.after for layer in rest),
    )
    return [*(layer for layer in layers if layer.name in names), others]


def histograms(report: Report) -> Element:
    """Return how the values of the largest tensors lie, before and after."""
    largest = sorted(report.histograms, key=lambda item: -sum(item.before))[:MAX_HISTOGRAMS]
    names = {item.name for item in largest}
    shown = [item for item in report.histograms if item.name in names]
    figures = (
        tag(
            "figure",
            tag("figcaption", tag("code", item.name), None if item.after else " (merged by the converter)"),
            charts.histogram(item),
        )
        for item in shown
    )
    hint = "How often each value occurs in the kernels and embeddings. A bin that is far higher is cut."
    if len(shown) < len(report.histograms):
        hint += f" The {len(shown)} largest of {len(report.histograms)}."
    return tag(
        "section",
        tag("h2", "Weights"),
        tag("p", hint, class_="hint"),
        legend(),
        tag("div", *figures, class_="small"),
    )


def latency(report: Report) -> Element:
    """Return the time of one call of both formats."""
    body = []
    for item in report.latency:
        longest = max(item.original, item.compressed) or 1.0
        bars = tag(
            "div",
            charts.bar(item.original / longest, "original"),
            charts.bar(item.compressed / longest, "compressed"),
        )
        cells = (duration(item.original), duration(item.compressed), f"{item.speedup:.2f}x")
        body.append(row_of((f"{item.batch} row{'s' if item.batch > 1 else ''}", bars, *cells)))
    hint = (
        "Median time of one call, of the original as a float32 serving format and of the format that serves,"
        f" measured with {report.latency_of or 'the machine that compressed'}. Bars compare within a row."
    )
    listed = table(("Batch", "", "Original", "Compressed", "Faster"), body, right_from=2, bars=1)
    return tag(
        "section", tag("h2", "Latency"), tag("p", hint, class_="hint"), legend(), listed, class_="keep"
    )


def input_sizes(inputs: Sequence[TensorSpec], sizes: InputSizes) -> Element:
    """Return what a call with longer inputs takes."""
    body = [row_of((shapes_text(inputs, step.shapes), size(step.bytes))) for step in sizes.memory]
    hint = (
        "Memory of a call with one row, over that of the smallest inputs. Workers take inputs of which a full"
        " batch fits into 512 MiB (above 32 rows in proportion), and up to those of the data:"
        f" {shapes_text(inputs, sizes.known)}."
    )
    listed = table(("Inputs", "Memory"), body, right_from=1)
    return tag("section", tag("h2", "Length of inputs"), tag("p", hint, class_="hint"), listed, class_="keep")


def passed(step: PassReport) -> Element:
    """Return what one pass changed, and what it left and why."""
    changed = [tensor for tensor in step.tensors if not tensor.skipped]
    skipped = [tensor for tensor in step.tensors if tensor.skipped]
    settings = ", ".join(f"{key}: {value}" for key, value in step.parameters.items())
    summary = (
        f"{_count(sum(1 for tensor in changed if tensor.changed))} changed, {len(skipped)} left as they are."
    )
    rows = [_tensor_row(tensor) for tensor in changed[:MAX_TENSORS]]
    more = len(changed) - len(rows)
    return tag(
        "section",
        tag("h2", f"Pass: {step.name}"),
        tag(
            "p",
            f"{settings}. " if settings else "",
            summary,
            f" {step.note}" if step.note else "",
            class_="hint",
        ),
        _training(step.training) if step.training else None,
        table(("Tensor", "Shape", "Changed", "What"), rows) if rows else None,
        tag("p", f"{more} further tensors are in report.json.", class_="foot") if more > 0 else None,
        *_skipped(skipped),
    )


def _training(training: TrainingReport) -> Element:
    rate: list[Child] = [f"Learning rate {training.learning_rate:.4g}"]
    if training.by_formula:
        factors = (("batch", training.batch, -0.5), ("layers", training.layers, -0.25))
        rate.append(" = 0.01")
        for name, value, exponent in (*factors, ("parameters", training.parameters, -0.1)):
            rate += [f" \N{MULTIPLICATION SIGN} {value:,}", tag("sup", f"{exponent:g}"), f" ({name})"]
    objectives = [epoch.objective for epoch in training.epochs if epoch.objective is not None]
    complete = len(objectives) == len(training.epochs)
    values = objectives if complete else [epoch.loss for epoch in training.epochs]
    name = "Objective, loss + penalty" if complete and values else "Loss"
    return tag(
        "div",
        tag(
            "div",
            tag("p", f"{training.rows:,} rows in batches of {training.batch}.", class_="foot"),
            tag("p", *rate, class_="foot"),
        ),
        figure(f"{name}, by epoch", charts.curve(values)) if len(values) > 1 else None,
        class_="columns",
    )


def _tensor_row(tensor: TensorReport) -> Element:
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    share = 100 * tensor.changed / tensor.elements if tensor.elements else 0.0
    return row_of((tag("code", tensor.name), shape, f"{tensor.changed:,} ({share:.0f} %)", describe(tensor)))


def _skipped(tensors: Sequence[TensorReport]) -> Iterator[Element]:
    if not tensors:
        return
    reasons: dict[str, list[str]] = defaultdict(list)
    for tensor in tensors:
        reasons[tensor.skipped or ""].append(tensor.name)
    rows = []
    for reason, names in reasons.items():
        shown = names[:MAX_TENSORS]
        listed = tag("span")
        for i, name in enumerate(shown):
            listed.append(tag("code", name))
            listed[-1].tail = ", " if i < len(shown) - 1 else ""
        if more := len(names) - len(shown):
            listed[-1].tail = f" and {more} more"
        rows.append(row_of((reason, str(len(names)), listed)))
    yield tag("h3", "Left as they are")
    yield table(("Why", "Tensors", "Which"), rows)


def _count(tensors: int) -> str:
    return f"{tensors} tensor{'' if tensors == 1 else 's'}"


def steps(found: Sequence[StepReport]) -> Element:
    """Return time and memory of the steps, with a bar for the memory."""
    largest = max((step.peak_bytes or 0 for step in found), default=0) or 1
    rows = [
        row_of(
            (
                step.name,
                charts.bar((step.peak_bytes or 0) / largest, "original"),
                "not measured" if step.peak_bytes is None else size(step.peak_bytes),
                f"{step.seconds:,.1f} s",
            )
        )
        for step in found
    ]
    hint = (
        "Peak of all processes of the compression together, TensorFlow's own memory included."
        " The step that writes this report is in it up to here."
    )
    listed = table(("Step", "", "Peak memory", "Time"), rows, right_from=2, bars=1)
    head = tag("h2", "Time and memory of the compression")
    return tag("section", head, tag("p", hint, class_="hint"), listed, class_="keep")
