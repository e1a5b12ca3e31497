"""A pass and schemes that are added through the public tables alone, on a real model to its served numbers.

The names of schemes are an enum of the API: the toys are schemes of one type of devices, given to the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelpress.api import schemes as api_schemes
from modelpress.api.contract import JobRequest
from modelpress.api.schemes import DeviceType, Scheme, SchemeTraits
from modelpress.artifacts import weights
from modelpress.artifacts.manifest import MODEL_FILE, ComputeDtype
from modelpress.compression import pipeline, recipe, schemes
from modelpress.compression.evaluation import weight_stats
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.compression.passes.weights import WeightPass
from modelpress.compression.report import document as report
from modelpress.compression.report.document import PassReport, Report
from modelpress.compression.schemes import LiteRTSettings, QuantizerSettings, SchemeSettings, StoredSettings
from modelpress.models.load import load
from modelpress.models.types import Array, LoadedModel
from tests.support.models.compressed import job_request
from tests.support.models.trained import DigitsModels


@dataclass(frozen=True)
class Rounding(WeightPass):
    """A toy: kernels and embeddings are rounded to some decimals."""

    decimals: int
    name = "rounding"

    @property
    def parameters(self) -> Mapping[str, str]:
        return {"decimals": str(self.decimals)}

    def edit(self, values: Array) -> tuple[Array, Mapping[str, float]]:
        return np.round(values, self.decimals), {"largest": float(values.max())}


def rounding(request: JobRequest) -> Rounding | None:
    return Rounding(1) if request.optimization else None


@pytest.fixture
def model(digits_models: DigitsModels, tmp_path: Path) -> LoadedModel:
    return load(digits_models.functional, tmp_path / "model")


def compress(models: DigitsModels, folder: Path, **fields: object) -> Report:
    inputs = pipeline.Inputs(models.functional, models.flat_data, f"sha256:{'2' * 64}", "3" * 64)
    request = job_request(models.functional, **{"evaluation": {"minScore": "50%"}, **fields})
    pipeline.compress(request, inputs, folder / "out", folder / "work")
    return report.load(folder / "out")


def served(folder: Path, model: LoadedModel, rows: dict[str, Array]) -> Array:
    found = LiteRTModel(folder / "out" / MODEL_FILE, model.inputs, model.outputs).call(rows)
    return found[model.outputs[0].name]


def rows_of(models: DigitsModels, model: LoadedModel) -> dict[str, Array]:
    return {model.inputs[0].name: models.digits.test_x[:64].reshape(64, -1)}


def test_a_pass_is_applied_at_its_place_reported_and_served(
    digits_models: DigitsModels, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "PASSES", (*recipe.PASSES, rounding))
    bounds = {"weightClipping": {"min": "-0.5", "max": "0.5"}}
    made = compress(digits_models, tmp_path, optimization=bounds)
    assert [step.name for step in made.passes] == ["weightClipping", "rounding"]
    assert made.passes[1].parameters == {"decimals": "1"}
    kernels = [tensor for tensor in made.passes[1].tensors if tensor.role == "kernel"]
    assert len(kernels) == 3
    assert all(tensor.changed and tensor.facts["largest"] <= 0.5 for tensor in kernels)
    assert all(tensor.skipped for tensor in made.passes[1].tensors if tensor.role == "bias")
    for weight in model.weights:
        if weight.role == "kernel":
            weight.write(np.round(np.clip(weight.read(), -0.5, 0.5), 1))
    rows = rows_of(digits_models, model)
    expected = model.call(rows)[model.outputs[0].name]
    np.testing.assert_allclose(served(tmp_path, model, rows), expected, atol=1e-5)


def test_a_scheme_of_cpus_is_two_entries(
    digits_models: DigitsModels, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, quantizer = Scheme.INT4_WEIGHTS, QuantizerSettings(bits=8, dense_bits=4, dynamic=False)
    monkeypatch.setitem(api_schemes.TRAITS, scheme, SchemeTraits({DeviceType.CPU: 8}))
    monkeypatch.setitem(schemes.SCHEMES, scheme, SchemeSettings(LiteRTSettings(quantizer=quantizer)))
    assert scheme in schemes.of_device(DeviceType.CPU), "Auto searches it too"
    made = compress(digits_models, tmp_path, compression={"quantization": {"scheme": scheme}})
    file = tmp_path / "out" / MODEL_FILE
    assert made.recipe == {"scheme": "Int4Weights"}
    assert {item.dtype for item in tflite_file.read(file).constants if item.scale.size} == {"int4"}
    follow_the_formula(made.passes[-1])
    stored = dict(weight_stats.stored_values(made.passes[-1], file))
    for weight in model.weights:  # LiteRT has the output channels of a kernel first
        weight.write(stored[weight.name].T)
    rows = rows_of(digits_models, model)
    expected = model.call(rows)[model.outputs[0].name]
    np.testing.assert_allclose(served(tmp_path, model, rows), expected, atol=1e-4)


def test_a_scheme_of_gpus_is_two_entries(
    digits_models: DigitsModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, stored = Scheme.INT8_DYNAMIC, StoredSettings("int8", ComputeDtype.BFLOAT16)
    monkeypatch.setitem(api_schemes.TRAITS, scheme, SchemeTraits({DeviceType.GPU: 4}))
    monkeypatch.setitem(schemes.SCHEMES, scheme, SchemeSettings(tensorflow=stored))
    fields = {"compression": {"quantization": {"scheme": scheme}}, "deviceType": "GPU"}
    made = compress(digits_models, tmp_path, **fields)
    follow_the_formula(made.passes[-1])
    tensors = weights.read(tmp_path / "out" / weights.WEIGHTS_FILE)
    assert sorted({item.storage for item in tensors}) == ["float32", "int8"]
    assert "compute in bfloat16" in str(made.passes[-1].note)
    assert made.evaluation
    assert made.evaluation.compressed >= 93


def follow_the_formula(step: PassReport) -> None:
    formulas = [tensor.formula for tensor in step.tensors if tensor.formula]
    assert formulas
    assert all(item.largest_error <= 0.5001 for item in formulas)
