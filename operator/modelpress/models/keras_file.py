"""Loading of .keras and .h5 files (functional and sequential models) without running code of theirs.

In this order: the archive's names and sizes, the structure's classes (`keras_config`), the weights' links and
sizes (`hdf5`), the sizes that the structure asks for against the weights that are there; then Keras loads
it in safe mode and without its compile settings.
"""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from modelpress.api.errors import ModelPressError
from modelpress.models import archive, hdf5, keras_config
from modelpress.models.graph_model import Signature
from modelpress.models.layers_model import LayersModel
from modelpress.models.limits import SMALL
from modelpress.models.types import TensorSpec, first_line, invalid, unsupported

_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json", "config.json", _WEIGHTS}


def is_keras(path: Path) -> bool:
    """Return whether a zip file is a .keras file rather than an archive of a SavedModel."""
    try:
        with zipfile.ZipFile(path) as file:
            return "config.json" in file.namelist() or path.suffix == ".keras"
    except zipfile.BadZipFile:
        return path.suffix == ".keras"


def load_keras(path: Path, work_dir: Path) -> LayersModel:
    """Load a .keras file; `work_dir` is an empty folder. Raises InvalidModel, UnsupportedModel."""
    name = path.name
    try:
        with zipfile.ZipFile(path) as file:
            archive.check_zip(path, file)
            members = set(file.namelist())
            if missing := sorted(_MEMBERS - members):
                raise invalid(f"{name}: not a .keras file: {missing[0]} is missing")
            config = keras_config.parse(file.read("config.json"), name)
            if extra := sorted(members - _MEMBERS):
                raise invalid(
                    f"{name}: entry {extra[0]!r} is none of a .keras file's: {', '.join(sorted(_MEMBERS))}"
                )
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise invalid(f"{name}: not a .keras file: {first_line(error)}") from error
    archive.unpack_zip(path, work_dir)
    return _load(_named(path, ".keras", work_dir), config, hdf5.check(work_dir / _WEIGHTS, name), name)


def load_h5(path: Path, work_dir: Path) -> LayersModel:
    """Load a whole-model .h5 file. Raises InvalidModel, UnsupportedModel."""
    size = hdf5.check(path, path.name)
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise invalid(f"{path.name}: holds weights and no model: write it with model.save, not save_weights")
    if not isinstance(text, str | bytes):
        raise invalid(f"{path.name}: attribute model_config is no text")
    return _load(_named(path, ".h5", work_dir), keras_config.parse(text, path.name), size, path.name)


def _named(path: Path, suffix: str, work_dir: Path) -> Path:
    """Return the file under a name that tells Keras its format; downloads do not always keep their names."""
    if path.suffix == suffix:
        return path
    link = work_dir / f"model{suffix}"
    link.symlink_to(path.resolve())
    return link


def _load(path: Path, config: dict[str, Any], weight_bytes: int, name: str) -> LayersModel:
    try:
        _check_size(name, config, weight_bytes)
        with warnings.catch_warnings():  # Keras only warns where weights are missing from the file
            warnings.filterwarnings("error", message=".*freshly-initialized.*")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        return _graph(model, name)
    except (MemoryError, ModelPressError):
        raise
    except Exception as error:  # a damaged file can make Keras raise anything
        raise invalid(f"{name}: Keras cannot load it: {first_line(error)}") from error


def _check_size(name: str, config: dict[str, Any], weight_bytes: int) -> None:
    """Refuse a structure that asks for more memory than the weights fill, before it is allocated."""
    with keras.StatelessScope():  # variables get a shape here and no memory
        try:
            model = keras_config.build(config)
            needed = sum(_bytes(variable) for variable in model.variables)
        finally:
            keras.utils.clear_session()  # or leaving the scope would allocate them
    if needed > weight_bytes + SMALL:
        raise invalid(f"{name}: the layers need {needed} bytes of weights, the file has {weight_bytes}")


def _bytes(variable: Any) -> int:
    count = 1
    for size in variable.shape:
        count *= int(size)
    return count * int(tf.as_dtype(variable.dtype).size)


def _graph(model: keras.Model, name: str) -> LayersModel:
    if not model.inputs:
        raise unsupported(f"{name}: the model has no fixed input shape: start it with keras.Input")
    outputs = list(model.outputs)
    flat = keras.Model(list(model.inputs), outputs)  # one flat list in and out, whatever the structure
    signature = Signature(
        inputs=tuple(
            _spec(label, tensor) for label, tensor in zip(_input_names(model), model.inputs, strict=True)
        ),
        outputs=tuple(
            _spec(label, tensor) for label, tensor in zip(_output_names(model, flat), outputs, strict=True)
        ),
    )
    return LayersModel(flat, signature)


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape)
    return TensorSpec(name, shape, str(tensor.dtype))


def _input_names(model: keras.Model) -> list[str]:
    return _unique([tensor.name for tensor in model.inputs])


def _output_names(model: keras.Model, flat: keras.Model) -> list[str]:
    structure = None if isinstance(model, keras.Sequential) else model.output
    if isinstance(structure, dict) and set(map(id, structure.values())) == set(map(id, model.outputs)):
        names = {id(tensor): key for key, tensor in structure.items()}
        return [names[id(tensor)] for tensor in model.outputs]
    return _unique(list(flat.output_names))


def _unique(names: list[str]) -> list[str]:
    """Number repeated names, as Keras numbers its layers."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        result.append(f"{name}_{count}" if count else name)
    return result
