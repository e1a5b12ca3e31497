"""Dependency groups: which channels of a layer graph can only be removed together.

Every channel of every tensor gets a number; layers that tie channels to each other unite their numbers
(union-find), as in G. Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelpress.compression.passes.channels.description import (
    ChannelGraph,
    Effect,
    Layer,
    LayerCall,
    Shape,
    Side,
)

Ids = tuple[int, ...]  # one group for each channel, in order


@dataclass(frozen=True)
class Groups:
    """The groups of every layer's channels; a frozen group has a reason."""

    sides: Mapping[tuple[int, Side], Ids]  # the channels of a layer's inputs or outputs, by its number
    frozen: Mapping[int, str]


def find(graph: ChannelGraph) -> Groups:
    """Return the groups of a graph. The channels of its inputs and outputs are frozen."""
    walk = _Walk(graph)
    for tensor in graph.inputs:
        walk.tensors[tensor] = walk.frozen(graph.shapes[tensor], "an input of the model")
    for call in graph.calls:
        walk.call(call)
    for tensor in graph.outputs:
        walk.union.freeze(walk.tensors[tensor], "an output of the model")
    return walk.result()


class _Union:
    """Union-find over numbered channels, with the reason of frozen sets."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.reasons: dict[int, str] = {}  # why a group is frozen, by its root

    def new(self, count: int) -> Ids:
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        return tuple(range(start, start + count))

    def root(self, item: int) -> int:
        while self.parents[item] != item:
            self.parents[item] = self.parents[self.parents[item]]
            item = self.parents[item]
        return item

    def unite(self, some: Ids, others: Ids) -> None:
        for one, other in zip(some, others, strict=True):
            low, high = sorted((self.root(one), self.root(other)))
            if low != high:
                self.parents[high] = low
                if (reason := self.reasons.pop(high, None)) is not None:
                    self.reasons.setdefault(low, reason)

    def freeze(self, ids: Iterable[int], reason: str) -> None:
        for item in ids:
            self.reasons.setdefault(self.root(item), reason)


class _Walk:
    def __init__(self, graph: ChannelGraph) -> None:
        self.graph = graph
        self.union = _Union()
        self.tensors: dict[int, Ids] = {}
        self.sides: dict[tuple[int, Side], Ids] = {}

    def frozen(self, shape: Shape, reason: str) -> Ids:
        ids = self.union.new(_channels(shape))
        self.union.freeze(ids, reason)
        return ids

    def call(self, call: LayerCall) -> None:
        layer = self.graph.layers[call.layer]
        inputs = [self.tensors[tensor] for tensor in call.inputs]
        outputs = self._follow(call, layer, inputs) if len(call.outputs) == 1 else None
        if outputs is None:
            reason = layer.reason or f"before or after {layer.name} ({layer.kind}), which ties them together"
            for ids in (*inputs, *(self.sides.get((call.layer, side), ()) for side in Side)):
                self.union.freeze(ids, reason)
            for tensor in call.outputs:
                self.tensors[tensor] = self.frozen(self.graph.shapes[tensor], reason)
            return
        self.tensors[call.outputs[0]] = outputs
        if layer.weights or layer.setting:
            self._remember(call.layer, Side.INPUT, inputs[0])
            self._remember(call.layer, Side.MIDDLE, _repeated(inputs[0], layer.repeat))
            self._remember(call.layer, Side.OUTPUT, outputs)

    def _remember(self, layer: int, side: Side, ids: Ids) -> None:
        """Keep the channels of a layer's weights: every call of the layer uses the same."""
        self.union.unite(self.sides.setdefault((layer, side), ids), ids)

    def _follow(self, call: LayerCall, layer: Layer, inputs: Sequence[Ids]) -> Ids | None:
        """Return the channels of the output; None where they cannot be followed."""
        size = _channels(self.graph.shapes[call.outputs[0]])
        if not inputs or not all(inputs) or layer.effect is Effect.FREEZE:
            return None
        if layer.effect is Effect.NEW:
            return self.sides.get((call.layer, Side.OUTPUT)) or self._filters(layer)
        if layer.effect is Effect.UNITE:
            found = self._united(call, inputs)
        elif layer.effect is Effect.CONCATENATE:
            found = tuple(item for ids in inputs for item in ids)
        elif layer.effect is Effect.FLATTEN:
            found = inputs[0] * (size // len(inputs[0]))
        else:
            found = _repeated(inputs[0], layer.repeat)
        return found if found is not None and len(found) == size else None

    def _filters(self, layer: Layer) -> Ids:
        ids = self.union.new(layer.channels)
        if layer.reason:
            self.union.freeze(ids, layer.reason)
        return ids

    def _united(self, call: LayerCall, inputs: Sequence[Ids]) -> Ids | None:
        ranks = {len(self.graph.shapes[tensor]) for tensor in call.inputs}
        widest = max(inputs, key=len)
        if len(ranks) > 1 or any(len(ids) not in (1, len(widest)) for ids in inputs):
            return None
        for ids in inputs:
            if len(ids) == len(widest):
                self.union.unite(widest, ids)
            else:
                self.union.freeze(ids, "a single channel that goes to all others")
        return widest

    def result(self) -> Groups:
        sides = {key: tuple(map(self.union.root, ids)) for key, ids in self.sides.items()}
        return Groups(sides, dict(self.union.reasons))


def _channels(shape: Shape) -> int:
    """Return the size of the last axis; 0 where it is free or where there is no axis but the batch."""
    return (shape[-1] or 0) if len(shape) > 1 else 0


def _repeated(ids: Ids, times: int) -> Ids:
    return tuple(item for item in ids for _ in range(times))
