"""Loading of .keras and .h5 files (functional and sequential models) without running code of theirs.

In this order: the archive's names and sizes, the structure's classes (`keras_config`), the weights' links and
sizes (`hdf5`), the sizes that the structure asks for against the weights that are there (`trial_build`); then
Keras builds the model in safe mode from the structure that was checked, never from the file itself, and reads
the weights.
"""

import copy
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format

from modelpress.api.errors import DataError, ModelPressError
from modelpress.models import names
from modelpress.models.graph_model import Signature
from modelpress.models.keras import config as keras_config
from modelpress.models.keras import trial_build, way_out
from modelpress.models.keras import versions as keras_versions
from modelpress.models.keras.keras_2 import structure, weights
from modelpress.models.keras.layers_model import LayersModel
from modelpress.models.safety import archive, hdf5
from modelpress.models.safety.limits import MAX_CONFIG_BYTES, MAX_ROW_BYTES
from modelpress.models.types import TensorSpec, first_line, invalid, one_line, unsupported

_WEIGHTS = "model.weights.h5"
_CALLED = re.compile(r"when calling (\w+)\.call\(\)")
_ANSI = re.compile(r"\x1b\[[\d;]*m")
_NAME = re.compile(r"[A-Za-z0-9_./>-]*")
_SCOPE = re.compile(r"'(.*)' is not a valid (?:root )?scope name")
_ROOT_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")
_TOO_DEEP = f"more layers in a row than Keras can load: {way_out.EXPORT}"
_MEMBERS = {"metadata.json", "config.json", _WEIGHTS}


def is_keras(path: Path) -> bool:
    """Return whether a zip file is a .keras file rather than an archive of a SavedModel."""
    try:
        with archive.open_zip(path) as file:
            return "config.json" in file.namelist() or path.suffix == ".keras"
    except archive.BROKEN:
        return path.suffix == ".keras"


def load_keras(path: Path, work_dir: Path) -> LayersModel:
    """Load a .keras file; `work_dir` is an empty folder. Raises InvalidModel, UnsupportedModel."""
    name = path.name
    try:
        with archive.open_zip(path) as file:
            archive.check_zip(path, file)
            members = set(file.namelist())
            if missing := sorted(_MEMBERS - members):
                raise invalid(f"{name}: not a .keras file: {missing[0]} is missing")
            if file.getinfo("config.json").file_size > MAX_CONFIG_BYTES:
                raise invalid(f"{name}: config.json is larger than {MAX_CONFIG_BYTES} bytes")
            version = _version(archive.read_whole(file, "metadata.json"))
            text = archive.read_whole(file, "config.json")
            config = keras_config.parse(text, name, keras_2=structure.is_keras_2(version))
            if extra := sorted(members - _MEMBERS):
                raise invalid(
                    f"{name}: entry {extra[0]!r} is none of a .keras file's: {', '.join(sorted(_MEMBERS))}"
                )
    except (*archive.BROKEN, OSError) as error:
        raise invalid(f"{name}: not a .keras file: {first_line(error)}") from error
    archive.unpack_zip(path, work_dir)
    stored = work_dir / _WEIGHTS
    size = hdf5.check(stored, name)

    def load() -> keras.Model:
        keras_versions.refuse_state(config, name)
        trial_build.check(name, keras_config.build, config, size)
        keras_versions.widen(config)
        model = keras_config.build(config)
        if not model.built:
            raise unsupported(_no_input(name))
        model.load_weights(stored)
        return model

    return _loaded(load, name, version)


def load_h5(path: Path) -> LayersModel:
    """Load a whole-model .h5 file. Raises InvalidModel, UnsupportedModel."""
    name = path.name
    size = hdf5.check(path, name)
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            version = str(file.attrs.get("keras_version", ""))
    except Exception as error:  # a damaged file can make h5py raise anything
        raise invalid(f"{name}: the HDF5 file cannot be read: {first_line(error)}") from error
    if text is None:
        raise invalid(f"{name}: holds weights and no model: write it with model.save, not save_weights")
    if not isinstance(text, str | bytes):
        raise invalid(f"{name}: attribute model_config is no text")
    keras_2 = not version or structure.is_keras_2(version)  # the oldest ones name none
    config = keras_config.parse(text, name, keras_2)
    build = keras_config.build if keras_2 else keras_config.build_legacy

    def load() -> keras.Model:
        keras_versions.refuse_state(config, name)
        trial_build.check(name, build, config, size)
        keras_versions.widen(config)
        layers = copy.deepcopy(config)  # building takes settings out of it
        model = build(config)
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("model_weights"), h5py.Group):
                raise invalid(f"{name}: has no weights in the group model_weights")
            if keras_2:
                weights.load(model, layers, file["model_weights"])
            else:
                legacy_h5_format.load_weights_from_hdf5_group(file["model_weights"], model)
        return model

    return _loaded(load, name, version)


def _version(metadata: bytes) -> str:
    """Return the version of Keras in metadata.json; empty where it says none."""
    try:
        found = json.loads(metadata)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("keras_version", "")) if isinstance(found, dict) else ""


