"""The calls of layers in a functional model of Keras 2, and the tensors that they name. Pure.

A call is a nested structure of [layer, call, tensor, settings], with further tensors among the settings as
[layer, call, tensor]. Keras 2 counts the calls of a nested model from 1, since its own input is call 0;
Keras 3 counts from 0, but in the outputs of a model, where it also counts from 1 for functional ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpress.models.types import unsupported

_CONSTANT = "_CONSTANT_VALUE"
_COMPOSITE = "_COMPOSITE_TYPE"


@dataclass(frozen=True)
class Call:
    """One call: its first argument, a structure of tensors and constants, and the others by name."""

    inputs: Any
    settings: Mapping[str, Any]


class References:
    """Translates the tensors of one functional model, of which these are the layers."""

    def __init__(self, layers: Sequence[Mapping[str, Any]]) -> None:
        self._first = {layer["name"]: int(_has_call_of_its_own(layer)) for layer in layers}
        self._functional = {
            layer["name"] for layer in layers if layer["class_name"] in ("Functional", "Model")
        }

    def call(self, node: Any) -> Call:
        """Return a call; raises ValueError, TypeError or KeyError for what is none."""
        settings: dict[str, Any] = {}
        inputs = self._inputs(node, settings)
        return Call(inputs, {key: self._argument(item) for key, item in settings.items()})

    def ends(self, value: Any) -> Any:
        """Return the inputs or outputs of a model; one in a list of its own stands alone."""
        if isinstance(value, dict):
            return {key: self.ends(item) for key, item in value.items()}
        if not _is_reference(value):
            found = [self.ends(item) for item in value]
            return found[0] if len(found) == 1 else found
        name, call, tensor = self._history(value)
        return [name, call + 1 if value[0] in self._functional else call, tensor]

    def _inputs(self, data: Any, settings: dict[str, Any]) -> Any:
        if isinstance(data, dict):
            return {key: self._inputs(item, settings) for key, item in data.items()}
        if not _is_reference(data):
            return [self._inputs(item, settings) for item in data]
        if len(data) > 3:
            settings.update(data[3])
        return constant(data[2]) if data[0] == _CONSTANT else self._tensor(data)

    def _argument(self, value: Any) -> Any:
        if _is_reference(value) and value[0] in self._first:
            return self._tensor(value)
        if isinstance(value, list) and value and value[0] == _COMPOSITE:
            raise unsupported("a layer is called with a sparse or ragged constant; accepted are dense ones")
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        if isinstance(value, dict):
            return {key: self._argument(item) for key, item in value.items()}
        return value

    def _tensor(self, reference: Sequence[Any]) -> dict[str, Any]:
        return tensor(self._history(reference))

    def _history(self, reference: Sequence[Any]) -> list[Any]:
        name, call, tensor = reference[:3]
        call -= self._first[name]
        if call < 0 or tensor < 0:
            raise ValueError(f"layer {name} has no such call or output")
        return [modern_name(name), call, tensor]


def modern_name(name: str) -> str:
    """Return a name of Keras 2 as Keras 3 takes it: without the / that Keras 2 took, as in DenseNet."""
    return name.replace("/", ".")


def tensor(history: Sequence[Any]) -> dict[str, Any]:
    """Return a tensor by its layer, call and place, by which Keras 3 finds it, with its shape and dtype."""
    settings = {"shape": [], "dtype": "float32", "keras_history": history}
    return {"class_name": "__keras_tensor__", "config": settings}


def constant(value: Any) -> Any:
    """Return a constant argument: a list of numbers is an array in float32, or int32 of whole numbers."""
    if not isinstance(value, list):
        return value
    dtype = "int32" if all(isinstance(item, int) for item in _numbers(value)) else "float32"
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}


def is_tensor(value: Any) -> bool:
    """Return whether a translated argument is a tensor of the model."""
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _numbers(value: Any) -> list[Any]:
    return [number for item in value for number in _numbers(item)] if isinstance(value, list) else [value]


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _has_call_of_its_own(layer: Mapping[str, Any]) -> bool:
    if layer["class_name"] != "Sequential":
        return layer["class_name"] in ("Functional", "Model")
    settings = layer["config"]
    layers = settings if isinstance(settings, list) else settings["layers"]
    first = layers[0] if layers else {}
    return first.get("class_name") == "InputLayer" or "batch_input_shape" in first.get("config", {})
