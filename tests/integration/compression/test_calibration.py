"""What calibration takes, and what the converter refuses."""

from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import DataError, UsageError
from modelpress.api.schemes import Scheme
from modelpress.compression import recipe
from modelpress.compression.formats import calibration
from tests.support.models.compressed import compress
from tests.support.models.small import TrainedModel
from tests.support.models.trained import DigitsModels


def test_static_without_calibration_data_is_refused() -> None:
    request = {
        "name": "a",
        "namespace": "b",
        "recipeHash": "c",
        "model": {"uri": "file:///x"},
        "deviceType": "CPU",
        "compression": {"quantization": {"scheme": "Int8Static"}},
    }
    with pytest.raises(UsageError, match=r"Int8Static needs data\.calibration") as caught:
        recipe.of(JobRequest.model_validate(request))
    assert caught.value.reason is Reason.INVALID_SPEC


def test_calibration_rows_that_are_no_numbers_are_refused(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.npz"
    np.savez(broken, x=np.full((3, 64), np.nan, np.float32))
    model = TrainedModel(digits_models.functional, digits_models.flat_data, broken)
    with pytest.raises(DataError, match=r"data\.calibration: broken\.npz: array x, row 0: nan") as caught:
        compress(model, Scheme.INT8_STATIC, tmp_path)
    assert caught.value.reason is Reason.INVALID_DATA


@pytest.mark.parametrize(
    ("rows", "row_bytes", "fixed", "used"),
    [
        (10, 4, 0, 10),
        (10_000, 4, 0, calibration.MAX_ROWS),
        (10_000, calibration.MAX_BYTES // 8, 0, 8),
        (10, calibration.MAX_BYTES * 2, 0, 1),
        (100, 4, 32, 96),
        (31, 4, 32, 0),
        (64, calibration.MAX_BYTES // 8, 32, 32),  # a call needs its batch
    ],
)
def test_calibration_rows_are_bounded(rows: int, row_bytes: int, fixed: int, used: int) -> None:
    assert calibration.sample_size(rows, row_bytes, fixed) == used


def test_a_loop_that_crashes_the_converter_is_named(tmp_path: Path) -> None:
    """Static int8 of a recurrent layer that is not unrolled."""
    import keras

    series = keras.Input((8, 8), batch_size=4)
    label = keras.layers.Dense(10, activation="softmax")(keras.layers.LSTM(8)(series))
    path, data = tmp_path / "loop.keras", tmp_path / "data.npz"
    keras.Model(series, label).save(path)
    np.savez(data, x=np.random.default_rng(0).random((8, 8, 8), np.float32))
    fidelity = {"metric": "Fidelity", "minScore": "1%"}
    message = r"scheme Int8Static: the converter crashed \(its operators WHILE"
    with pytest.raises(DataError, match=message) as caught:
        compress(TrainedModel(path, data, data), Scheme.INT8_STATIC, tmp_path, evaluation=fidelity)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_each_input_is_calibrated_on_its_own_rows(tmp_path: Path) -> None:
    import keras

    names = ("wide", "narrow")  # not in the order of the alphabet
    wide, narrow = (keras.Input((16,), name=name) for name in names)
    joined = keras.layers.Concatenate()([keras.layers.Dense(4)(wide), keras.layers.Dense(4)(narrow)])
    path, data = tmp_path / "two.keras", tmp_path / "data.npz"
    keras.Model([wide, narrow], joined).save(path)
    random = np.random.default_rng(0)
    np.savez(
        data,
        wide=random.uniform(0, 1000, (64, 16)).astype(np.float32),
        narrow=random.uniform(0, 1, (64, 16)).astype(np.float32),
    )
    fidelity = {"metric": "Fidelity", "minScore": "1%"}
    made = compress(TrainedModel(path, data, data), Scheme.INT8_STATIC, tmp_path, evaluation=fidelity)
    scales = sorted(item.scale for item in made.quantization.activations)
    assert scales[-1] == pytest.approx(255, rel=0.02)  # 255 steps from 0 to 1
    assert any(item == pytest.approx(0.255, rel=0.02) for item in scales)
