"""Whole compressions for GPU devices, on the CPU of TensorFlow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts import weights
from modelpress.artifacts.manifest import ArtifactManifest, ComputeDtype
from modelpress.compression import pipeline, schemes
from modelpress.compression.formats.base import QuantizationTask
from modelpress.compression.formats.tensorflow.backend import TensorFlowBackend
from modelpress.compression.report import document as report
from modelpress.compression.report.document import Report
from modelpress.models.load import load
from tests.support.models import small as small_models
from tests.support.models.compressed import job_request
from tests.support.models.small import TrainedModel
from tests.support.models.trained import DigitsModels


@pytest.fixture(scope="module")
def models(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    folder = tmp_path_factory.mktemp("models")
    none = folder / "none"
    return {
        "seed": TrainedModel(digits_models.saved_model, digits_models.flat_data, none),
        "cnn": TrainedModel(digits_models.cnn, digits_models.image_data, none),
        "wide": small_models.wide(folder),
    }


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose values inside leave the range of float16 and come back."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((64,), name="image")
    hidden = layers.Dense(64, name="up")(image)
    hidden = layers.Dense(64, name="down")(layers.Dense(64)(hidden))
    model = keras.Model(image, layers.Dense(2, name="score")(hidden))
    up, down = model.get_layer("up"), model.get_layer("down")
    up.set_weights([up.get_weights()[0] * 1e7, up.get_weights()[1]])
    down.set_weights([down.get_weights()[0] * 1e-7, down.get_weights()[1]])
    path = tmp_path_factory.mktemp("overflowing") / "model.keras"
    model.save(path)
    return path


def test_integers_compute_in_float32_where_float16_is_left(overflowing: Path, tmp_path: Path) -> None:
    model = load(overflowing, tmp_path)
    inputs = {"image": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)}
    made = TensorFlowBackend().formats(model, inputs, tmp_path / "float32")
    format, step = made.quantized(QuantizationTask(Scheme.INT8_WEIGHTS), tmp_path / "int8")
    assert format.compute_dtype is ComputeDtype.FLOAT32
    assert step.note == "Layers compute in float32: outputs left the range of float16."
    assert np.allclose(format.model.call(inputs)["score"], model.call(inputs)["score"], rtol=0.1, atol=0.1)
    assert len(step.tensors) == len(model.weights)


@dataclass(frozen=True)
class Made:
    folder: Path
    manifest: ArtifactManifest
    report: Report


def compress(model: Path, rows: Path | None, folder: Path, **fields: Any) -> Made:
    judged = {"evaluation": {"minScore": "50%"}} if rows else {}
    request = job_request(model, **{"deviceType": "GPU", **judged, **fields})
    source = fields.get("data", {}).get("training")
    training = Path(source["uri"]) if source else None
    inputs = pipeline.Inputs(model, rows, f"sha256:{'2' * 64}", "3" * 64, training=training)
    made = pipeline.compress(request, inputs, folder / "out", folder / "work")
    return Made(folder / "out", made, report.load(folder / "out"))


def quantization(scheme: str, **pruning: str) -> dict[str, Any]:
    return {"quantization": {"scheme": scheme}, **({"pruning": pruning} if pruning else {})}


def test_a_whole_compression(models: dict[str, TrainedModel], tmp_path: Path) -> None:
    cnn = models["cnn"]
    made = compress(cnn.path, cnn.evaluation, tmp_path, compression=quantization("Int8Weights"))
    assert manifests.load_verified(made.folder) == made.manifest
    assert made.manifest.form == manifests.Form.TENSORFLOW
    assert made.manifest.model_file == "structure.json"
    assert made.manifest.compute_dtype is ComputeDtype.FLOAT16
    names = ["manifest.json", "report.json", "structure.json", "weights.safetensors"]
    assert sorted(path.name for path in made.folder.iterdir()) == names
    size = sum((made.folder / name).stat().st_size for name in ("structure.json", "weights.safetensors"))
    assert made.manifest.compressed_bytes == made.report.sizes.compressed_bytes == size
    assert made.manifest.scores
    assert made.manifest.scores.compressed > 95
    assert made.report.latency_of
    assert "CPU" in made.report.latency_of
    assert all(item.compressed > 0 for item in made.report.latency)
    assert all(item.after for item in made.report.histograms)
    assert sum(layer.after for layer in made.report.layers) == size


@pytest.mark.parametrize("granularity", ["Element", "Channel"])
def test_the_structure_is_that_of_the_pruned_and_trained_network(
    models: dict[str, TrainedModel], digits_models: DigitsModels, tmp_path: Path, granularity: str
) -> None:
    cnn, digits = models["cnn"], digits_models.digits
    training = tmp_path / "training.npz"
    np.savez(training, x=digits.train_x.reshape(-1, 8, 8, 1), y=digits.train_y)
    made = compress(
        cnn.path,
        cnn.evaluation,
        tmp_path,
        compression=quantization("Int8Weights", sparsity="50%", granularity=granularity),
        optimization={"fineTuning": {"epochs": 2}},
        data={"training": {"uri": str(training)}},
    )
    assert made.manifest.scores
    assert made.manifest.scores.compressed > 93
    stored = {item.name: item for item in weights.read(made.folder / weights.WEIGHTS_FILE)}
    shapes = {item.name: item.shape for item in made.report.source.weights}
    largest = max(shapes, key=lambda name: int(np.prod(shapes[name])))
    if granularity == "Channel":
        assert np.prod(stored[largest].shape) < 0.5 * np.prod(shapes[largest])
    else:
        assert stored[largest].shape == shapes[largest]
        assert (stored[largest].integers() == 0).mean() >= 0.5


def test_auto_takes_the_smallest_that_passes_where_times_here_say_nothing(
    models: dict[str, TrainedModel], tmp_path: Path
) -> None:
    wide = models["wide"]
    limits = {"evaluation": {"minScore": "85%"}, "data": {"evaluation": {"uri": str(wide.evaluation)}}}
    made = compress(wide.path, wide.evaluation, tmp_path, compression=quantization("Auto"), **limits)
    search = made.report.search
    assert search
    assert [item.name for item in search.candidates] == [*schemes.of_device(DeviceType.GPU)]
    assert [item.name for item in search.candidates if item.chosen] == ["Int4Weights"]
    assert not any(item.latency for item in search.candidates)
    assert "times here do not tell those of workers" in search.note
    assert manifests.load_verified(made.folder).compute_dtype is ComputeDtype.FLOAT16


def test_without_a_scheme_the_model_is_kept_as_it_is(models: dict[str, TrainedModel], tmp_path: Path) -> None:
    made = compress(models["seed"].path, models["seed"].evaluation, tmp_path)
    assert made.manifest.model_file == "saved_model.pb"
    assert made.manifest.compute_dtype is ComputeDtype.FLOAT32
    assert made.manifest.passes == ()
    assert made.manifest.scores
    assert made.manifest.scores.original == made.manifest.scores.compressed
    assert {item.storage for item in weights.read(made.folder / weights.WEIGHTS_FILE)} == {"float32"}


def test_a_form_without_numbers_is_refused(overflowing: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="output score is NaN or infinite; choose another scheme") as caught:
        compress(overflowing, None, tmp_path, compression=quantization("Float16"))
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
