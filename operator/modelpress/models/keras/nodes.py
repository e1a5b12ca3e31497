"""The calls and constants of a Keras structure, checked before Keras makes them.

Keras calls every layer and operation of a functional model while it builds it. A call that takes one of the
model's tensors only notes shapes; one whose arguments are all constants computes at once, whatever they ask
for. Must not import TensorFlow.
"""

import re
from collections.abc import Mapping
from typing import Any

from modelpress.models.types import invalid

_DTYPES = frozenset(
    [
        "bool",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ]
)
_PATH = re.compile(r"[\w /.-]*")


def check_calls(entry: Mapping[str, Any], where: str) -> None:
    """Check the calls of a layer or operation of a model. Raises InvalidModel; `where` names the layer."""
    nodes = entry.get("inbound_nodes")
    if nodes is None:
        return
    if not isinstance(nodes, list) or not all(_takes_a_tensor(node) for node in nodes):
        raise invalid(
            f"{where} is called with constants alone, which would be computed while the file is read"
        )


def check_constant(entry: Mapping[str, Any], name: str) -> None:
    """Check the dtype of a `__tensor__` or `__numpy__`. Raises InvalidModel."""
    settings = entry.get("config")
    dtype = settings.get("dtype") if isinstance(settings, dict) else None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise invalid(
            f"{name}: a constant has the dtype {str(dtype)[:50]!r}; accepted are {', '.join(sorted(_DTYPES))}"
        )


def check_policies(entry: Mapping[str, Any], where: str) -> None:
    """Check the keys of a DTypePolicyMap, which Keras takes as regular expressions. Raises InvalidModel."""
    settings = entry.get("config")
    policies = settings.get("policy_map") if isinstance(settings, dict) else None
    for key in policies if isinstance(policies, dict) else ():
        if not _is_path(key):
            raise invalid(f"{where}: the key {key[:50]!r} is not the path of a layer, with one .* at most")


def _is_path(pattern: str) -> bool:
    """Whether a regular expression is a path with one `.*` at most: others can be searched for ever."""
    plain = pattern.replace(r"\.", "").replace(r"\-", "").replace(".*", "", 1)
    return _PATH.fullmatch(plain) is not None


def _takes_a_tensor(node: Any) -> bool:
    """Whether a call is symbolic: Keras looks for tensors in lists and dicts, and not inside of slices.

    In the form of Keras 2 a call is a list of tensors: layer, node, index and further arguments.
    """
    if isinstance(node, list):
        return any(isinstance(tensor, list) and bool(tensor) for tensor in node)
    return isinstance(node, dict) and _holds_a_tensor([node.get("args"), node.get("kwargs")])


def _holds_a_tensor(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_a_tensor(item) for item in value)
    if not isinstance(value, dict):
        return False
    if "class_name" in value and "config" in value:
        return bool(value["class_name"] == "__keras_tensor__")
    return any(_holds_a_tensor(item) for item in value.values())
