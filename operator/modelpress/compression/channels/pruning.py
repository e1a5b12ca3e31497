"""`pruning.sparsity` with granularity Channel: a smaller model of the same layers.

Keras is imported where it is used: a request is read without it.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from modelpress.api.values import parse_percent
from modelpress.compression.channels import choice, ids, slicing
from modelpress.compression.channels.description import Graph, Layer, Side, Weight
from modelpress.compression.channels.ids import Groups
from modelpress.compression.report import PassReport, TensorReport
from modelpress.models.types import Kind, LoadedModel, unsupported

NEEDS_LAYERS = "granularity: Channel needs layers: bring a .keras or .h5 file"


@dataclass(frozen=True)
class ChannelPruning:
    """Removes the weakest channels; `sparsity` is a percentage such as 50%."""

    sparsity: str
    name: str = "pruning"

    def check(self, model: LoadedModel) -> None:
        """Raise UnsupportedModel for a model without layers."""
        if model.kind is not Kind.LAYERS:
            raise unsupported(NEEDS_LAYERS)

    def rebuild(self, model: LoadedModel) -> tuple[LoadedModel, PassReport]:
        """Return the smaller model and what was removed; `model` is not changed.

        Raises UnsupportedModel where the model has no layers or no channel that can be removed.
        """
        from modelpress.compression.channels.rebuild import rebuild  # noqa: PLC0415
        from modelpress.compression.channels.trace import trace  # noqa: PLC0415
        from modelpress.models.layers_model import LayersModel  # noqa: PLC0415

        self.check(model)
        assert isinstance(model, LayersModel)
        traced = trace(model.network)
        graph = traced.graph()
        groups = ids.find(graph)
        variables = _Variables(graph, traced.operations)
        if not any(_can_go(groups, number) for number in range(len(graph.layers))):
            raise unsupported(f"{self.name}: {_nothing(graph, groups)}")
        norms = choice.importance(graph, groups, variables.measured())
        gone = choice.removed(graph, groups, norms, float(parse_percent(self.sparsity)) / 100)
        smaller = model.replaced(rebuild(traced, graph, groups, gone))
        tensors = (
            _tensor(weight, variables.place(weight.variable), (groups, gone)) for weight in model.weights
        )
        report = PassReport(
            name=self.name,
            parameters={"sparsity": self.sparsity, "granularity": "Channel"},
            note=_note(graph, groups, gone),
            tensors=tuple(tensors),
        )
        return smaller, report


class _Variables:
    """Where the variables of the layers are, by identity."""

    def __init__(self, graph: Graph, operations: list[Any]) -> None:
        self._places: dict[int, tuple[int, Layer, Weight]] = {}
        self._measured: dict[tuple[int, str], Any] = {}
        for number, (layer, operation) in enumerate(zip(graph.layers, operations, strict=True)):
            for weight, variable in zip(layer.weights, getattr(operation, "weights", ()), strict=True):
                self._places[id(variable.value)] = (number, layer, weight)
                if weight.measured:
                    self._measured[number, weight.name] = variable.value

    def measured(self) -> dict[tuple[int, str], Any]:
        """Return the values that the importance is computed from, by layer and name."""
        return {key: value.numpy() for key, value in self._measured.items()}

    def place(self, variable: Any) -> tuple[int, Layer, Weight]:
        """Return the layer of a variable, and what its axes are."""
        return self._places[id(variable)]


def _tensor(
    weight: Any, place: tuple[int, Layer, Weight], choice_made: tuple[Groups, AbstractSet[int]]
) -> TensorReport:
    number, layer, description = place
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


def _facts(weight: Weight, before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    for axis, side in weight.axes:
        yield f"{side.value}ChannelsBefore", before[axis]
        yield f"{side.value}ChannelsAfter", after[axis]


def _why(groups: Groups, number: int, layer: Layer, weight: Weight) -> str:
    if not layer.weights or (number, Side.OUTPUT) not in groups.sides:
        return layer.reason or "its layer is left alone"
    if not weight.axes:
        return "it has no axis of channels"
    axis = Side.OUTPUT if any(side is Side.OUTPUT for _, side in weight.axes) else weight.axes[0][1]
    reasons = [groups.frozen.get(group) for group in groups.sides[number, axis]]
    if reasons and all(reasons):
        return f"its channels stay: {reasons[0]}"
    return "at this sparsity none of its channels went"


def _can_go(groups: Groups, number: int) -> bool:
    return any(group not in groups.frozen for group in groups.sides.get((number, Side.OUTPUT), ()))


def _nothing(graph: Graph, groups: Groups) -> str:
    reasons = sorted({*groups.frozen.values()} - {"an input of the model"})
    return (
        f"no channel can be removed: all of them are {'; '.join(reasons)}"
        if reasons
        else (f"no channel can be removed: none of the {len(graph.layers)} layers has channels of its own")
    )


def _note(graph: Graph, groups: Groups, gone: AbstractSet[int]) -> str:
    free = {group for ids_ in groups.sides.values() for group in ids_ if group not in groups.frozen}
    left = sorted({layer.reason for layer in graph.layers if layer.reason and not layer.weights})
    text = f"{len(gone)} of {len(free)} groups of channels that can go are removed; all layers can be trained"
    return ". ".join((text, *left)) + "."
