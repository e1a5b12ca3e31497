"""The settings of a layer of Keras 2 as Keras 3 takes them. Pure. Must not import TensorFlow."""

from collections.abc import Mapping
from typing import Any

from modelpress.models.keras import way_out
from modelpress.models.keras.keras_2.dropped import DROPPED
from modelpress.models.types import unsupported

# Settings of Keras 2 that Keras 3 dropped and that change nothing of what a trained model computes.
_WITHOUT_EFFECT = frozenset(
    (
        *("force_generator", "rng_type"),  # of random numbers, while a model trains
        *("noise_shape", "trainable"),  # dropped of layers without weights, which compute nothing otherwise
        *("query_shape", "key_shape", "value_shape"),  # known from the call
    )
)
# Layers that Keras 3 has under the same name, and that do something else where no model trains.
COMPUTES_OTHERWISE = {"RandomCrop": "does not resize to its size"}
_TRAINING = ("_regularizer", "_constraint")
_ACTIVATIONS = ("activation", "recurrent_activation")


def modern_settings(class_name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without what Keras 3 dropped; where that changes the model, UnsupportedModel."""
    if class_name in COMPUTES_OTHERWISE:
        raise unsupported(
            f"{class_name} {settings.get('name')!r} {COMPUTES_OTHERWISE[class_name]} in Keras 3:"
            f" {way_out.EXPORT_WITH_ITS_KERAS}"
        )
    # initial values are overwritten by those of the file
    found = {key: item for key, item in settings.items() if not key.endswith("_initializer")}
    shape = found.pop("batch_input_shape", None)
    if class_name == "InputLayer" and shape is not None:
        found["batch_shape"] = shape
    for key, default in DROPPED.get(class_name, {}).items():
        if key in found and found.pop(key) != default and not is_without_effect(key):
            raise unsupported(
                f"{class_name} {settings.get('name')!r} has {key}={settings[key]!r}, which Keras 3 does not"
                f" know: {way_out.EXPORT_WITH_ITS_KERAS}"
            )
    axis = found.get("axis")
    if class_name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        found["axis"] = axis[0]
    if class_name in ("GRU", "GRUCell"):
        found.setdefault("reset_after", False)  # before Keras 2.1.3 there was no other kind
    if class_name == "Discretization":
        found.pop("dtype", None)  # int64 is that of its result; Keras 3 casts what it takes
    if class_name == "Normalization":
        mean, variance = found.get("mean"), found.get("variance")
        found |= {"mean": _like(variance, mean), "variance": _like(mean, variance)}
    for key in _ACTIVATIONS:
        if found.get(key) == "hard_sigmoid":
            found[key] = hard_sigmoid()
    return found


def hard_sigmoid() -> dict[str, Any]:
    """Return Keras 2's hard sigmoid, max(0, min(1, 0.2 x + 0.5)); that of Keras 3 is relu6(x + 3) / 6."""
    steps = [_layer("Rescaling", scale=0.2, offset=0.5), _layer("ReLU", max_value=1.0)]
    return _layer("Pipeline", layers=steps)


def policy(value: Any) -> Any:
    """Return the name of a dtype or of a policy of mixed precision."""
    return value["config"]["name"] if isinstance(value, dict) else value


def is_without_effect(key: str) -> bool:
    """Return whether any value of a dropped setting means the same to a trained model."""
    return key in _WITHOUT_EFFECT or key.endswith(_TRAINING)


def _like(other: Any, value: Any) -> Any:
    """Return one number for each of another list, where `value` is no list itself."""
    return [_like(item, value) for item in other] if isinstance(other, list) and _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _layer(class_name: str, **settings: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": settings,
        "registered_name": None,
    }
