"""Which inputs hold row numbers of a lookup table (ids of an embedding), read from the graph.

The function and the functions that it calls are walked: an input whose values reach the indices of a lookup
unchanged, each of them, must hold numbers of rows that the table has. Where only some values reach it (a
slice, a mask), nothing is said here: TensorFlow itself refuses the others on a CPU.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import tensorflow as tf

from modelpress.models.graph_nodes import base, called, in_order
from modelpress.models.types import Table, TensorSpec

_WHOLE = frozenset(("Reshape", "Transpose", "ExpandDims", "Squeeze", "StopGradient", "PreventGradient"))
_JOINED = frozenset(("ConcatV2", "Pack"))
_READ = frozenset(("Identity", "ReadVariableOp", "Cast"))  # a table stays the same one, too
_LOOK_UP = frozenset(("Gather", "GatherV2", "ResourceGather"))
_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))


class _Value(NamedTuple):
    """What a tensor holds: all values of some inputs, by index, and nothing else that matters; or a table."""

    inputs: frozenset[int] = frozenset()
    table: Table | None = None


_NOTHING = _Value()


@dataclass
class _Walk:
    functions: Mapping[str, Any]
    found: dict[int, Table] = field(default_factory=dict)  # the smallest table by the index of the input
    results: dict[tuple[str, tuple[_Value, ...]], _Value] = field(default_factory=dict)

    def nodes(self, nodes: Iterable[Any], known: dict[str, _Value]) -> None:
        by_name = {node.name: node for node in nodes}
        for node in in_order(list(by_name.values())):
            values = [known.get(base(name), _NOTHING) for name in node.input if not name.startswith("^")]
            if node.op in _CALLS:
                known[node.name] = self._call(node, values)
            elif node.op in _LOOK_UP:
                self._look_up(node, values, by_name)
            elif node.op == "SelectV2" and _is_from_the_end(node, by_name):
                known[node.name] = values[2]
            elif node.op in _READ and len(values) == 1:
                known[node.name] = values[0]
            elif node.op in _WHOLE and values:
                known[node.name] = _Value(values[0].inputs)
            elif node.op in _JOINED:
                known[node.name] = _Value(frozenset().union(*(value.inputs for value in values)))
            elif node.op == "Const" and (dims := node.attr["value"].tensor.tensor_shape.dim):
                known[node.name] = _Value(table=Table(node.name, dims[0].size))

    def _look_up(self, node: Any, values: Sequence[_Value], by_name: Mapping[str, Any]) -> None:
        table, ids = values[0].table, values[1].inputs
        if table is None or node.attr["batch_dims"].i or not _is_first_axis(node, by_name):
            return
        for index in ids:
            if index not in self.found or table.rows < self.found[index].rows:
                self.found[index] = table

    def _call(self, node: Any, values: Sequence[_Value]) -> _Value:
        function = next((self.functions[name] for name in called(node) if name in self.functions), None)
        if function is None:
            return _NOTHING
        key = function.signature.name, tuple(values)
        if key not in self.results:  # once for the same arguments: functions can call each other often
            known = {
                item.name: value for item, value in zip(function.signature.input_arg, values, strict=False)
            }
            self.nodes(function.node_def, known)
            passed = [known.get(base(name), _NOTHING) for name in function.ret.values()]
            self.results[key] = passed[0] if len(passed) == 1 else _NOTHING
        return self.results[key]


def mark(
    specs: Sequence[TensorSpec], function: Any, graph: Any, variables: Iterable[tuple[str, Any]]
) -> tuple[TensorSpec, ...]:
    """Return the inputs of a concrete function, each with the smallest table that its values are rows of.

    `graph` is its GraphDef, `variables` are its variables with their names.
    """
    walk = _Walk({item.signature.name: item for item in graph.library.function})
    tables = {
        id(variable.handle): Table(name, int(variable.shape[0]))
        for name, variable in variables
        if variable.shape.rank
    }
    known = {
        base(tensor.name): _Value(frozenset({i})) for i, tensor in enumerate(function.inputs[: len(specs)])
    }
    known |= {
        base(inner.name): _Value(table=tables[id(outer)])
        for outer, inner in function.graph.captures
        if id(outer) in tables
    }
    walk.nodes(graph.node, known)
    return tuple(replace(spec, table=walk.found.get(i)) for i, spec in enumerate(specs))


def _is_from_the_end(node: Any, by_name: Mapping[str, Any]) -> bool:
    """Return whether a node is Keras' where(i < 0, i + rows, i): negative numbers count from the end."""
    added = by_name.get(base(node.input[1]))
    return added is not None and added.op == "AddV2" and added.input[0] == node.input[2]


def _is_first_axis(node: Any, by_name: Mapping[str, Any]) -> bool:
    """Return whether a lookup takes whole rows of its table."""
    if node.op != "GatherV2":
        return True
    axis = by_name.get(base(node.input[2]))
    return axis is not None and axis.op == "Const" and not tf.make_ndarray(axis.attr["value"].tensor).any()
