"""Edits of a checked Keras structure: settings of Keras 2 that Keras 3 refuses, and float16 computation.

Keras 2 wrote `time_major` into the structure of every LSTM and GRU; Keras 3 raises on it. Mixed precision
keeps float32 weights and computes in float16 or bfloat16, which a CPU and LiteRT's operators do not: the
layers compute in float32 instead, in which the weights are exact and a loss needs no scaling. Must not
import TensorFlow.
"""

from collections.abc import Iterator
from typing import Any

from modelpress.models.types import unsupported

_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_POLICIES = ("DTypePolicy", "Policy", "FloatDTypePolicy")  # names in Keras 3, in Keras 2, in Keras 3.0 to 3.3


def modernize(config: dict[str, Any], name: str) -> None:
    """Drop what Keras 3 does not know, in place.

    Raises UnsupportedModel where that changes the model, and where a layer keeps state between calls.
    """
    for layer in objects(config):
        settings = layer["config"]
        if settings.get("time_major"):
            raise unsupported(
                f"{name}: {layer['class_name']} {settings.get('name')!r} has time_major=True, which Keras 3"
                " does not know: put a Permute before it and save the model again"
            )
        settings.pop("time_major", None)
        if settings.get("stateful"):
            raise unsupported(
                f"{name}: {layer['class_name']} {settings.get('name')!r} keeps state between calls,"
                " which cannot be served: save the model with stateful=False"
            )


def widen(config: dict[str, Any]) -> None:
    """Let layers compute in float32 instead of float16 or bfloat16, in place; inputs keep their dtype."""
    for layer in objects(config):
        if layer["class_name"] != "InputLayer" and _policy_name(layer["config"].get("dtype")) in _HALF:
            layer["config"]["dtype"] = "float32"


def _policy_name(dtype: Any) -> str | None:
    if isinstance(dtype, dict) and dtype.get("class_name") in _POLICIES:
        settings = dtype.get("config")
        dtype = settings.get("name") if isinstance(settings, dict) else None
    return dtype if isinstance(dtype, str) else None


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Walk everything in the structure that has a class and settings."""
    if isinstance(value, dict):
        if isinstance(value.get("config"), dict) and isinstance(value.get("class_name"), str):
            yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)
