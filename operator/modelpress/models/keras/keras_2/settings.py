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
_TRAINING = ("_regularizer", "_constraint")
_ACTIVATIONS = ("activation", "recurrent_activation")


def modern_settings(class_name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without what Keras 3 dropped; where that changes the model, UnsupportedModel."""
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
    if class_name == "GRU" or class_name == "GRUCell":
        found.setdefault("reset_after", False)  # before Keras 2.1.3 there was no other kind
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


def _layer(class_name: str, **settings: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": settings,
        "registered_name": None,
    }
