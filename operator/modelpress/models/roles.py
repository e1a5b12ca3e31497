"""What each variable does, read from the operations that use it.

The function and the functions that it calls are walked with one question for every node: the values of which
variables does it pass on unchanged (reads, casts, reshapes, transposes)? A variable that reaches a matrix
product or convolution is a kernel, one that is gathered from is an embedding. Names only tell biases,
normalization and statistics apart: none of them is ever changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.models.graph_nodes import base, called, in_order
from modelpress.models.types import Role


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


_PASS_ON = _set(
    "Identity IdentityN ReadVariableOp Cast Reshape Transpose ExpandDims Squeeze StopGradient Split SplitV"
    " StridedSlice Slice Pack ConcatV2 Unpack Enter Switch Merge RefIdentity"
)
_MULTIPLY = _set(
    "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum Conv Conv2D Conv3D DepthwiseConv2dNative"
    " Conv2DBackpropInput Conv3DBackpropInputV2 XlaDot XlaDotV2"
)
_LOOK_UP = _set("Gather GatherV2 GatherNd ResourceGather ResourceGatherNd")
_CALLS = {
    "PartitionedCall": 0,
    "StatefulPartitionedCall": 0,
    "While": 0,
    "StatelessWhile": 0,
    "If": 1,
    "StatelessIf": 1,
    "Case": 1,
    "StatelessCase": 1,
}
_FEW = 1024  # constants of fewer elements are shapes, axes and factors, not weights

Sources = frozenset[int]  # indexes of variables
_NONE: Sources = frozenset()


@dataclass
class Usage:
    """Roles in the order of the variables, and the bytes of weight-like constants in float32."""

    roles: list[Role]
    constant_bytes: int
    quantized: list[int]  # indexes of kernels of integers


@dataclass
class _Walk:
    functions: Mapping[str, Any]
    multiplied: set[int] = field(default_factory=set)
    looked_up: set[int] = field(default_factory=set)
    constants: dict[str, int] = field(default_factory=dict)
    results: dict[tuple[str, tuple[Sources, ...]], Sources] = field(default_factory=dict)

    def nodes(self, scope: str, nodes: Iterable[Any], known: dict[str, Sources]) -> None:
        """Walk the nodes of one graph; `known` maps placeholders and arguments to variables."""
        for node in in_order(list(nodes)):
            inputs = [known.get(base(name), _NONE) for name in node.input if not name.startswith("^")]
            together = _NONE.union(*inputs)
            if node.op in _PASS_ON:
                known[node.name] = together
            elif node.op in _MULTIPLY:
                self.multiplied |= together
            elif node.op in _LOOK_UP:
                self.looked_up |= inputs[0] if inputs else _NONE
            elif node.op in _CALLS:
                known[node.name] = self._call(node, inputs[_CALLS[node.op] :])
            elif node.op == "Const":
                self._constant(f"{scope}/{node.name}", node)

    def _call(self, node: Any, inputs: list[Sources]) -> Sources:
        return _NONE.union(*(self._function(name, tuple(inputs)) for name in called(node)))

    def _function(self, name: str, inputs: tuple[Sources, ...]) -> Sources:
        function = self.functions.get(name)
        if function is None:
            return _NONE
        if (
            name,
            inputs,
        ) not in self.results:  # once for the same inputs: functions can call each other often
            self.results[name, inputs] = _NONE
            arguments = [argument.name for argument in function.signature.input_arg]
            known = dict(zip(arguments, inputs, strict=False))
            self.nodes(name, function.node_def, known)
            passed = (known.get(base(value), _NONE) for value in function.ret.values())
            self.results[name, inputs] = _NONE.union(*passed)
        return self.results[name, inputs]

    def _constant(self, key: str, node: Any) -> None:
        tensor = node.attr["value"].tensor
        count = int(np.prod([dim.size for dim in tensor.tensor_shape.dim], dtype=np.int64))
        if count >= _FEW and tf.as_dtype(tensor.dtype).is_floating:
            self.constants[key] = 4 * count


def find(function: Any, graph: Any, variables: Sequence[Any]) -> Usage:
    """Return the roles of `variables` in a concrete function; `graph` is its GraphDef."""
    walk = _Walk({item.signature.name: item for item in graph.library.function})
    index = {id(variable.handle): i for i, variable in enumerate(variables)}
    known = {
        base(inner.name): frozenset({index[id(outer)]})
        for outer, inner in function.graph.captures
        if id(outer) in index
    }
    walk.nodes("", graph.node, known)
    captured = {id(outer): outer for outer, _ in function.graph.captures if id(outer) not in index}
    for key, outer in captured.items():  # constants that a SavedModel keeps beside its functions
        count = outer.shape.num_elements() or 0
        if outer.dtype.is_floating and count >= _FEW:
            walk.constants[f"captured {key}"] = 4 * count
    roles = [_role(i, variable, walk) for i, variable in enumerate(variables)]
    quantized = [i for i in sorted(walk.multiplied) if variables[i].dtype.is_integer]
    return Usage(roles, sum(walk.constants.values()), quantized)


def _role(i: int, variable: Any, walk: _Walk) -> Role:
    last = variable.name.removesuffix(":0").rsplit("/", 1)[-1].lower()
    if last.startswith("moving_") or last in ("mean", "variance"):
        return Role.STATISTICS
    if variable.dtype.is_floating and len(variable.shape) >= 2:
        if i in walk.multiplied:
            return Role.KERNEL
        if i in walk.looked_up:
            return Role.EMBEDDING
    if last in ("gamma", "beta", "scale"):
        return Role.NORMALIZATION
    return Role.BIAS if "bias" in last else Role.OTHER
