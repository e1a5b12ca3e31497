"""The proximal step of the L0 penalty over groups of channels, as TensorFlow operations.

A group goes as a whole: its rows and columns of every kernel. Adam's steps have a size a for each element, so
the proximal operator of lambda * norm0, in the metric of the steps, keeps a group where

    sum of w^2 / a  >  2 * lambda * n

over its n elements; the others become zero, with the bias and normalization parameters of their channels. An
element of a kernel is in two groups, that of its input and that of its output channel. Each group is judged
given the others as they were before the step: elements that it shares with a group that is gone do not count
in n. Of each class of groups the strongest stays.

Sources: Blumensath and Davies, "Iterative thresholding for sparse approximations", 2008; for groups: Eldar,
Kuppinger and Bolcskei, "Block-sparse signals: uncertainty relations and efficient recovery", 2010.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from modelpress.compression.passes.channels.members import Member, MemberLayout
from modelpress.compression.passes.training.trainer import Tensors


class GroupThreshold:
    """A `trainer.Proximal`; `variables` are those of the model's weights."""

    def __init__(self, layout: MemberLayout, variables: Sequence[Any]) -> None:
        self._layout = layout
        self._variables = variables

    def __call__(self, values: Tensors, sizes: Tensors, penalty: Any) -> dict[int, Any]:
        """Return the values with the groups that go set to zero."""
        members = [member for member in self._layout.members if member.weight in values]
        counted = [member for member in members if member.counted]
        alive = self._alive(counted)
        saved = penalty * self._total({m.weight: self._elements(m, alive) for m in counted}, counted)
        energies = {m.weight: tf.square(values[m.weight]) / (2.0 * sizes[m.weight]) for m in counted}
        keep = self._kept(self._total(energies, counted), saved)
        kept = dict(values)
        for member in members:
            for axis, numbers in member.axes.items():
                kept[member.weight] *= _spread(tf.gather(keep, numbers), axis)
        return kept

    def _alive(self, counted: Sequence[Member]) -> Any:
        """Return 1 for each group that has an element other than zero before the step, and for the last."""
        nonzero = {m.weight: tf.cast(self._variables[m.weight] != 0, tf.float32) for m in counted}
        found = tf.minimum(self._total(nonzero, counted), 1.0)
        return tf.concat([found, [1.0]], axis=0)

    def _elements(self, member: Member, alive: Any) -> Any:
        """Return the elements of a kernel as ones; zeros where the channel of the other axis is gone.

        A slice counts by the other axes only, so the result is for sums over them (`_total`).
        """
        return {
            axis: tf.reduce_sum(
                _ones(self._variables[member.weight], member, alive, axis),
                axis=_others(self._variables[member.weight].shape.rank, axis),
            )
            for axis in member.axes
        }

    def _total(self, parts: Mapping[int, Any], counted: Sequence[Member]) -> Any:
        """Return the sum of all slices of each group; a part is a tensor, or a sum for each axis."""
        total = tf.zeros(self._layout.groups + 1)
        for member in counted:
            part = parts[member.weight]
            for axis, numbers in member.axes.items():
                sums = part[axis] if isinstance(part, dict) else _sums(part, axis)
                total += tf.math.unsorted_segment_sum(sums, numbers, self._layout.groups + 1)
        return total[:-1]

    def _kept(self, energies: Any, saved: Any) -> Any:
        """Return 1 for each group that is worth its elements, or the strongest of its class; 1 at the end."""
        worth = tf.math.divide_no_nan(energies, saved)
        classes = self._layout.classes
        best = tf.math.unsorted_segment_max(worth, classes, int(classes.max()) + 1)
        kept = tf.cast((worth > 1.0) | (worth >= tf.gather(best, classes)), tf.float32)
        return tf.concat([kept, [1.0]], axis=0)


def _ones(variable: Any, member: Member, alive: Any, axis: int) -> Any:
    ones = tf.ones(variable.shape)
    for other, numbers in member.axes.items():
        if other != axis:
            ones *= _spread(tf.gather(alive, numbers), other)
    return ones


def _sums(values: Any, axis: int) -> Any:
    return tf.reduce_sum(values, axis=_others(values.shape.rank, axis))


def _others(rank: int, axis: int) -> list[int]:
    return [other for other in range(rank) if other != axis % rank]


def _spread(vector: Any, axis: int) -> Any:
    """Return a vector along a (negative) axis."""
    return tf.reshape(vector, [-1] + [1] * (-axis - 1))
