"""A model of layers with its groups of channels: what can go, and the smaller model without them.

Imports Keras and TensorFlow: the passes import this module where they work.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Self

from modelpress.compression.passes.channels import ids, slicing
from modelpress.compression.passes.channels.description import ChannelGraph, Layer, Side, WeightDescription
from modelpress.compression.passes.channels.ids import Groups
from modelpress.compression.passes.channels.rebuild import rebuild
from modelpress.compression.passes.channels.trace import LayerTrace, trace
from modelpress.compression.report.document import TensorReport
from modelpress.models.keras.layers_model import LayersModel
from modelpress.models.types import LoadedModel, unsupported

NAME = "pruning"  # both passes that remove channels are named as the field of the spec


@dataclass(frozen=True)
class Network:
    """A model and what ties its channels together."""

    model: LayersModel
    traced: LayerTrace
    graph: ChannelGraph
    groups: Groups
    variables: "Variables"

    @classmethod
    def of(cls, model: LoadedModel) -> Self:
        """Trace a model of layers. Raises UnsupportedModel where no channel of it can be removed."""
        assert isinstance(model, LayersModel)
        traced = trace(model.network)
        graph = traced.graph()
        groups = ids.find(graph)
        if not any(_can_go(groups, number) for number in range(len(graph.layers))):
            raise unsupported(f"{NAME}: {_nothing(graph, groups)}")
        return cls(model, traced, graph, groups, Variables(graph, traced.operations))

    def location(self, weight: Any) -> tuple[int, WeightDescription]:
        """Return the number of the layer that a weight of the model belongs to, and what its axes are."""
        number, _, description = self.variables.location(weight.variable)
        return number, description

    def smaller(self, gone: AbstractSet[int]) -> LayersModel:
        """Return the model without the groups `gone`; its weights keep their names."""
        made = rebuild(self.traced, self.graph, self.groups, gone)
        before = {id(weight.variable): weight.name for weight in self.model.weights}
        names = {new: before[old] for new, old in made.origins.items() if old in before}
        return self.model.replaced(made.network, names)

    def tensors(self, gone: AbstractSet[int]) -> tuple[TensorReport, ...]:
        """Return for each weight its channels before and after, or why none of them goes."""
        return tuple(
            _tensor(weight, self.variables.location(weight.variable), (self.groups, gone))
            for weight in self.model.weights
        )

    def note(self, gone: AbstractSet[int]) -> str:
        """Return how many groups went, and which layers are left alone."""
        groups = self.groups
        free = {group for ids_ in groups.sides.values() for group in ids_ if group not in groups.frozen}
        left = sorted({layer.reason for layer in self.graph.layers if layer.reason and not layer.weights})
        text = f"{len(gone)} of {len(free)} groups of channels that can go are removed"
        return ". ".join((f"{text}; all layers can be trained", *left)) + "."


class Variables:
    """Where the variables of the layers are, by identity."""

    def __init__(self, graph: ChannelGraph, operations: list[Any]) -> None:
        self._locations: dict[int, tuple[int, Layer, WeightDescription]] = {}
        self._measured: dict[tuple[int, str], Any] = {}
        for number, (layer, operation) in enumerate(zip(graph.layers, operations, strict=True)):
            for weight, variable in zip(layer.weights, getattr(operation, "weights", ()), strict=True):
                self._locations[id(variable.value)] = (number, layer, weight)
                if weight.measured:
                    self._measured[number, weight.name] = variable.value

    def measured(self) -> dict[tuple[int, str], Any]:
        """Return the values that the importance is computed from, by layer and name."""
        return {key: value.numpy() for key, value in self._measured.items()}

    def location(self, variable: Any) -> tuple[int, Layer, WeightDescription]:
        """Return the layer of a variable, and what its axes are."""
        return self._locations[id(variable)]


def _tensor(
    weight: Any, location: tuple[int, Layer, WeightDescription], choice_made: tuple[Groups, AbstractSet[int]]
) -> TensorReport:
    number, layer, description = location
    groups, gone = choice_made
    before = weight.read()
    after = slicing.cut(groups, gone, number, description, before)
    report = TensorReport(name=weight.name, role=weight.role.value, shape=before.shape, elements=before.size)
    if after.size == before.size:
        return report.model_copy(update={"skipped": _why(groups, number, layer, description)})
    update = {
        "changed": before.size - after.size,
        "bytes_before": before.nbytes,
        "bytes_after": after.nbytes,
        "facts": dict(_facts(description, before.shape, after.shape)),
    }
    return report.model_copy(update=update)


def _facts(
    weight: WeightDescription, before: tuple[int, ...], after: tuple[int, ...]
) -> Iterator[tuple[str, float]]:
    for axis, side in weight.axes:
        yield f"{side.value}ChannelsBefore", before[axis]
        yield f"{side.value}ChannelsAfter", after[axis]


def _why(groups: Groups, number: int, layer: Layer, weight: WeightDescription) -> str:
    if not layer.weights or (number, Side.OUTPUT) not in groups.sides:
        return layer.reason or "its layer is left alone"
    if not weight.axes:
        return "it has no axis of channels"
    axis = Side.OUTPUT if any(side is Side.OUTPUT for _, side in weight.axes) else weight.axes[0][1]
    reasons = [groups.frozen.get(group) for group in groups.sides[number, axis]]
    if reasons and all(reasons):
        return f"its channels stay: {reasons[0]}"
    return "none of its channels was weak enough to go"


def _can_go(groups: Groups, number: int) -> bool:
    return any(group not in groups.frozen for group in groups.sides.get((number, Side.OUTPUT), ()))


def _nothing(graph: ChannelGraph, groups: Groups) -> str:
    reasons = sorted({*groups.frozen.values()} - {"an input of the model"})
    return (
        f"no channel can be removed: all of them are {'; '.join(reasons)}"
        if reasons
        else (f"no channel can be removed: none of the {len(graph.layers)} layers has channels of its own")
    )
