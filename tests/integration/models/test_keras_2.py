"""Files that Keras 2 wrote, here tf-keras 2.21; tests/matrix/models has tf.keras of TensorFlow 2.13 and 2.15.

What they must compute is what the Keras that wrote them computed (`tests/support/models/keras_2`).
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from modelpress.api.errors import DataError
from modelpress.models.keras.keras_2 import operations
from modelpress.models.load import load
from tests.support.models import of_formats as format_models
from tests.support.models.keras_2 import comparison, material


def test_a_file_of_keras_2_predicts_what_keras_2_did(tmp_path: Path) -> None:
    """The numbers are those that tf-keras 2.21.0 printed for the first digits when the file was made."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:4] / 16).astype(np.float32)
    model = load(format_models.keras_2_h5(tmp_path), tmp_path / "w")
    found = model.call({"series": images})["digit"]
    assert np.abs(found - np.array(KERAS_2_OUTPUTS)).max() < 1e-4


KERAS_2_OUTPUTS = [
    [0.9970, 0.0, 0.0, 0.0, 0.0003, 0.0012, 0.0003, 0.0001, 0.0, 0.0011],
    [0.0, 0.9747, 0.0001, 0.0007, 0.0092, 0.0001, 0.0001, 0.0026, 0.0122, 0.0004],
    [0.0004, 0.1096, 0.0128, 0.0026, 0.0151, 0.0012, 0.0215, 0.0134, 0.8211, 0.0022],
    [0.0001, 0.0060, 0.0043, 0.9795, 0.0001, 0.0002, 0.0, 0.0006, 0.0033, 0.0060],
]


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
@pytest.mark.parametrize("name", comparison.SMALL)
def test_a_model_computes_what_it_did(file: str, name: str, tmp_path: Path) -> None:
    comparison.check_whole(material.TF_KERAS, file, name, tmp_path)


@pytest.mark.parametrize("name", comparison.SAVED)
def test_a_saved_model_computes_what_it_did(name: str, tmp_path: Path) -> None:
    comparison.check_saved(material.TF_KERAS, name, tmp_path)


@pytest.mark.parametrize("name", ["x / 127.5 - 1", "x - list", "math.floormod", "clip_by_value"])
def test_a_function_of_tensorflow_computes_what_it_did(name: str, tmp_path: Path) -> None:
    """tests/matrix/models has all that are accepted."""
    comparison.check_function(material.TF_KERAS, name, tmp_path)


def test_every_accepted_function_is_one_that_was_compared() -> None:
    folder = material.folder(material.TF_KERAS) / "functions"
    seen = {
        layer["config"]["function"]
        for path in folder.glob("*/model.h5")
        for layer in _structure(path)["config"]["layers"]
        if layer["class_name"] in operations.WRAPPERS
    }
    assert operations.FUNCTIONS.keys() - seen == set()


def _structure(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        return json.loads(file.attrs["model_config"])


def _edited(path: Path, target: Path, edit: Callable[[list[Any]], None]) -> Path:
    """Copy an .h5 file with the layers of its structure edited."""
    shutil.copy(path, target)
    with h5py.File(target, "a") as file:
        structure = json.loads(file.attrs["model_config"])
        edit(structure["config"]["layers"])
        file.attrs["model_config"] = json.dumps(structure)
    return target


def _wrapper(layers: list[Any]) -> Any:
    return next(layer for layer in layers if layer["class_name"] in operations.WRAPPERS)


def _reads_a_file(layers: list[Any]) -> None:
    _wrapper(layers)["config"]["function"] = "io.read_file"


def _calls_python(layers: list[Any]) -> None:
    _wrapper(layers)["config"]["function"] = "py_function"


def _of_constants(layers: list[Any]) -> None:
    _wrapper(layers)["inbound_nodes"] = [["_CONSTANT_VALUE", -1, 1.0, {"y": 2.0}]]


def _computed_setting(layers: list[Any]) -> None:
    layer = _wrapper(layers)
    layer["config"]["function"] = "clip_by_value"
    layer["inbound_nodes"][0][3] = {
        "clip_value_min": {"class_name": "Lambda", "config": {}},
        "clip_value_max": 1,
    }


def _holds_code(layers: list[Any]) -> None:
    layers[-1] |= {
        "class_name": "Lambda",
        "config": {"name": layers[-1]["name"], "function": ["YQ==", None, None]},
    }


def _of_a_foreign_class(layers: list[Any]) -> None:
    layers[-1] |= {"module": "os", "class_name": "system", "registered_name": "system"}


def _without_calls(layers: list[Any]) -> None:
    layers[-1]["inbound_nodes"] = [["nobody", 0, 0]]


def _called_before_its_time(layers: list[Any]) -> None:
    _wrapper(layers)["inbound_nodes"][0][1] = -1


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_reads_a_file, "'io.read_file', which is not on the list"),
        (_calls_python, "'py_function', which is not on the list"),
        (_of_constants, "constants alone"),
        (_computed_setting, "a computed clip_value_min"),
        (_holds_code, "holds Python code"),
        (_of_a_foreign_class, "code that is not in the file"),
        (_without_calls, "is not that of a Keras 2 model"),
        (_called_before_its_time, "no such call"),
    ],
)
def test_a_hostile_structure_of_keras_2_is_refused(
    edit: Callable[[list[Any]], None], words: str, tmp_path: Path
) -> None:
    source = material.folder(material.TF_KERAS) / "functions/x_by_127.5_-_1/model.h5"
    with pytest.raises(DataError, match=r"model\.h5") as caught:
        load(_edited(source, tmp_path / "model.h5", edit), tmp_path / "w")
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def test_weights_of_another_layer_are_refused(tmp_path: Path) -> None:
    source = material.folder(material.TF_KERAS) / "whole/twins/model.h5"
    target = Path(shutil.copy(source, tmp_path / "model.h5"))
    with h5py.File(target, "a") as file:
        group = file["model_weights"]
        group.move("one", "else")
        names = [
            b"else" if name in (b"one", "one") else np.bytes_(name) for name in group.attrs["layer_names"]
        ]
        group.attrs["layer_names"] = names
    with pytest.raises(DataError, match="only in the file or only in its structure"):
        load(target, tmp_path / "w")
