"""The structure of a model without the values of its variables, which are stored beside it.

- Layers: structure.json, the Keras structure with the name of the stored tensor of each variable. It is
  checked as that of a .keras file when it is read, and built without allocating variables.
- SavedModel: saved_model.pb with one function and the list `stored` of its variables, in the order of
  `LoadedModel.weights`. It is checked as any SavedModel when it is read.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelpress.api.errors import ModelPressError
from modelpress.bounds import json_values
from modelpress.models.keras import config as keras_config
from modelpress.models.keras import precision
from modelpress.models.keras.layers_model import LayersModel
from modelpress.models.safety.limits import MAX_CONFIG_BYTES, MAX_CONFIG_VALUES
from modelpress.models.saved_model import check as saved_model_check
from modelpress.models.types import LoadedModel, first_line, invalid, unsupported

LAYERS_FILE = "structure.json"
GRAPH_FILE = saved_model_check.GRAPH_FILE
SIGNATURE = "serving_default"
_TRAINING = ("_initializer", "_regularizer", "_constraint")  # ends of names of settings


@dataclass(frozen=True)
class Slot:
    """A variable of a rebuilt network, and the name of the tensor that holds its value.

    `tensor` is None where the outputs do not depend on the variable, such as the seed of a Dropout.
    """

    variable: str  # the last part of its name, such as kernel
    shape: tuple[int, ...]
    tensor: str | None


@dataclass(frozen=True)
class Layers:
    """A network whose variables have no memory, and what belongs into each, in the order of `variables`."""

    network: keras.Model
    slots: tuple[Slot, ...]
    compute: str  # float32, float16 or bfloat16: what most layers compute in


def write(model: LoadedModel, folder: Path, compute: str) -> str:
    """Write the structure into a folder and return the name of its file.

    `compute` is float32, float16 or bfloat16; a SavedModel always computes as its graph says, in float32.
    Raises UnsupportedModel where the layers cannot be rebuilt, or not compute in that dtype.
    """
    if isinstance(model, LayersModel):
        _write_layers(model, folder / LAYERS_FILE, compute)
        return LAYERS_FILE
    _write_graph(model, folder / GRAPH_FILE)
    return GRAPH_FILE


def read_layers(path: Path) -> Layers:
    """Read structure.json and build its network. Raises InvalidModel, UnsupportedModel."""
    name = path.name
    try:
        text = path.read_bytes()
        if len(text) > 2 * MAX_CONFIG_BYTES:
            raise invalid(f"{name}: is larger than {2 * MAX_CONFIG_BYTES} bytes")
        if json_values.count(text) > 2 * MAX_CONFIG_VALUES:
            raise invalid(f"{name}: has more than {2 * MAX_CONFIG_VALUES} values")
        document = json.loads(text)
        config = keras_config.parse(json.dumps(document["model"]), name)
        slots = tuple(
            Slot(item["variable"], tuple(map(int, item["shape"])), item["tensor"])
            for item in document["variables"]
        )
        compute = str(document["compute"])
    except ModelPressError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise invalid(f"{name}: cannot be read: {first_line(error)}") from error
    network = _build(config, name)
    if [(slot.variable, slot.shape) for slot in slots] != _outline(network.variables):
        raise invalid(f"{name}: Keras {keras.__version__} builds other variables than those that are stored")
    return Layers(network, slots, compute)


def read_graph(path: Path) -> Any:
    """Load saved_model.pb: the object with `signatures` and `stored`, whose variables have no value yet.

    Raises InvalidModel, UnsupportedModel.
    """
    name = path.name
    message = saved_model_check.check_graph(path.parent, name)
    try:
        with tempfile.TemporaryDirectory(prefix="modelpress-graph-") as folder:
            Path(folder, GRAPH_FILE).write_bytes(message.SerializeToString())  # what was checked
            return tf.saved_model.load(
                folder,
                tags=[saved_model_check.SERVE],
                options=tf.saved_model.LoadOptions(experimental_skip_checkpoint=True),
            )
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make TensorFlow raise anything
        raise invalid(f"{name}: TensorFlow cannot load it: {first_line(error)}") from error


def _write_layers(model: LayersModel, path: Path, compute: str) -> None:
    network = model.network
    with _finalized(network) as constant:
        config = keras_config.parse(network.to_json(), path.name)
    _drop_training(config)
    precision.lower(config, compute)
    variables = [variable for variable in network.variables if id(variable) not in constant]
    names = {id(weight.variable): weight.name for weight in model.weights}
    outline = _outline(variables)
    if _outline(_build(json.loads(json.dumps(config)), path.name).variables) != outline:
        raise unsupported("the model's layers cannot be rebuilt from their structure with the same variables")
    slots = [
        {"variable": leaf, "shape": shape, "tensor": names.get(id(variable.value))}
        for (leaf, shape), variable in zip(outline, variables, strict=True)
    ]
    document = {"compute": compute, "variables": slots, "model": config}
    path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _drop_training(value: Any) -> None:
    """Take out what only fresh weights and training need: half of the text. Keras has defaults for it."""
    if isinstance(value, dict):
        for key in [key for key in value if key.endswith(_TRAINING)]:
            del value[key]
        for item in value.values():
            _drop_training(item)
    elif isinstance(value, list):
        for item in value:
            _drop_training(item)


@contextmanager
def _finalized(network: keras.Model) -> Iterator[set[int]]:
    """Let Normalization layers write the numbers that they adapted to as settings.

    They compute with copies of their variables, which assigning the variables later would not reach. Yields
    the identities of these variables.
    """
    adapted = [
        layer
        for layer in network._flatten_layers()  # nested models too; there is no public way
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None
    ]
    for layer in adapted:
        shape = tuple(layer.adapt_mean.shape)
        layer.input_mean = np.asarray(layer.mean, np.float32).reshape(shape)
        layer.input_variance = np.asarray(layer.variance, np.float32).reshape(shape)
    try:
        yield {id(variable) for layer in adapted for variable in layer.variables}
    finally:
        for layer in adapted:
            layer.input_mean = layer.input_variance = None


def _build(config: dict[str, Any], name: str) -> keras.Model:
    """Build the network of a checked structure without memory for its variables."""
    try:
        with keras.StatelessScope():
            try:
                return keras_config.build(config)
            finally:
                keras.utils.clear_session()  # or leaving the scope would allocate them
    except (MemoryError, ModelPressError):
        raise
    except Exception as error:  # a layer can raise anything, such as for a dtype
        raise unsupported(f"{name}: the layers cannot be built: {first_line(error)}") from error


def _outline(variables: Sequence[Any]) -> list[tuple[str, tuple[int, ...]]]:
    return [(variable.name, tuple(int(size) for size in variable.shape)) for variable in variables]


def _write_graph(model: LoadedModel, path: Path) -> None:
    graph = model.training_graph()
    inputs = [
        tf.TensorSpec([None if size < 0 else size for size in spec.shape], spec.dtype, name=f"input_{index}")
        for index, spec in enumerate(model.inputs)
    ]

    def serve(*tensors: Any) -> dict[str, Any]:
        return {f"output_{index}": value for index, value in enumerate(graph.inference(tensors))}

    module = tf.Module()
    module.stored = list(graph.variables)
    function = tf.function(serve, input_signature=inputs).get_concrete_function()
    with tempfile.TemporaryDirectory(prefix="structure-", dir=path.parent) as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE: function})
        message = saved_model_check.check_graph(Path(folder), path.name)
    path.write_bytes(message.SerializeToString(deterministic=True))
