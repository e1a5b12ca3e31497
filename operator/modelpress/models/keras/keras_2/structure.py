"""The structure of a Keras 2 model in the form that Keras 3 writes.

Keras 2 (tf.keras up to TensorFlow 2.15, tf-keras, and Keras before it was a part of TensorFlow) wrote the
same structure into .h5 and .keras files. Nothing is built or imported here: dicts become other dicts, and
what comes out is checked like the structure of any other file. Pure. Must not import TensorFlow.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelpress.models.keras.keras_2 import calls, operations
from modelpress.models.keras.keras_2.settings import modern_settings, policy
from modelpress.models.types import first_line, invalid

_MODULES = {
    "RandomHeight": "keras.src.legacy.layers",
    "RandomWidth": "keras.src.legacy.layers",
    "ThresholdedReLU": "keras.src.legacy.layers",
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}
_RENAMED = {"SyncBatchNormalization": "BatchNormalization"}  # the same but while it trains
_OWN = ("keras", "tf_keras")  # the first part of the modules of Keras' own classes
_ROLES = {"_regularizer": "keras.regularizers", "_constraint": "keras.constraints"}
_RECURRENT = frozenset(
    ("Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN")
)


def is_keras_2(version: str) -> bool:
    """Return whether a file is of Keras 2, by the version that it names."""
    return version.startswith(("0.", "1.", "2."))


def modernized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structure of a model of Keras 2 as Keras 3 writes it.

    Raises InvalidModel for what is no such structure, UnsupportedModel for what Keras 3 computes otherwise.
    """
    try:
        return _model(config)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise invalid(f"the model's structure is not that of a Keras 2 model: {first_line(error)}") from error


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry["class_name"] == "Sequential":
        return _sequential(entry)
    return _functional(entry)


def _sequential(entry: Mapping[str, Any]) -> dict[str, Any]:
    settings = entry["config"]
    if isinstance(settings, list):  # the first releases of Keras 2
        settings = {"layers": settings}
    layers = [_layer(layer) for layer in settings["layers"]]
    if not layers or layers[0]["class_name"] != "InputLayer":
        shape = _input_shape(settings, entry)
        if shape is not None:
            dtype = policy(layers[0]["config"].get("dtype")) if layers else None
            layers.insert(0, _input(shape, dtype))
    config = {"name": _name(entry, "sequential"), "layers": layers}
    return _object(entry, "keras", config)


def _input_shape(settings: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """Return the shape, with the batch, of a sequential model without an InputLayer; None: it is unknown."""
    layers = settings["layers"]
    first = layers[0]["config"] if layers and isinstance(layers[0]["config"], dict) else {}
    built = entry.get("build_config") or {}
    return (
        first.get("batch_input_shape")
        or settings.get("build_input_shape")
        or built.get("input_shape")
        or None
    )


def _input(shape: Any, dtype: Any) -> dict[str, Any]:
    settings = {"batch_shape": list(shape), "dtype": dtype or "float32", "name": "input_layer"}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": settings, "registered_name": None}


def _functional(entry: Mapping[str, Any]) -> dict[str, Any]:
    settings = entry["config"]
    references = calls.References(settings["layers"])
    layers = [new for layer in settings["layers"] for new in _called_layer(layer, references)]
    config = {
        "name": _name(entry, "model"),
        "trainable": settings.get("trainable", True),
        "layers": layers,
        "input_layers": references.ends(settings["input_layers"]),
        "output_layers": references.ends(settings["output_layers"]),
    }
    model = _object(entry, "keras.src.models.functional", config)
    return {**model, "class_name": "Functional", "registered_name": "Functional"}


def _called_layer(layer: Mapping[str, Any], references: calls.References) -> Iterator[dict[str, Any]]:
    """Yield a layer of a functional model with its calls; a TensorFlow function can become two operations."""
    found = [references.call(node) for node in layer["inbound_nodes"]]
    if layer["class_name"] in operations.WRAPPERS:
        yield from operations.translated(layer, found)
        return
    new = _layer(layer)
    nodes = [_node(layer["class_name"], call) for call in found]
    yield {**new, "name": calls.modern_name(layer["name"]), "inbound_nodes": nodes}


def _node(class_name: str, call: calls.Call) -> dict[str, Any]:
    inputs, settings = call.inputs, {key: item for key, item in call.settings.items() if item is not None}
    if isinstance(inputs, list) and len(inputs) == 1:
        inputs = inputs[0]
    if class_name in _RECURRENT and isinstance(inputs, list):  # the state that it starts from
        inputs, settings = inputs[0], {**settings, "initial_state": inputs[1:]}
        if class_name not in ("Bidirectional", "LSTM") and len(settings["initial_state"]) == 1:
            settings["initial_state"] = settings["initial_state"][0]
    return {"args": [inputs], "kwargs": settings}


def _layer(entry: Mapping[str, Any]) -> dict[str, Any]:
    class_name = entry["class_name"]
    if class_name in ("Functional", "Model", "Sequential"):
        return _model(entry)
    if not isinstance(entry["config"], dict):
        raise ValueError(f"the settings of {class_name} are no object")
    class_name = _RENAMED.get(class_name, class_name)
    settings = {key: _setting(key, item) for key, item in entry["config"].items()}
    if "name" in settings:
        settings["name"] = calls.modern_name(settings["name"])
    new = _object(entry, "keras.layers", modern_settings(class_name, settings))
    return {**new, "class_name": class_name}


def _name(entry: Mapping[str, Any], default: str) -> str:
    settings = entry["config"]
    own = settings.get("name") if isinstance(settings, dict) else None
    return calls.modern_name(own or entry.get("name") or default)


def _setting(key: str, value: Any) -> Any:
    """Return a setting of a layer: objects inside of it, such as the layer of a wrapper, are translated."""
    if isinstance(value, list):
        return [_setting(key, item) for item in value]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    if value["class_name"] in ("TensorShape", "__tuple__") and "items" in value:
        return value["items"]
    if key == "dtype":
        return policy(value)
    role = next((module for end, module in _ROLES.items() if key.endswith(end)), None)
    return _object(value, role, value["config"]) if role else _layer(value)


def _object(entry: Mapping[str, Any], module: str, config: Any) -> dict[str, Any]:
    """Return an object of Keras 3; what is not Keras' own keeps its module and name, and is refused."""
    class_name, named = entry["class_name"], entry.get("module")
    own = named is None or (isinstance(named, str) and named.split(".")[0] in _OWN)
    registered = entry.get("registered_name")
    custom = registered not in (None, class_name) or (named is None and "registered_name" in entry)
    new = {
        "module": _MODULES.get(class_name, module) if own else named,
        "class_name": class_name,
        "config": config,
        "registered_name": registered if custom else None,
    }
    if "shared_object_id" in entry:
        new["shared_object_id"] = entry["shared_object_id"]
    return new
