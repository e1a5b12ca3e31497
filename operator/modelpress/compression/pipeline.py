"""The way of a model through compression: load safely, measure the original, prune, clip, quantize, measure
the form that will serve, write the artifact's folder (manifest.json, report.json, and the form).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from modelpress.api.contract import JobRequest
from modelpress.api.schemes import Scheme
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.compression import recipe
from modelpress.compression.auto import candidates, search
from modelpress.compression.evaluation import dataset, latency, measurement, row_scores, weight_stats
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.evaluation.latency import Timing
from modelpress.compression.evaluation.measurement import Measurement
from modelpress.compression.formats import calibration, devices
from modelpress.compression.formats.base import Form, Forms, Quantization, check_numbers
from modelpress.compression.passes.channels.l0 import ChannelL0Penalty
from modelpress.compression.passes.channels.pruning import ChannelPruning
from modelpress.compression.passes.training import training_data
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report import assemble as result
from modelpress.compression.report import document as report
from modelpress.compression.report.document import PassReport, Report, SearchReport
from modelpress.compression.steps import Steps
from modelpress.models.load import load
from modelpress.models.types import Array, LoadedModel, original_bytes

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
    calibration: Path | None = None  # the data set of Int8Static
    training: Path | None = None  # the data set of fineTuning


@dataclass(frozen=True)
class _Served:
    """The form that serves, and how it was made; `quantization` is None for float32."""

    form: Form
    quantization: PassReport | None = None
    search: SearchReport | None = None


def compress(request: JobRequest, inputs: Inputs, out: Path, work_dir: Path) -> ArtifactManifest:
    """Compress a model into the folder `out`, which must be empty or missing.

    Scratch files go below `work_dir`. Raises DataError (InvalidModel, UnsupportedModel, InvalidData) and
    UsageError (InvalidSpec). The gate is not judged here.
    """
    with Steps(_STEPS) as steps:
        return _compress(request, inputs, out, work_dir, steps)


def _compress(
    request: JobRequest, inputs: Inputs, out: Path, work_dir: Path, steps: Steps
) -> ArtifactManifest:
    plan = recipe.of(request)
    out.mkdir(parents=True, exist_ok=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    with devices.maker(request.device_type, work_dir) as maker:
        model = load(inputs.model, work_dir / "model")
        plan.check(model)
        bytes_before = original_bytes(model)
        original = result.source(model, inputs.model, inputs.source_digest)
        histograms = weight_stats.before(model.weights)
        data = _data(request, inputs, model, work_dir)
        steps.next()
        automatic = plan.scheme is Scheme.AUTO
        measured = measurement.of_original(model, data, work_dir, choose=automatic) if data else None
        sample = measurement.sample(model, measured)
        timing = Timing(sample, latency.batches_of(model.inputs))
        steps.next()
        before = edited = maker.forms(model, sample, work_dir / "original")
        steps.next()
        model, passes = _change(plan, model, _training(plan, inputs, model, work_dir))
        steps.next()
        if passes:
            edited = maker.forms(model, sample, work_dir / "edited")
        wanted: Quantization | search.Task | None = None
        if plan.scheme:
            calibrated = _calibration(inputs, model, work_dir)
            compared = timing if maker.times_hold else replace(timing, batches=())
            scale = _scale(request, measured, before.float32, compared)
            wanted = (
                search.Task(maker.schemes, calibrated, scale, bytes_before)
                if scale
                else Quantization(plan.scheme, calibrated)
            )
        served = _serve(edited, wanted, work_dir / "quantized")
        form = served.form
        if served.quantization:
            passes.append(served.quantization)
        histograms = weight_stats.compared(histograms, _values(edited, served, model))
    steps.next()
    scores = None
    if measured and request.evaluation:
        scores = measurement.score(request.evaluation, form, measured, work_dir / "results")
    else:
        check_numbers(form, sample)
    times = latency.measure(before.float32.model, form.model, timing)
    steps.next()
    form.copy_to(out)
    sizes = result.sizes(bytes_before, before.float32, form)
    made = Report(
        name=request.name,
        recipe={**plan.describe(), **result.chosen(served.search)},
        recipe_hash=request.recipe_hash,
        artifact_key=inputs.artifact_key,
        versions=result.versions(),
        source=original,
        sizes=sizes,
        passes=tuple(passes),
        evaluation=scores,
        latency=times,
        search=served.search,
        latency_of=maker.measured_on,
        layers=result.layers(original, model, passes, sizes),
        histograms=histograms,
        steps=steps.reports(),
        warnings=result.warnings(passes, scores, served.search),
    )
    report.save(made, out)
    manifest = result.manifest(request, made, replace(form, folder=out), maker.kind)
    manifests.save(manifest, out)
    return manifest


def _data(request: JobRequest, inputs: Inputs, model: LoadedModel, work_dir: Path) -> Dataset | None:
    if request.evaluation is None or inputs.evaluation is None:
        return None
    labels = request.evaluation.metric in row_scores.NEEDS_LABELS
    return dataset.load(inputs.evaluation, work_dir / "data", model.inputs, model.outputs, labels=labels)


def _training(plan: recipe.Recipe, inputs: Inputs, model: LoadedModel, work_dir: Path) -> TrainingData | None:
    """Read data.training while the model is the original: it can be the teacher."""
    if plan.training is None or inputs.training is None:
        return None
    folder = work_dir / "training data"
    return training_data.load(inputs.training, folder, model, distillation=plan.distillation)


def _change(
    plan: recipe.Recipe, model: LoadedModel, training: TrainingData | None
) -> tuple[LoadedModel, list[PassReport]]:
    """Return the changed model, which is another one where channels were pruned, and the reports."""
    passes = []
    if isinstance(plan.pruning, ChannelPruning):
        model, pruned = plan.pruning.rebuild(model)
        passes.append(pruned)
    elif plan.pruning:
        passes.append(plan.pruning.apply(model))
    if plan.training and training:
        if isinstance(plan.training, ChannelL0Penalty):
            model, trained = plan.training.rebuild(model, training)
        else:
            trained = plan.training.train(model, training)
        passes.append(trained)
    if plan.clipping:
        passes.append(plan.clipping.apply(model))
    return model, passes


def _calibration(inputs: Inputs, model: LoadedModel, work_dir: Path) -> calibration.Calibration | None:
    if inputs.calibration is None:
        return None
    folder = work_dir / "calibration data"
    data = dataset.load(inputs.calibration, folder, model.inputs, model.outputs, labels=False)
    return calibration.prepare(data, work_dir / "calibration.npz")


def _scale(
    request: JobRequest, measured: Measurement | None, float32: Form, timing: Timing
) -> candidates.Scale | None:
    """Return what scheme Auto measures candidates with; None for other schemes."""
    if measured is None or measured.choosing is None or request.evaluation is None:
        return None
    shorter = replace(timing, seconds=candidates.SECONDS, fastest=True)
    return candidates.Scale(measured.choosing, request.evaluation, float32.model, shorter)


def _values(forms: Forms, served: _Served, model: LoadedModel) -> Iterator[tuple[str, Array]]:
    """Yield the values that the form computes with, by the name of the weight."""
    if served.quantization:
        return forms.values(served.form, served.quantization)
    return weight_stats.own_values(model.weights)


def _serve(forms: Forms, wanted: Quantization | search.Task | None, folder: Path) -> _Served:
    if wanted is None:
        return _Served(forms.float32)
    if isinstance(wanted, Quantization):
        return _Served(*forms.quantized(wanted, folder))
    found = search.run(forms, wanted, folder)
    return _Served(found.form, found.quantization, found.report)
