"""The values that stay when groups of channels are removed. Pure."""

from collections.abc import Set as AbstractSet

import numpy as np

from modelpress.compression.passes.channels.description import Side, WeightDescription
from modelpress.compression.passes.channels.ids import Groups
from modelpress.models.types import Array

Positions = list[int]


def positions(groups: Groups, gone: AbstractSet[int], layer: int, side: Side) -> Positions | None:
    """Return which channels of one side of a layer stay; None where all do."""
    ids = groups.sides.get((layer, side), ())
    stay = [position for position, group in enumerate(ids) if group not in gone]
    return None if len(stay) == len(ids) else stay


def cut(
    groups: Groups, gone: AbstractSet[int], layer: int, weight: WeightDescription, values: Array
) -> Array:
    """Return the part of a layer's weight that stays."""
    for axis, side in weight.axes:
        stay = positions(groups, gone, layer, side)
        if stay is not None:
            values = np.take(values, stay, axis=axis)
    return values
