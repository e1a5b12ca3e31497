"""Compresses a trained model with one scheme, without a store: for tests and benchmarks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpress.api.contract import JobRequest
from modelpress.api.schemes import Scheme
from modelpress.artifacts.manifest import MODEL_FILE, ArtifactManifest
from modelpress.compression import pipeline, recipe
from modelpress.compression.report import document as report
from modelpress.compression.report.document import PassReport, Report
from tests.support.models.small import TrainedModel


@dataclass(frozen=True)
class Made:
    """The serving format, and what is told of it."""

    path: Path
    manifest: ArtifactManifest
    report: Report

    @property
    def quantization(self) -> PassReport:
        return self.report.passes[-1]


def job_request(model: Path, **fields: Any) -> JobRequest:
    """Return the request of a Job for a CPU, with further `fields`, as JSON has them."""
    return JobRequest.model_validate(
        {
            "name": "digits",
            "namespace": "default",
            "recipeHash": "1" * 64,
            "deviceType": "CPU",
            "model": {"uri": model.as_uri()},
            **fields,
        }
    )


def compress(model: TrainedModel, scheme: Scheme | None, folder: Path, **fields: Any) -> Made:
    """Compress with `scheme` on a CPU; None serves float32. `fields` are those of a JobRequest."""
    request = job_request(
        model.path,
        **{
            "data": {"calibration": {"uri": model.calibration.as_uri()}},
            "compression": {"quantization": {"scheme": scheme.value}} if scheme else None,
            "evaluation": {"minScore": "50%"},
            **fields,
        },
    )
    inputs = pipeline.Inputs(
        model=model.path,
        evaluation=model.evaluation,
        source_digest=f"sha256:{'2' * 64}",
        artifact_key="3" * 64,
        calibration=model.calibration if "calibration" in recipe.of(request).data else None,
    )
    made = pipeline.compress(request, inputs, folder / "out", folder / "work")
    return Made(folder / "out" / MODEL_FILE, made, report.load(folder / "out"))
