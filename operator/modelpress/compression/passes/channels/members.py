"""Which slices of which weights belong to which group of channels, in dense numbers. Pure.

A slice of a weight is one channel on one of its axes. Channels that cannot go have the number
`MemberLayout.groups`, one more than the last group.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelpress.compression.passes.channels import choice
from modelpress.compression.passes.channels.description import ChannelGraph, Side, WeightDescription
from modelpress.compression.passes.channels.ids import Groups

WeightLocation = tuple[int, WeightDescription]  # number of a layer, and one of its variables


@dataclass(frozen=True)
class Member:
    """A weight with channels that can go: for each of its axes, counted from the last, their groups."""

    weight: int  # its number in the model
    axes: Mapping[int, Any]  # int32 (channels,)
    counted: bool  # the penalty counts its elements


@dataclass(frozen=True)
class MemberLayout:
    """All members. Groups of one class are those that the same layers share; none of them loses all."""

    members: tuple[Member, ...]
    classes: Any  # int32 (groups,)
    ids: tuple[int, ...]  # as in `Groups`, by dense number

    @property
    def groups(self) -> int:
        """Return how many groups can go."""
        return len(self.ids)

    def gone(self, dead: Sequence[bool]) -> frozenset[int]:
        """Return the ids of the groups that are `dead`; where a whole class is, one of it stays."""
        found: dict[int, list[int]] = defaultdict(list)
        for number, kind in enumerate(self.classes):
            if dead[number]:
                found[int(kind)].append(self.ids[number])
        sizes = Counter(int(kind) for kind in self.classes)
        return frozenset(
            item for kind, ids in found.items() for item in (ids[1:] if len(ids) == sizes[kind] else ids)
        )


def layout(
    graph: ChannelGraph, groups: Groups, locations: Sequence[WeightLocation], counted: Sequence[bool]
) -> MemberLayout:
    """Return the members among the weights of a model.

    `locations` says for each weight what it is, `counted` which of them the penalty counts.
    """
    classes = choice.classes(graph, groups)
    ids = tuple(group for members in classes for group in members)
    numbers = {group: number for number, group in enumerate(ids)}
    kinds = [kind for kind, members in enumerate(classes) for _ in members]
    members = (
        Member(i, axes, counted[i])
        for i, location in enumerate(locations)
        if (axes := dict(_axes(groups, location, numbers)))
    )
    return MemberLayout(tuple(members), np.asarray(kinds, np.int32), ids)


def _axes(groups: Groups, location: WeightLocation, numbers: Mapping[int, int]) -> Iterator[tuple[int, Any]]:
    layer, weight = location
    for axis, side in weight.axes:
        ids = groups.sides.get((layer, side), ()) if (layer, Side.INPUT) in groups.sides else ()
        found = np.asarray([numbers.get(group, len(numbers)) for group in ids], np.int32)
        if (found < len(numbers)).any():
            yield axis, found


def alive(layout_: MemberLayout, values: Mapping[int, Any]) -> list[bool]:
    """Return for each group whether an element that the penalty counts is not zero; `values` by weight."""
    found = np.zeros(layout_.groups + 1, bool)
    for member in layout_.members:
        for axis, numbers in member.axes.items() if member.counted else ():
            rows = np.moveaxis(values[member.weight], axis, 0).reshape(len(numbers), -1)
            np.logical_or.at(found, numbers, (rows != 0).any(axis=1))
    return [bool(item) for item in found[:-1]]
