"""Puts together report.json and manifest.json of what was made and measured."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from modelpress.api.contract import JobRequest, first_warnings
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import REPORT_FILE, ArtifactManifest, PassSummary, TensorSpec
from modelpress.compression.evaluation import details
from modelpress.compression.formats.base import Format
from modelpress.compression.formats.litert import quantize
from modelpress.compression.report import document as report
from modelpress.compression.report import layer_sizes
from modelpress.compression.report.document import EvaluationReport, PassReport, Report, SearchReport
from modelpress.compression.schemes import Algorithm
from modelpress.models.types import LoadedModel
from modelpress.models.types import TensorSpec as ModelTensorSpec


def source(model: LoadedModel, file: Path, digest: str) -> report.SourceReport:
    """Return what the report says of the original; `digest` is that of the file, sha256:..."""
    return report.SourceReport(
        file=file.name,
        kind=model.kind.value,
        digest=digest,
        inputs=_specs(model.inputs),
        outputs=_specs(model.outputs),
        weights=_weights(model),
    )


def layers(
    original: report.SourceReport, model: LoadedModel, passes: Sequence[PassReport], sizes: report.Sizes
) -> tuple[report.LayerSize, ...]:
    """Return where the bytes are, in the original and in the format of the changed `model`."""
    served = layer_sizes.served_tensors(_weights(model), quantization(passes))
    return layer_sizes.of(original.weights, served, sizes.original_bytes, sizes.compressed_bytes)


def quantization(passes: Sequence[PassReport]) -> PassReport | None:
    """Return the report of the quantization, which is always the last pass."""
    return next((step for step in passes if step.name == quantize.NAME), None)


def sizes(before: int, float32: Format, served: Format) -> report.Sizes:
    """Return how much smaller `served` is than the `before` bytes of the original's weights."""
    return report.Sizes(
        original_bytes=before,
        float32_bytes=float32.bytes,
        compressed_bytes=served.bytes,
        ratio=round(before / served.bytes, 4),
    )


def chosen(search: SearchReport | None) -> dict[str, str]:
    """Return what scheme Auto chose, for the recipe of the report."""
    name = next((item.name for item in search.candidates if item.chosen), None) if search else None
    return {"chosen": name} if name else {}


def warnings(
    passes: Sequence[PassReport], scores: EvaluationReport | None, search: SearchReport | None = None
) -> tuple[str, ...]:
    """Return what a reader of the report should not overlook."""
    lines = []
    if search and not search.passed:
        lines.append(f"scheme Auto: {search.note}")
    if scores and scores.invalid:
        lines.append(f"the compressed score does not count: {scores.invalid}")
    if scores:
        lines.extend(
            f"{output.metric.value} of output {output.name}: {output.note}"
            for output in scores.outputs
            if output.note and output.metric
        )
        lines.extend(details.unresolved(scores))
    for step in passes:
        for tensor in step.tensors:
            moved = step.parameters.get("algorithm") == Algorithm.GPTQ  # it says so
            if not moved and tensor.formula and (off := tensor.formula.elements_off):
                lines.append(f"{tensor.name}: {off} integers differ from the formula")
            if cut := tensor.facts.get(quantize.BEYOND_FLOAT16):
                lines.append(f"{tensor.name}: {cut:g} elements are beyond float16 and were cut to 65504")
    return tuple(lines)


def versions() -> dict[str, str]:
    """Return the versions of ModelPress and of the libraries that did the work."""
    names = ["modelpress", "ai-edge-litert", "ai-edge-quantizer", "numpy"]
    found = {name: version(name) for name in names}
    if tensorflow := sys.modules.get("tensorflow"):  # its package has two names; a .tflite file needs none
        found |= {"keras": version("keras"), "tensorflow": tensorflow.__version__}
    return found


def manifest(request: JobRequest, made: Report, format: Format, kind: manifests.Form) -> ArtifactManifest:
    """Return the manifest of an artifact whose files, report.json among them, are those of `format`."""
    files = (*format.files, REPORT_FILE)
    return ArtifactManifest(
        form=kind,
        model_file=format.files[0],
        compute_dtype=format.compute_dtype,
        files={name: file_sha256(format.folder / name) for name in files},
        inputs=made.source.inputs,
        outputs=made.source.outputs,
        input_sizes=made.input_sizes,
        artifact_key=made.artifact_key,
        source_digest=made.source.digest,
        recipe_hash=request.recipe_hash,
        compressor_version=version("modelpress"),
        original_bytes=made.sizes.original_bytes,
        compressed_bytes=made.sizes.compressed_bytes,
        scores=report.scores(made.evaluation) if made.evaluation else None,
        warnings=first_warnings(made.warnings),
        passes=tuple(_summary(step) for step in made.passes),
    )


def _summary(step: PassReport) -> PassSummary:
    changed = sum(1 for tensor in step.tensors if tensor.skipped is None)
    return PassSummary(
        name=step.name,
        parameters=dict(step.parameters),
        changed=changed,
        skipped=len(step.tensors) - changed,
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


def _specs(specs: Sequence[ModelTensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=spec.name, shape=spec.shape, dtype=spec.dtype) for spec in specs)
