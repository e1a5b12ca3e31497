"""What a checked Keras structure computes with: layers that keep state are refused, float16 becomes float32.

Mixed precision keeps float32 weights and computes in float16 or bfloat16, which a CPU and LiteRT's operators
do not: the layers compute in float32 instead, in which the weights are exact and a loss needs no scaling.
Must not import TensorFlow.
"""

from collections.abc import Iterator
from typing import Any

from modelpress.models.types import unsupported

_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_POLICIES = ("DTypePolicy", "Policy", "FloatDTypePolicy")  # names in Keras 3, in Keras 2, in Keras 3.0 to 3.3


def refuse_state(config: dict[str, Any], name: str) -> None:
    """Raise UnsupportedModel where a layer keeps state between calls; `name` is the file."""
    for layer in objects(config):
        settings = layer["config"]
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
