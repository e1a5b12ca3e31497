"""The way of a model through compression: load, measure, apply, serve, report.

The model is loaded safely and measured, the passes of the recipe are applied to it, the format that serves
is made and measured, and the artifact's folder is written (manifest.json, report.json, and the format).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelpress.api.contract import MAX_WARNING, JobRequest
from modelpress.api.schemes import Scheme
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.manifest import ArtifactManifest, InputSizes
from modelpress.compression import recipe, schemes
from modelpress.compression.auto import candidates, search
from modelpress.compression.evaluation import (
    damage,
    dataset,
    input_sizes,
    latency,
    measurement,
    rules,
    weight_stats,
)
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.evaluation.latency import Timing
from modelpress.compression.evaluation.measurement import Measurement
from modelpress.compression.formats import calibration, devices
from modelpress.compression.formats.base import (
    Format,
    FormatBackend,
    Formats,
    QuantizationTask,
    check_numbers,
)
from modelpress.compression.formats.litert import source as tflite_source
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.training import training_data
from modelpress.compression.recipe import Recipe
from modelpress.compression.report import assemble as result
from modelpress.compression.report import document as report
from modelpress.compression.report.document import (
    EvaluationReport,
    Latency,
    PassReport,
    Report,
    SearchReport,
    TensorHistogram,
)
from modelpress.compression.steps import Steps
from modelpress.models.load import load
from modelpress.models.types import Arrays, LoadedModel, one_line, original_bytes

_log = logging.getLogger(__name__)
_STEPS = (
    "load",
    "measure the original",
    "convert to float32",
    "change weights",
    "convert",
    "measure the result",
    "write",
)


@dataclass(frozen=True)
class Inputs:
    """What was downloaded, and the identities that follow from it."""

    model: Path
    evaluation: Path | None  # the data set; None without evaluation
    source_digest: str  # sha256:...
    artifact_key: str
    calibration: Path | None = None  # the data set that ranges of activations are taken from
    training: Path | None = None  # the data set that weights are trained on


@dataclass(frozen=True)
class _Task:
    """What is to be done, and where scratch files go."""

    request: JobRequest
    recipe: Recipe
    inputs: Inputs
    work_dir: Path
    backend: FormatBackend
    warnings: list[str] = field(default_factory=list)  # of the data sets, as they are read


@dataclass(frozen=True)
class _Original:
    """The model as it came. Passes may change its weights in place; all else was read before."""

    model: LoadedModel
    source: report.SourceReport
    bytes: int  # its weights take so many as float32
    histograms: tuple[TensorHistogram, ...]
    data: Dataset | None  # data.evaluation
    calibration: calibration.Calibration | None
    context: PassContext  # data.training was read while the model was the original: it can be the teacher


@dataclass(frozen=True)
class _Baseline:
    """What the original answers, and what is called to check and time other formats of it."""

    measured: Measurement | None  # None without data.evaluation
    sample: Arrays
    timing: Timing


@dataclass(frozen=True)
class _Changed:
    """The model after the passes, which is another one where channels were pruned."""

    model: LoadedModel
    passes: tuple[PassReport, ...]


@dataclass(frozen=True)
class _Served:
    """The format that serves, and how it was made; `quantization` is None for float32."""

    format: Format
    quantization: PassReport | None = None
    search: SearchReport | None = None
    histograms: tuple[TensorHistogram, ...] = ()


@dataclass(frozen=True)
class _Comparison:
    """The format that serves beside that of the original."""

    float32: Format  # the original in float32
    scores: EvaluationReport | None  # None without data.evaluation
    latency: tuple[Latency, ...]
    measured_on: str
    input_sizes: InputSizes | None  # None where the model leaves none open
    damage: tuple[str, ...]  # what became of its outputs on the sample


def compress(request: JobRequest, inputs: Inputs, out: Path, work_dir: Path) -> ArtifactManifest:
    """Compress a model into the folder `out`, which must be empty or missing.

    Scratch files go below `work_dir`. Raises DataError (InvalidModel, UnsupportedModel, InvalidData) and
    UsageError (InvalidSpec). The gate is not judged here.
    """
    plan = recipe.of(request)
    with Steps(_STEPS) as steps:
        out.mkdir(parents=True, exist_ok=True)
        work_dir.mkdir(parents=True, exist_ok=True)
        with devices.backend(request.device_type, work_dir, inputs.model) as backend:
            task = _Task(request, plan, inputs, work_dir, backend)
            original = _load(task)
            steps.next()
            baseline = _measure(task, original)
            steps.next()
            before = backend.formats(original.model, baseline.sample, work_dir / "original")
            steps.next()
            changed = _apply(task, original)
            steps.next()
            served = _serve(task, original, baseline, before, changed)
        steps.next()
        compared = _compare(task, changed.model, baseline, before.float32, served.format)
        steps.next()
        served.format.copy_to(out)
        made = _report(task, original, changed, served, compared)
        made = made.model_copy(update={"steps": steps.reports()})
        report.save(made, out)
        manifest = result.manifest(request, made, replace(served.format, folder=out), backend.kind)
        manifests.save(manifest, out)
        return manifest


def _load(task: _Task) -> _Original:
    """Read the model and all data: what is wrong with them is said before any work."""
    inputs = task.inputs
    model = _model(task)
    damage.check_weights(model.weights)
    return _Original(
        model=model,
        bytes=original_bytes(model),
        source=result.source(model, inputs.model, inputs.source_digest),
        histograms=weight_stats.before(model.weights),
        data=_evaluation(task, model),
        calibration=_calibration(task, model),
        context=_context(task, model),
    )


def _model(task: _Task) -> LoadedModel:
    """Load the model, and refuse what cannot be done to one of its kind."""
    path, device = task.inputs.model, task.request.device_type
    if tflite_source.recognised(path):
        tflite_source.check_request(path.name, [step.name for step in task.recipe.steps], device)
        return tflite_source.load(path, task.recipe.scheme)
    model = load(path, task.work_dir / "model")
    task.recipe.check(model)
    return model


def _evaluation(task: _Task, model: LoadedModel) -> Dataset | None:
    limits, path = task.request.evaluation, task.inputs.evaluation
    if limits is None or path is None:
        return None
    rules.check_outputs(limits, model.outputs)
    outputs, labels = model.outputs, rules.needs_labels(limits)
    with dataset.named("data.evaluation"):
        if labels is None:  # metrics are chosen by what is there
            outputs = tuple(spec for spec in outputs if dataset.has_labels(path, model.inputs, (spec,)))
            labels = bool(outputs)
        data = dataset.load(path, task.work_dir / "data", model.inputs, outputs, labels=labels)
    _warn(task, "data.evaluation", data)
    return data


def _measure(task: _Task, original: _Original) -> _Baseline:
    model, data, choose = original.model, original.data, task.recipe.scheme is Scheme.AUTO
    limits, measured = task.request.evaluation, None
    if data and limits:
        with dataset.named("data.evaluation"):
            measured = measurement.of_original(model, data, limits, task.work_dir, choose=choose)
    sample = measurement.sample(model, measured)
    return _Baseline(measured, sample, Timing(sample, latency.batches_of(model.inputs)))


def _apply(task: _Task, original: _Original) -> _Changed:
    model, passes = original.model, []
    for step in task.recipe.steps:
        model, found = step.apply(model, original.context)
        passes.append(found)
    return _Changed(model, tuple(passes))


def _context(task: _Task, model: LoadedModel) -> PassContext:
    use, path = task.recipe.training_use, task.inputs.training
    if use is None or path is None:
        return PassContext()
    folder = task.work_dir / "training data"
    read = training_data.load(path, folder, model, distillation=use.distillation)
    _warn(task, training_data.KEY, read.data)
    return PassContext(read)


def _serve(
    task: _Task, original: _Original, baseline: _Baseline, before: Formats, changed: _Changed
) -> _Served:
    """Make the format that serves; `before` has those of the original."""
    formats, weights = before, changed.model.weights
    if changed.passes:
        formats = task.backend.formats(changed.model, baseline.sample, task.work_dir / "edited")
    measure = _candidate_measure(task, baseline, before.float32)
    served = _quantized(task, original, formats, measure)
    values = weight_stats.own_values(weights)
    if served.quantization:
        values = formats.values(served.format, served.quantization)
    return replace(served, histograms=weight_stats.compared(original.histograms, values))


def _quantized(
    task: _Task, original: _Original, formats: Formats, measure: candidates.CandidateMeasure | None
) -> _Served:
    """Make the format of the recipe's scheme; with `measure` choose it among all schemes of the devices."""
    scheme, folder = task.recipe.scheme, task.work_dir / "quantized"
    if scheme is None:
        return _Served(formats.float32)
    calibrated = original.calibration
    if measure is None:
        return _Served(*formats.quantized(QuantizationTask(scheme, calibrated), folder))
    tried = schemes.of_device(task.request.device_type)
    found = search.run(formats, search.Task(tried, calibrated, measure, original.bytes), folder)
    return _Served(found.format, found.quantization, found.report)


