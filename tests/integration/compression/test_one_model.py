"""One small model through each scheme of CPUs and one of GPUs; tests/matrix has more models of more kinds."""

from pathlib import Path

import numpy as np
import pytest

from modelpress.api.spec import Scheme
from modelpress.artifacts import manifest as manifests
from modelpress.compression import pipeline
from modelpress.compression.passes import quantize
from tests.support.compressed import compress, job_request
from tests.support.models import DigitsModels
from tests.support.small_models import TrainedModel

RATIO = 1.5  # of the weights in float32 to the file, at least; files have some KB besides
DROP = 4.0  # percentage points, at most


@pytest.mark.parametrize("scheme", quantize.SCHEMES)
def test_a_scheme_of_cpus(digits_models: DigitsModels, tmp_path: Path, scheme: Scheme) -> None:
    rows = tmp_path / "rows.npz"
    np.savez(rows, x=digits_models.digits.train_x)
    made = compress(TrainedModel(digits_models.functional, digits_models.flat_data, rows), scheme, tmp_path)
    assert made.manifest.scores is not None
    assert made.manifest.scores.original > 90
    assert made.manifest.scores.drop <= DROP
    assert made.report.sizes.ratio >= RATIO


def test_a_scheme_of_gpus(digits_models: DigitsModels, tmp_path: Path) -> None:
    request = job_request(
        digits_models.functional,
        deviceType="GPU",
        compression={"quantization": {"scheme": Scheme.INT8_WEIGHTS}},
        evaluation={"minScore": "50%"},
    )
    inputs = pipeline.Inputs(
        digits_models.functional, digits_models.flat_data, f"sha256:{'2' * 64}", "3" * 64
    )
    made = pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    assert manifests.load_verified(tmp_path / "out") == made
    assert made.form is manifests.Form.TENSORFLOW
    assert made.scores is not None
    assert made.scores.drop <= DROP
    assert made.original_bytes / made.compressed_bytes >= RATIO
