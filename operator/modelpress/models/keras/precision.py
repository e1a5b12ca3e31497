"""Lets the layers of a Keras structure compute in float16 or bfloat16, over float32 variables.

This is Keras' mixed precision, https://keras.io/api/mixed_precision/, with the layers at float32 that lose
too much in half of the bits, or more than its range: those whose result is an output or a softmax, that
normalize, that prepare inputs of any range, that sum over whole images, or that ids pass before an embedding.
"""

from collections.abc import Iterator
from typing import Any

from modelpress.models.keras import lookups
from modelpress.models.keras.versions import objects

_POLICIES = {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
_FLOAT32_ACTIVATIONS = frozenset({"softmax", "log_softmax", "sparsemax", "Softmax", "LogSoftmax"})
_FLOAT32_LAYERS = frozenset(
    (
        *("BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"),
        *("SpectralNormalization", "UnitNormalization", "Softmax"),
        *("Normalization", "Rescaling", "Discretization", "CategoryEncoding", "Hashing", "HashedCrossing"),
        *("MelSpectrogram", "STFTSpectrogram"),
        *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"),
        "InputLayer",
    )
)


def lower(config: dict[str, Any], dtype: str) -> None:
    """Edit the structure of a functional model in place; `dtype` is float16, bfloat16, or float32: no edit.

    Layers that do not compute in float32 before keep what they have.
    """
    if dtype not in _POLICIES:
        return
    kept = {id(layer) for layer in _last(config)} | lookups.before_embeddings(config)
    for layer in objects(config):
        settings = layer["config"]
        if id(layer) in kept or _is_fragile(layer):
            continue
        if _policy(settings.get("dtype")) == "float32":
            settings["dtype"]["config"]["name"] = _POLICIES[dtype]


def _last(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the layers whose results are outputs of a model: in a model inside its own, in a wrapper all."""
    settings = model["config"]
    layers = settings.get("layers", [])
    if "output_layers" in settings:
        names = set(_names(settings["output_layers"]))
        layers = [layer for layer in layers if layer["config"].get("name") in names]
    else:
        layers = layers[-1:]  # a sequential model's last layer
    for layer in layers:
        if "layers" in layer["config"]:
            yield layer
            yield from _last(layer)
        else:
            yield from objects(layer)


def _is_fragile(layer: dict[str, Any]) -> bool:
    activation = layer["config"].get("activation")
    if isinstance(activation, dict):
        activation = activation.get("class_name")
    return layer["class_name"] in _FLOAT32_LAYERS or activation in _FLOAT32_ACTIVATIONS


def _policy(dtype: Any) -> str | None:
    """Return the name of a policy; a plain text is the dtype of an operation, which is left alone."""
    settings = dtype.get("config") if isinstance(dtype, dict) else None
    name = settings.get("name") if isinstance(settings, dict) else None
    return name if isinstance(name, str) else None


def _names(value: Any) -> Iterator[str]:
    """Yield the names of layers in a nested list of [name, call, tensor]."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)
    elif isinstance(value, str):
        yield value