def _calibration(task: _Task, model: LoadedModel) -> calibration.Calibration | None:
    if task.inputs.calibration is None:
        return None
    folder = task.work_dir / "calibration data"
    with dataset.named("data.calibration"):
        data = dataset.load(task.inputs.calibration, folder, model.inputs, (), labels=False)
        made = calibration.prepare(data, model, task.work_dir / "calibration.npz")
    _warn(task, "data.calibration", data, expected=("y", *(spec.name for spec in model.outputs)))
    return made


def _warn(task: _Task, key: str, data: Dataset, expected: Sequence[str] = ()) -> None:
    """Say which arrays of a data set are not used, but for the `expected` ones: it may be a typing error."""
    for name, why in data.unread.items():
        if name not in expected:
            line = one_line(f"{key}: {data.file}: array {name} is not used: {why}", MAX_WARNING)
            task.warnings.append(line)
            _log.warning("%s", line)


def _candidate_measure(
    task: _Task, baseline: _Baseline, float32: Format
) -> candidates.CandidateMeasure | None:
    """Return what scheme Auto measures candidates with; None for other schemes."""
    measured = baseline.measured
    if measured is None or measured.choosing is None:
        return None
    timing = replace(baseline.timing, seconds=candidates.SECONDS, fastest=True)
    if not task.backend.times_hold:
        timing = replace(timing, batches=())
    return candidates.CandidateMeasure(
        measured.choosing, measured.rules, measured.limits, float32.model, timing
    )


