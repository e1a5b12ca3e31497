"""Cuts a .tflite model between operators, for pipelines.

A piece keeps the numbering of the whole model's tensors and buffers; tensors of other pieces stay as empty
entries, which cost nothing at run time. So nothing is renumbered, and a tensor has one number everywhere.

Operators that depend on constants alone (the DEQUANTIZE of float16 weights) are repeated in each piece that
uses them and never cross a cut: a kernel that got weights as data would round differently.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError

_FILE_IDENTIFIER = b"TFL3"
_KINDS = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if not kind.startswith("_")}
# values that live inside an interpreter and cannot be handed to another one
_UNMOVABLE = {schema.TensorType.RESOURCE, schema.TensorType.VARIANT, schema.TensorType.STRING}


@dataclass(frozen=True)
class Piece:
    """Consecutive operators as a model; tensors are named by their numbers in the whole model."""

    model: bytes
    reads: tuple[int, ...]  # inputs of `model`
    computes: tuple[int, ...]  # outputs of `model`
    before: tuple[int, ...]  # tensors alive where the piece starts: what it is given
    after: tuple[int, ...]  # tensors alive where it ends: what it hands on


class Graph:
    """The main subgraph of a model as a list of operators in execution order.

    Raises DataError (UnsupportedModel) for what cannot be cut: an output that no operator computes.
    """

    def __init__(self, model: bytes) -> None:
        self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        self._main: Any = self._model.subgraphs[0]
        self.inputs: tuple[int, ...] = tuple(int(index) for index in self._main.inputs)
        self.outputs: tuple[int, ...] = tuple(int(index) for index in self._main.outputs)
        constant = {index for index, tensor in enumerate(self._main.tensors) if self._has_data(tensor)} - set(
            self.inputs
        )
        self._folded: dict[int, Any] = {}  # output of an operator on constants -> the operator
        self._steps: list[Any] = []
        for operator in self._main.operators:
            if _reads(operator) and constant.issuperset(_reads(operator)):
                constant.update(_writes(operator))
                self._folded.update(dict.fromkeys(_writes(operator), operator))
            else:
                self._steps.append(operator)
        self._constant = constant
        loose = [index for index in self.outputs if index in constant or index in self.inputs]
        if loose:
            name = bytes(self._main.tensors[loose[0]].name).decode(errors="replace")
            raise DataError(
                Reason.UNSUPPORTED_MODEL,
                f"a pipeline cannot pass on {name!r}, an output that is not computed",
            )

    def __len__(self) -> int:
        """Return the number of operators that data flows through."""
        return len(self._steps)

    def describe(self, index: int) -> str:
        """Return an operator's number and kind, as errors name it."""
        code = self._model.operatorCodes[self._steps[index].opcodeIndex]
        if code.customCode:
            kind = code.customCode.decode(errors="replace")
        else:  # old files have the one that is deprecated
            kind = _KINDS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "of an unknown kind")
        return f"operator {index} ({kind})"

    def alive(self, cut: int) -> tuple[int, ...]:
        """Return the tensors that cross the cut before operator `cut`; 0 gives inputs, len() the outputs."""
        if cut == len(self):
            return self.outputs
        return tuple(
            index
            for index, last in self._last_use.items()
            if self._made_at.get(index, len(self)) < cut <= last
        )

    def can_cut(self, cut: int) -> bool:
        """Whether every tensor that crosses can be handed from one interpreter to another."""
        tensors = (self._main.tensors[index] for index in self.alive(cut))
        return all(tensor.type not in _UNMOVABLE and not tensor.isVariable for tensor in tensors)

    def piece(self, start: int, stop: int) -> Piece:
        """Return the operators start..stop-1 as a model of its own."""
        steps = self._steps[start:stop]
        folded = self._constants_of(steps)
        before, after = self.alive(start), self.alive(stop)
        written = {index for step in steps for index in _writes(step)}
        read = {index for step in steps for index in _reads(step)}
        reads = tuple(index for index in before if index in read)
        computes = tuple(dict.fromkeys(index for index in after if index in written))
        return Piece(self._pack([*folded, *steps], reads, computes), reads, computes, before, after)

    @cached_property
    def _made_at(self) -> dict[int, int]:
        made = dict.fromkeys(self.inputs, -1)
        for step_index, step in enumerate(self._steps):
            made.update(dict.fromkeys(_writes(step), step_index))
        return made

    @cached_property
    def _last_use(self) -> dict[int, int]:
        """Index of the last operator that reads each tensor, inputs first; outputs are read at the end.

        An input that nothing reads crosses the cut before the first operator only.
        """
        last = dict.fromkeys(self.inputs, 0)
        for step_index, step in enumerate(self._steps):
            for index in _reads(step):
                if index not in self._constant and self._made_at.get(index, step_index) < step_index:
                    last[index] = step_index
        last.update(dict.fromkeys(self.outputs, len(self)))
        return last

    def _constants_of(self, steps: Iterable[Any]) -> list[Any]:
        """Return the operators on constants that `steps` need, in execution order."""
        needed: dict[int, Any] = {}
        pending = [index for step in steps for index in _reads(step)]
        while pending:
            operator = self._folded.get(pending.pop())
            if operator is not None and id(operator) not in needed:
                needed[id(operator)] = operator
                pending.extend(_reads(operator))
        return [operator for operator in self._main.operators if id(operator) in needed]

    def _has_data(self, tensor: Any) -> bool:
        data = self._model.buffers[tensor.buffer].data
        return data is not None and len(data) > 0

    def _pack(self, operators: list[Any], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
        main = copy.copy(self._main)
        main.operators, main.inputs, main.outputs = operators, list(inputs), list(outputs)
        used = {index for operator in operators for index in _reads(operator)}
        kept = {self._main.tensors[index].buffer for index in used}
        for subgraph in self._model.subgraphs[1:]:  # bodies of control flow stay whole
            kept.update(tensor.buffer for tensor in subgraph.tensors)
        kept.update(entry.buffer for entry in self._model.metadata or [])
        model = copy.copy(self._model)
        model.subgraphs = [main, *self._model.subgraphs[1:]]
        model.signatureDefs = None
        model.buffers = [
            buffer if index in kept else schema.BufferT() for index, buffer in enumerate(self._model.buffers)
        ]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())


def _reads(operator: Any) -> list[int]:
    return [int(index) for index in operator.inputs if index >= 0]  # -1: an optional input that is absent


def _writes(operator: Any) -> list[int]:
    return [int(index) for index in operator.outputs]
