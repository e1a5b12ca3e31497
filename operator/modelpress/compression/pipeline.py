"""The way of a model through compression: load safely, measure the original, prune, clip, quantize, measure
the form that will serve, write the artifact's folder (manifest.json, report.json, model.tflite).
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from modelpress.api.contract import JobRequest, Scores
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import MODEL_FILE, REPORT_FILE, ArtifactManifest, PassSummary, TensorSpec
from modelpress.compression import (
    calibration,
    dataset,
    evaluation,
    evaluation_details,
    forms,
    latency,
    layer_sizes,
    recipe,
    report,
    row_scores,
    training_data,
    weight_stats,
)
from modelpress.compression.channels.pruning import ChannelPruning
from modelpress.compression.converter import Converter
from modelpress.compression.dataset import Dataset
from modelpress.compression.passes import quantize
from modelpress.compression.report import EvaluationReport, PassReport, Report
from modelpress.compression.training_data import TrainingData
from modelpress.logs import progress
from modelpress.models.load import load
from modelpress.models.types import Array, LoadedModel, original_bytes
from modelpress.models.types import TensorSpec as ModelTensorSpec

_log = logging.getLogger(__name__)
_STEPS = ("load", "measure the original", "change weights", "convert", "measure the result", "write")


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
class _Measured:
    """The original's outputs, for the comparison at the end."""

    data: Dataset
    outputs: dict[str, Array]
    batch: int