def _compare(
    task: _Task, model: LoadedModel, baseline: _Baseline, float32: Format, served: Format
) -> _Comparison:
    """Measure the format that serves; `model` is what it was made of."""
    scores = None
    if baseline.measured:
        scores = measurement.score(served, baseline.measured, task.work_dir / "results")
    else:
        check_numbers(served, baseline.sample)
    times = latency.measure(float32.model, served.model, baseline.timing)
    lengths = input_sizes.measure(served, model, baseline.sample, task.work_dir / "input sizes")
    lost = _damage(baseline, float32, served)
    return _Comparison(float32, scores, times, task.backend.measured_on, lengths, lost)


def _damage(baseline: _Baseline, float32: Format, served: Format) -> tuple[str, ...]:
    """Return what became of the outputs on the sample; where there is data, it says how far they are."""
    before, after = float32.model.call(baseline.sample), served.model.call(baseline.sample)
    constant = tuple(damage.of_outputs(before, after))
    return constant or (() if baseline.measured else tuple(damage.of_distance(before, after)))


def _report(
    task: _Task, original: _Original, changed: _Changed, served: _Served, compared: _Comparison
) -> Report:
    """Return the report, but for the steps, which end with it."""
    passes = (*changed.passes, served.quantization) if served.quantization else changed.passes
    sizes = result.sizes(original.bytes, compared.float32, served.format)
    return Report(
        name=task.request.name,
        recipe={**task.recipe.describe(), **result.chosen(served.search)},
        recipe_hash=task.request.recipe_hash,
        artifact_key=task.inputs.artifact_key,
        versions=result.versions(),
        source=original.source,
        sizes=sizes,
        passes=passes,
        evaluation=compared.scores,
        latency=compared.latency,
        search=served.search,
        latency_of=compared.measured_on,
        input_sizes=compared.input_sizes,
        layers=result.layers(original.source, changed.model, passes, sizes),
        histograms=served.histograms,
        warnings=(
            *task.warnings,
            *compared.damage,
            *damage.of_passes(passes, changed.model.weights),
            *result.warnings(passes, compared.scores, served.search),
        ),
    )