def _loaded(load: Callable[[], keras.Model], name: str, version: str) -> LayersModel:
    """Run `load` on a checked file; it builds from the structure that was checked, and reads no other.

    `version` is that of the Keras that wrote the file, as far as it says so.
    """
    try:
        with warnings.catch_warnings():  # Keras only warns where weights are missing from the file
            warnings.filterwarnings("error", message=".*freshly-initialized.*")
            model = load()
    except (MemoryError, ModelPressError):
        raise
    except RecursionError as error:
        raise unsupported(f"{name}: {_TOO_DEEP}") from error
    except Exception as error:  # a damaged file can make Keras raise anything
        raise _not_loaded(name, version, first_line(error)) from error
    try:
        return _graph(model, name)
    except (MemoryError, ModelPressError):
        raise
    except RecursionError as error:
        raise unsupported(f"{name}: {_TOO_DEEP}") from error
    except Exception as error:  # a layer can raise anything for sizes or dtypes that it cannot compute
        raise unsupported(f"{name}: {_not_computed(str(error))}") from error


def _not_computed(text: str) -> str:
    """Return what an error of Keras says while a model is called: places in sources are around it."""
    lines = [line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    end = next((i for i, line in enumerate(lines) if line.startswith("Arguments received by")), len(lines))
    layer = _CALLED.search(text)
    what = (
        f"the layer {layer[1]} cannot be computed in a graph" if layer else "it cannot be computed in a graph"
    )
    return f"{what}: {one_line(lines[end - 1], 200) if end else 'no reason is given'}"


def _not_loaded(name: str, version: str, why: str) -> DataError:
    if scope := _SCOPE.search(why):
        return _bad_name(name, scope[1])
    if structure.is_keras_2(version):
        return unsupported(
            f"{name}: Keras {version} wrote it and Keras {keras.__version__} cannot load it ({why}):"
            f" {way_out.EXPORT_WITH_ITS_KERAS}"
        )
    return invalid(f"{name}: Keras cannot load it: {why}")


def _no_input(name: str) -> str:
    return f"{name}: the model has no fixed input shape: start it with keras.Input"


def _row_bytes(tensor: Any) -> int:
    count = 1
    for size in tensor.shape:
        count *= int(size or 1)
    return count * max(int(tf.as_dtype(tensor.dtype).size), 1)


def _graph(model: keras.Model, name: str) -> LayersModel:
    if not model.inputs:
        raise unsupported(_no_input(name))
    _check_names(model, name)
    for layer, tensor in _values(model):
        size = _row_bytes(tensor)
        if size > MAX_ROW_BYTES:
            raise invalid(
                f"{name}: layer {layer} computes a value of {size} bytes for one row; accepted are "
                f"{MAX_ROW_BYTES}"
            )
    outputs = list(model.outputs)
    flat = keras.Model(list(model.inputs), outputs)  # one flat list in and out, whatever the structure
    inputs = tuple(
        _spec(label, tensor) for label, tensor in zip(_input_names(model), model.inputs, strict=True)
    )
    found = tuple(
        _spec(label, tensor) for label, tensor in zip(_output_names(model, flat), outputs, strict=True)
    )
    return LayersModel(flat, Signature(inputs, tuple(_as_many_rows(inputs, spec) for spec in found)))


def _check_names(model: keras.Model, name: str) -> None:
    """Refuse layers with names that Keras takes and TensorFlow's graphs do not."""
    for layer in _operations(model):
        accepted = _ROOT_NAME if getattr(layer, "variables", ()) else _NAME  # variables have no scope around
        if not (isinstance(layer, keras.layers.InputLayer) or accepted.fullmatch(layer.name)):
            raise _bad_name(name, layer.name)


def _bad_name(name: str, layer: str) -> DataError:
    return unsupported(
        f"{name}: the name of layer {layer!r} cannot be that of an operation of TensorFlow:"
        " rename it; accepted are letters of ASCII, digits and . _ / > -, a letter or digit first"
    )


def _operations(model: keras.Model) -> Iterator[Any]:
    for operation in model.layers if isinstance(model, keras.Sequential) else model.operations:
        yield operation
        if isinstance(operation, keras.Model):
            yield from _operations(operation)


def _as_many_rows(inputs: Sequence[TensorSpec], output: TensorSpec) -> TensorSpec:
    """Return an output with a free batch where the inputs have one: Keras calls N rows plus 1 row 1."""
    free = bool(output.shape) and all(spec.shape[:1] == (-1,) for spec in inputs)
    return replace(output, shape=(-1, *output.shape[1:])) if free else output


def _values(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield each output of each layer, also of models inside, with the layer's name.

    Keras knows sizes that TensorFlow's graph does not, such as those of RepeatVector.
    """
    for operation in model.layers if isinstance(model, keras.Sequential) else model.operations:
        for node in operation._inbound_nodes:  # `output` is only there for layers that are called once
            for tensor in node.output_tensors:
                yield operation.name, tensor
        if isinstance(operation, keras.Model):
            yield from _values(operation)


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape)
    return TensorSpec(name, shape, str(tensor.dtype))


def _input_names(model: keras.Model) -> list[str]:
    return names.unique(tensor.name for tensor in model.inputs)


def _output_names(model: keras.Model, flat: keras.Model) -> list[str]:
    structure = None if isinstance(model, keras.Sequential) else model.output
    if isinstance(structure, dict):  # its keys, key by key: two of them can hold one tensor
        found = keras.tree.flatten_with_path(structure)
        flat_dict = all(len(path) == 1 for path, _ in found)
        if flat_dict and [id(tensor) for _, tensor in found] == [id(tensor) for tensor in model.outputs]:
            return names.unique(str(path[0]) for path, _ in found)
    return names.unique(flat.output_names)