def compress(request: JobRequest, inputs: Inputs, out: Path, work_dir: Path) -> ArtifactManifest:
    """Compress a model into the folder `out`, which must be empty or missing.

    Scratch files go below `work_dir`. Raises DataError (InvalidModel, UnsupportedModel, InvalidData) and
    UsageError (NotSupportedYet). The gate is not judged here.
    """
    plan = recipe.of(request)
    out.mkdir(parents=True, exist_ok=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    with Converter(work_dir) as converter:
        _step(0)
        model = load(inputs.model, work_dir / "model")
        plan.check(model)
        bytes_before = original_bytes(model)
        original = _sizes_and_weights(model, inputs)
        histograms = weight_stats.before(model.weights)
        data = _data(request, inputs, model, work_dir)
        _step(1)
        measured = _measure_original(model, data, work_dir)
        sample = _sample(model, measured)
        before = plain = forms.float32(model, converter, sample, work_dir / "original")
        _step(2)
        model, passes = _change(plan, model, _training(plan, inputs, model, work_dir))
        _step(3)
        if passes:
            plain = forms.float32(model, converter, sample, work_dir / "edited")
        target = out / MODEL_FILE
        if plan.scheme:
            wanted = forms.Quantization(plan.scheme, _calibration(inputs, model, work_dir))
            form, quantization = forms.quantized(model, converter, plain, wanted, target)
            passes.append(quantization)
        else:
            shutil.copyfile(plain[1].path, target)
            form = forms.Form(target, plain[1].model)
    _step(4)
    scores = _score(request, form, measured, work_dir)
    if scores is None:
        forms.check_numbers(form, sample)
    times = latency.measure(before[1].model, form.model, sample, latency.batches_of(model.inputs))
    _step(5)
    sizes = _sizes(bytes_before, before[1].path, target)
    result = Report(
        name=request.name,
        recipe=plan.describe(),
        recipe_hash=request.recipe_hash,
        artifact_key=inputs.artifact_key,
        versions=_versions(),
        source=original,
        sizes=sizes,
        passes=tuple(passes),
        evaluation=scores,
        latency=times,
        layers=_layers(original, model, passes, sizes),
        histograms=weight_stats.compared(
            histograms, weight_stats.served_values(model.weights, _quantization(passes), target)
        ),
        warnings=tuple(_warnings(passes, scores)),
    )
    report.save(result, out)
    manifest = _manifest(request, inputs, result, out)
    manifests.save(manifest, out)
    progress(_log, "compress", len(_STEPS), len(_STEPS))
    return manifest


def _step(number: int) -> None:
    progress(_log, "compress", number, len(_STEPS), doing=_STEPS[number])


def _data(request: JobRequest, inputs: Inputs, model: LoadedModel, work_dir: Path) -> Dataset | None:
    if request.evaluation is None or inputs.evaluation is None:
        return None
    labels = request.evaluation.metric in row_scores.NEEDS_LABELS
    return dataset.load(inputs.evaluation, work_dir / "data", model.inputs, model.outputs, labels=labels)


def _training(plan: recipe.Recipe, inputs: Inputs, model: LoadedModel, work_dir: Path) -> TrainingData | None:
    """Read data.training while the model is the original: without labels it is the teacher."""
    if plan.training is None or inputs.training is None:
        return None
    return training_data.load(inputs.training, work_dir / "training data", model)


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
        passes.append(plan.training.train(model, training))
    if plan.clipping:
        passes.append(plan.clipping.apply(model))
    return model, passes


def _calibration(inputs: Inputs, model: LoadedModel, work_dir: Path) -> calibration.Calibration | None:
    if inputs.calibration is None:
        return None
    folder = work_dir / "calibration data"
    data = dataset.load(inputs.calibration, folder, model.inputs, model.outputs, labels=False)
    return calibration.prepare(data, work_dir / "calibration.npz")


def _measure_original(model: LoadedModel, data: Dataset | None, work_dir: Path) -> _Measured | None:
    if data is None:
        return None
    batch = evaluation.batch_size(model.inputs, data)
    outputs = evaluation.predict(
        model, data, work_dir / "predictions", batch=batch, step="evaluate the original"
    )
    return _Measured(data, outputs, batch)


def _sample(model: LoadedModel, measured: _Measured | None) -> dict[str, Array]:
    if measured is None:
        return forms.example(model.inputs)
    rows = min(measured.batch, measured.data.rows)
    return dict(latency.resized(measured.data.batch(0, rows), measured.batch))


def _score(
    request: JobRequest, form: forms.Form, measured: _Measured | None, work_dir: Path
) -> EvaluationReport | None:
    if measured is None or request.evaluation is None:
        return None
    found = evaluation.predict(
        form.model, measured.data, work_dir / "results", batch=measured.batch, step="evaluate the result"
    )
    scores = evaluation.score(request.evaluation.metric, measured.data.labels, measured.outputs, found)
    outputs = evaluation_details.Outputs(measured.data.labels, measured.outputs, found)
    return evaluation_details.complete(scores, request.evaluation, outputs)


def _sizes_and_weights(model: LoadedModel, inputs: Inputs) -> report.Source:
    return report.Source(
        file=inputs.model.name,
        kind=model.kind.value,
        digest=inputs.source_digest,
        inputs=_specs(model.inputs),
        outputs=_specs(model.outputs),
        weights=_weights(model),
    )


def _weights(model: LoadedModel) -> tuple[report.WeightReport, ...]:
    return tuple(
        report.WeightReport(
            name=weight.name,
            role=weight.role.value,
            shape=weight.shape,
            dtype=weight.dtype,
            bytes=4 * int(np.prod(weight.shape, dtype=np.int64)),
        )
        for weight in model.weights
    )


def _quantization(passes: Sequence[PassReport]) -> PassReport | None:
    return next((step for step in passes if step.name == quantize.NAME), None)


def _layers(
    source: report.Source, model: LoadedModel, passes: Sequence[PassReport], sizes: report.Sizes
) -> tuple[report.LayerSize, ...]:
    served = layer_sizes.served_tensors(_weights(model), _quantization(passes))
    return layer_sizes.of(source.weights, served, sizes.original_bytes, sizes.compressed_bytes)


def _sizes(before: int, float32: Path, target: Path) -> report.Sizes:
    after = target.stat().st_size
    return report.Sizes(
        original_bytes=before,
        float32_bytes=float32.stat().st_size,
        compressed_bytes=after,
        ratio=round(before / after, 4),
    )


def _warnings(passes: Sequence[PassReport], scores: EvaluationReport | None) -> list[str]:
    warnings = []
    if scores and scores.invalid:
        warnings.append(f"the compressed score does not count: {scores.invalid}")
    if scores:
        warnings.extend(evaluation_details.unresolved(scores))
    for step in passes:
        for tensor in step.tensors:
            if tensor.formula and (off := tensor.formula.elements_off):
                warnings.append(f"{tensor.name}: {off} integers differ from the formula")
            if cut := tensor.facts.get(quantize.BEYOND_FLOAT16):
                warnings.append(f"{tensor.name}: {cut:g} elements are beyond float16 and were cut to 65504")
    return warnings


def _versions() -> dict[str, str]:
    names = ("modelpress", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy")
    import tensorflow as tf  # noqa: PLC0415 - its package has two names

    return {**{name: version(name) for name in names}, "tensorflow": tf.__version__}


def _manifest(request: JobRequest, inputs: Inputs, result: Report, out: Path) -> ArtifactManifest:
    scores = result.evaluation
    return ArtifactManifest(
        form=manifests.Form.TFLITE,
        files={name: file_sha256(out / name) for name in (MODEL_FILE, REPORT_FILE)},
        inputs=result.source.inputs,
        outputs=result.source.outputs,
        artifact_key=inputs.artifact_key,
        source_digest=inputs.source_digest,
        recipe_hash=request.recipe_hash,
        compressor_version=version("modelpress"),
        original_bytes=result.sizes.original_bytes,
        compressed_bytes=result.sizes.compressed_bytes,
        scores=Scores(
            metric=scores.metric,
            original=scores.original,
            compressed=scores.compressed,
            drop=scores.drop if len(scores.outputs) > 1 else None,
            rows=scores.rows,
        )
        if scores
        else None,
        passes=tuple(_summary(step) for step in result.passes),
    )


def _summary(step: PassReport) -> PassSummary:
    changed = sum(1 for tensor in step.tensors if tensor.skipped is None)
    return PassSummary(
        name=step.name,
        parameters=dict(step.parameters),
        changed=changed,
        skipped=len(step.tensors) - changed,
    )


def _specs(specs: Sequence[ModelTensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=spec.name, shape=spec.shape, dtype=spec.dtype) for spec in specs)
