"""Which groups of channels go: those of the smallest norm, with round numbers left. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from modelpress.compression.passes.channels.description import ChannelGraph, Effect, Side
from modelpress.compression.passes.channels.ids import Groups
from modelpress.models.types import Array

_STEPS = (8, 4, 2, 1)  # vector units work on 8 or more channels at a time
_TOLERANCE = 0.1  # share of the channels by which a round number may miss the number asked for


def importance(
    graph: ChannelGraph, groups: Groups, weights: Mapping[tuple[int, str], Array]
) -> dict[int, float]:
    """Return the norm of each group: the sum of squares of all that would go with it.

    `weights` are the values by layer and name. Each kernel (and gamma) counts by its channel's share of its
    mean square, so that large layers do not outweigh small ones: the group norm of DepGraph (see `ids`).
    """
    norms: dict[int, float] = defaultdict(float)
    for number, layer in enumerate(graph.layers):
        for weight in layer.weights if (number, Side.INPUT) in groups.sides else ():
            for axis, side in weight.axes if weight.measured else ():
                values = np.asarray(weights[number, weight.name], dtype=np.float64)
                squares = np.square(np.moveaxis(values, axis, -1)).reshape(-1, values.shape[axis]).sum(axis=0)
                mean = float(squares.mean()) or 1.0
                for group, square in zip(groups.sides[number, side], squares, strict=True):
                    norms[group] += float(square) / mean
    return dict(norms)


def removed(graph: ChannelGraph, groups: Groups, norms: Mapping[int, float], share: float) -> frozenset[int]:
    """Return the groups to remove: of those that the same layers share, about `share` (0 to 1).

    Groups are compared with those in the same layers only: then each layer keeps a round number, and no
    layer is emptied.
    """
    return frozenset(group for members in classes(graph, groups) for group in _weakest(members, norms, share))


def classes(graph: ChannelGraph, groups: Groups) -> list[list[int]]:
    """Return the groups that can go, together those that the same layers share."""
    found: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for group, layers in _members(graph, groups).items():
        if group not in groups.frozen:
            found[tuple(sorted(layers.items()))].append(group)
    return list(found.values())


def kept(count: int, share: float) -> int:
    """Return how many of `count` channels stay where `share` of them (0 to 1) should go.

    The nearest multiple of 8 where it is within a tenth of `count`, else of 4, else of 2; at least 1.
    """
    desired = count - math.floor(count * share)
    for step in _STEPS:
        number = step * math.floor(desired / step + 0.5)  # the larger of two that are equally near
        if 0 < number <= count and abs(number - desired) <= _TOLERANCE * count * (desired < count):
            return number
    return desired


def _weakest(members: Sequence[int], norms: Mapping[int, float], share: float) -> Iterable[int]:
    order = sorted(members, key=lambda group: (norms[group], group))
    return order[: len(order) - kept(len(order), share)]


def _members(graph: ChannelGraph, groups: Groups) -> dict[int, Counter[int]]:
    """Return for each group how many channels of which layers it has."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for number, layer in enumerate(graph.layers):
        if layer.effect is Effect.NEW:
            for group in groups.sides.get((number, Side.OUTPUT), ()):
                found[group][number] += 1
    return found
