"""A layer graph, described by what each layer does to channels. Pure: no framework, no weights.

A channel is a position on the last axis of a tensor. Tensors and layers are numbered; a layer that is called
twice is one layer with two calls.
"""

from dataclasses import dataclass
from enum import StrEnum

Shape = tuple[int | None, ...]  # with the batch axis; None is a free size


class Effect(StrEnum):
    """What becomes of the channels of a layer's inputs."""

    NEW = "new"  # each output channel is a filter of the layer's own: Dense, convolutions
    KEEP = "keep"  # output channel i is made of input channel i: pooling, activations, BatchNormalization
    REPEAT = "repeat"  # each input channel makes `repeat` neighbours: DepthwiseConv
    FLATTEN = "flatten"  # the channels follow each other, once for each position
    UNITE = "unite"  # output channel i is made of channel i of every input: Add, Multiply
    CONCATENATE = "concatenate"  # the channels of the inputs follow each other
    FREEZE = "freeze"  # everything else: the channels before and after it stay


class Side(StrEnum):
    """Which channels of a layer an axis of a weight belongs to."""

    INPUT = "input"
    MIDDLE = "middle"  # the input channels, each `repeat` times: between the halves of a SeparableConv
    OUTPUT = "output"


@dataclass(frozen=True)
class WeightDescription:
    """A variable of a layer: its axes of channels, counted from the last (-1)."""

    name: str
    axes: tuple[tuple[int, Side], ...] = ()
    measured: bool = False  # its magnitude says how much a channel matters: kernels and gamma


@dataclass(frozen=True)
class Layer:
    """One layer, with the variables in its own order."""

    name: str
    kind: str  # its class
    effect: Effect
    reason: str = (
        ""  # why it freezes; for NEW: why its own output channels must stay, empty where they need not
    )
    channels: int = 0  # number of output channels, for NEW
    repeat: int = 1  # outputs for each input channel: REPEAT, and the first half of a SeparableConv
    setting: str | None = None  # entry of its configuration that holds the number of output channels
    weights: tuple[WeightDescription, ...] = ()


@dataclass(frozen=True)
class LayerCall:
    """One use of a layer."""

    layer: int
    inputs: tuple[int, ...]  # tensors
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class ChannelGraph:
    """Layers in no order, calls in the order of computation."""

    layers: tuple[Layer, ...]
    calls: tuple[LayerCall, ...]
    shapes: tuple[Shape, ...]  # one for each tensor
    inputs: tuple[int, ...]  # tensors
    outputs: tuple[int, ...]
