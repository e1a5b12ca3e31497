"""Dependency groups and the choice among them, on graphs that are written down by hand: no framework."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.compression.passes.channels import choice, ids, slicing
from modelpress.compression.passes.channels.description import (
    ChannelGraph,
    Effect,
    Layer,
    LayerCall,
    Shape,
    Side,
    WeightDescription,
)
from modelpress.compression.passes.channels.ids import Groups

KERNEL = WeightDescription("kernel", ((-2, Side.INPUT), (-1, Side.OUTPUT)), measured=True)


def dense(name: str, channels: int, reason: str = "") -> Layer:
    return Layer(name, "Dense", Effect.NEW, reason, channels, setting="units", weights=(KERNEL,))


def other(name: str, effect: Effect, repeat: int = 1) -> Layer:
    return Layer(name, name.title(), effect, repeat=repeat)


def chain(*layers: Layer, sizes: tuple[Shape, ...]) -> ChannelGraph:
    """Layers one after another."""
    calls = tuple(LayerCall(i, (i,), (i + 1,)) for i in range(len(layers)))
    return ChannelGraph(layers, calls, sizes, (0,), (len(layers),))


def out(groups: Groups, layer: int, side: Side = Side.OUTPUT) -> tuple[int, ...]:
    return groups.sides[layer, side]


def test_channels_between_two_layers_are_free_and_those_at_the_ends_are_not() -> None:
    graph = chain(dense("a", 4), dense("b", 2), sizes=((None, 3), (None, 4), (None, 2)))
    groups = ids.find(graph)
    assert out(groups, 0) == out(groups, 1, Side.INPUT)
    assert not set(out(groups, 0)) & set(groups.frozen)
    assert {groups.frozen[group] for group in out(groups, 0, Side.INPUT)} == {"an input of the model"}
    assert {groups.frozen[group] for group in out(groups, 1)} == {"an output of the model"}


def test_flatten_repeats_the_channels_for_each_position() -> None:
    sizes: tuple[Shape, ...] = ((None, 2, 2, 1), (None, 2, 2, 3), (None, 12), (None, 5))
    graph = chain(dense("a", 3), other("flatten", Effect.FLATTEN), dense("b", 5), sizes=sizes)
    groups = ids.find(graph)
    assert out(groups, 2, Side.INPUT) == out(groups, 0) * 4


def test_a_depthwise_layer_repeats_each_channel_in_place() -> None:
    sizes: tuple[Shape, ...] = ((None, 1), (None, 2), (None, 4), (None, 5))
    layer = replace(
        other("depthwise", Effect.REPEAT, repeat=2),
        weights=(WeightDescription("kernel", ((-2, Side.INPUT),)),),
    )
    groups = ids.find(chain(dense("a", 2), layer, dense("b", 5), sizes=sizes))
    one, two = out(groups, 0)
    assert out(groups, 1) == (one, one, two, two)


def merged(effect: Effect, sizes: tuple[int, int], reason: str = "") -> Groups:
    """Two layers of one input, merged, and a third that reads the result."""
    total = sum(sizes) if effect is Effect.CONCATENATE else max(sizes)
    layers = (dense("a", sizes[0], reason), dense("b", sizes[1]), other("merge", effect), dense("c", 2))
    calls = (
        LayerCall(0, (0,), (1,)),
        LayerCall(1, (0,), (2,)),
        LayerCall(2, (1, 2), (3,)),
        LayerCall(3, (3,), (4,)),
    )
    shapes: tuple[Shape, ...] = ((None, 1), (None, sizes[0]), (None, sizes[1]), (None, total), (None, 2))
    return ids.find(ChannelGraph(layers, calls, shapes, (0,), (4,)))


def test_an_addition_unites_and_a_concatenation_does_not() -> None:
    groups = merged(Effect.UNITE, (4, 4))
    assert out(groups, 0) == out(groups, 1) == out(groups, 3, Side.INPUT)
    groups = merged(Effect.CONCATENATE, (4, 3))
    assert out(groups, 3, Side.INPUT) == (*out(groups, 0), *out(groups, 1))
    assert len(set(out(groups, 3, Side.INPUT))) == 7


def test_what_is_frozen_freezes_all_that_is_united_with_it_and_keeps_its_reason() -> None:
    groups = merged(Effect.UNITE, (4, 4), "softmax")
    assert {groups.frozen[group] for group in out(groups, 1)} == {"softmax"}
    groups = merged(Effect.FREEZE, (4, 4))
    assert "before or after merge (Merge)" in groups.frozen[out(groups, 0)[0]]


def test_a_single_channel_that_goes_to_all_others_stays() -> None:
    groups = merged(Effect.UNITE, (1, 4))
    assert groups.frozen[out(groups, 0)[0]] == "a single channel that goes to all others"
    assert not set(out(groups, 1)) & set(groups.frozen)


def test_a_layer_that_is_called_twice_ties_the_channels_of_both_inputs() -> None:
    layers = (dense("a", 3), dense("b", 3), dense("shared", 4), other("add", Effect.UNITE), dense("c", 2))
    calls = (
        LayerCall(0, (0,), (1,)),
        LayerCall(1, (0,), (2,)),
        LayerCall(2, (1,), (3,)),
        LayerCall(2, (2,), (4,)),
        LayerCall(3, (3, 4), (5,)),
        LayerCall(4, (5,), (6,)),
    )
    shapes: tuple[Shape, ...] = tuple((None, size) for size in (1, 3, 3, 4, 4, 4, 2))
    groups = ids.find(ChannelGraph(layers, calls, shapes, (0,), (6,)))
    assert out(groups, 0) == out(groups, 1)
    assert len(set(out(groups, 2))) == 4


@pytest.mark.parametrize(
    ("count", "share", "stay"),
    [
        (64, 0.25, 48),
        (64, 0.375, 40),
        (32, 0.375, 20),  # 16 and 24 are 4 away, more than a tenth
        (24, 0.25, 16),  # 18 was asked for
        (16, 0.25, 12),
        (100, 0.5, 48),
        (10, 0.9, 2),
        (3, 0.99, 1),
        (1, 0.5, 1),
        (64, 0.001, 64),
    ],
)
def test_round_numbers_stay(count: int, share: float, stay: int) -> None:
    assert choice.kept(count, share) == stay


@given(st.integers(1, 4096), st.floats(0, 0.999999))
def test_the_number_that_stays_is_near_what_was_asked_for(count: int, share: float) -> None:
    stay = choice.kept(count, share)
    assert 1 <= stay <= count
    assert abs(stay - count * (1 - share)) <= 0.1 * count + 1
    assert choice.kept(count, 0) == count


def test_the_weakest_channels_go_with_everything_that_belongs_to_them() -> None:
    graph = chain(dense("a", 4), dense("b", 2), sizes=((None, 1), (None, 4), (None, 2)))
    groups = ids.find(graph)
    first = np.array([[3.0, 0.1, 2.0, 1.0]])
    second = np.array([[1.0, 1.0], [0.1, 0.1], [1.0, 1.0], [0.1, 0.0]])
    norms = choice.importance(graph, groups, {(0, "kernel"): first, (1, "kernel"): second})
    gone = choice.removed(graph, groups, norms, 0.5)
    assert gone == {out(groups, 0)[1], out(groups, 0)[3]}
    assert slicing.cut(groups, gone, 0, KERNEL, first).tolist() == [[3.0, 2.0]]
    assert slicing.cut(groups, gone, 1, KERNEL, second).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert slicing.positions(groups, gone, 1, Side.OUTPUT) is None


def test_no_layer_is_emptied_even_where_its_channels_are_all_weak() -> None:
    groups = merged(Effect.CONCATENATE, (8, 8))
    layers = (dense("a", 8), dense("b", 8), other("merge", Effect.CONCATENATE), dense("c", 2))
    graph = ChannelGraph(layers, (), (), (), ())
    norms = dict.fromkeys(out(groups, 0), 1e-9) | dict.fromkeys(out(groups, 1), 1.0)
    gone = choice.removed(graph, groups, norms, 0.5)
    assert len(gone & set(out(groups, 0))) == len(gone & set(out(groups, 1))) == 4
