"""What each kind of Keras layer does to channels, read from its class, configuration and variables. Pure.

A kind that is not listed freezes the channels before and after it: leaving a channel is never wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpress.compression.passes.channels.description import Effect, Layer, Shape, Side, WeightDescription

OPERATION = "ops."  # before the class of an operation that is no layer, such as x + y


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer without running it."""

    name: str
    kind: str  # its class
    config: Mapping[str, Any]
    weights: tuple[str, ...]  # names, in the layer's order
    input: Shape  # shape of its first input in its first call
    output: Shape


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _each(prefix: str) -> str:
    return " ".join(f"{prefix}{n}D" for n in (1, 2, 3))


_POOLING = " ".join(
    _each(name)
    for name in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling", "SpatialDropout")
)
_SPACE = " ".join(_each(name) for name in ("ZeroPadding", "Cropping", "UpSampling"))
_PASS = _set(
    f"ReLU LeakyReLU ELU Dropout GaussianDropout GaussianNoise ActivityRegularization Identity RepeatVector"
    f" {_POOLING} {_SPACE}"
)
_OPERATIONS = {
    **dict.fromkeys(
        _set("Relu Relu6 LeakyRelu Elu Selu Gelu Silu Sigmoid HardSigmoid HardSilu Tanh"), Effect.KEEP
    ),
    **dict.fromkeys(_set("Add Subtract Multiply Maximum Minimum"), Effect.UNITE),
}
_UNITE = _set("Add Subtract Multiply Maximum Minimum Average")
_CONVOLUTIONS = _set(_each("Conv"))
_TRANSPOSED = _set(" ".join(f"Conv{n}DTranspose" for n in (1, 2, 3)))
_SEPARABLE = _set("SeparableConv1D SeparableConv2D")
_DEPTHWISE = _set("DepthwiseConv1D DepthwiseConv2D")
_ELEMENTWISE = _set(
    "linear relu relu6 leaky_relu elu selu celu gelu silu swish mish sigmoid hard_sigmoid hard_silu"
    " hard_swish log_sigmoid tanh hard_tanh tanh_shrink soft_shrink hard_shrink threshold squareplus softplus"
    " softsign exponential ReLU LeakyReLU ELU"
)
_LEFT = {
    **dict.fromkeys(
        _set("MultiHeadAttention GroupedQueryAttention Attention AdditiveAttention"), "attention"
    ),
    **dict.fromkeys(
        _set("LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D StackedRNNCells"),
        "recurrent",
    ),
    "Embedding": "embedding",
}
_MIXING = {
    **dict.fromkeys(
        _set("LayerNormalization GroupNormalization RMSNormalization UnitNormalization"),
        "it normalizes across channels",
    ),
    "Softmax": "softmax is computed across channels",
}


def describe(facts: LayerFacts) -> Layer:
    """Return the description of a layer."""
    plain = Layer(
        facts.name,
        facts.kind,
        Effect.FREEZE,
        weights=tuple(WeightDescription(name) for name in facts.weights),
    )
    found = _READERS.get(facts.kind, _unknown)(facts)
    if isinstance(found, str):
        return replace(plain, reason=f"{facts.name} ({facts.kind}) is left alone: {found}")
    return replace(
        plain,
        effect=found.effect,
        reason=found.reason,
        channels=found.channels,
        repeat=found.repeat,
        setting=found.setting,
        weights=tuple(replace(found.weights[name], name=name) for name in facts.weights),
    )


@dataclass(frozen=True)
class _Kind:
    effect: Effect
    weights: Mapping[str, WeightDescription]
    channels: int = 0
    reason: str = ""
    repeat: int = 1
    setting: str | None = None


_Reader = Callable[[LayerFacts], "_Kind | str"]
_BIAS = {"bias": WeightDescription("", ((-1, Side.OUTPUT),))}


def _kernel(*axes: tuple[int, Side]) -> WeightDescription:
    return WeightDescription("", axes, measured=True)


def _unknown(facts: LayerFacts) -> _Kind | str:
    if facts.kind in _LEFT:
        return f"{_LEFT[facts.kind]} layers are not pruned"
    return _MIXING.get(facts.kind, "it may tie channels together")


def _with(effect: Effect) -> _Reader:
    def read(facts: LayerFacts) -> _Kind | str:
        return _other_variables(facts, {}) or _first_axis(facts) or _Kind(effect, {})

    return read


def _first_axis(facts: LayerFacts) -> str:
    return "its channels are the first axis" if facts.config.get("data_format") == "channels_first" else ""


def _other_variables(facts: LayerFacts, known: Mapping[str, WeightDescription]) -> str:
    """Return why a layer with variables of its own kind cannot be cut, such as one that Keras quantized."""
    other = [name for name in facts.weights if name not in known]
    return f"its variable {other[0]} is of an unknown kind" if other else ""


def _activation(config: Mapping[str, Any]) -> str:
    """Return why the activation ties the channels together, empty where it does not."""
    name = config.get("activation") or "linear"
    if isinstance(name, dict):
        name = name.get("class_name")
    return "" if name in _ELEMENTWISE else f"its activation {name} may be computed across channels"


def _filters(
    facts: LayerFacts, weights: Mapping[str, WeightDescription], setting: str, repeat: int = 1
) -> _Kind | str:
    weights = {**weights, **_BIAS}
    if facts.config.get("groups", 1) != 1:
        return "its convolution has groups"
    return (
        _first_axis(facts)
        or _other_variables(facts, weights)
        or _Kind(
            Effect.NEW,
            weights,
            channels=int(facts.config[setting]),
            reason=_activation(facts.config),
            repeat=repeat,
            setting=setting,
        )
    )


def _dense(facts: LayerFacts) -> _Kind | str:
    return _filters(facts, {"kernel": _kernel((-2, Side.INPUT), (-1, Side.OUTPUT))}, "units")


def _convolution(facts: LayerFacts) -> _Kind | str:
    return _filters(facts, {"kernel": _kernel((-2, Side.INPUT), (-1, Side.OUTPUT))}, "filters")


def _transposed(facts: LayerFacts) -> _Kind | str:
    return _filters(facts, {"kernel": _kernel((-1, Side.INPUT), (-2, Side.OUTPUT))}, "filters")


def _separable(facts: LayerFacts) -> _Kind | str:
    weights = {
        "depthwise_kernel": _kernel((-2, Side.INPUT)),
        "pointwise_kernel": _kernel((-2, Side.MIDDLE), (-1, Side.OUTPUT)),
    }
    return _filters(facts, weights, "filters", int(facts.config["depth_multiplier"]))


def _depthwise(facts: LayerFacts) -> _Kind | str:
    weights = {"kernel": _kernel((-2, Side.INPUT)), **_BIAS}
    problem = _first_axis(facts) or _other_variables(facts, weights) or _activation(facts.config)
    return problem or _Kind(Effect.REPEAT, weights, repeat=int(facts.config["depth_multiplier"]))


def _activation_layer(facts: LayerFacts) -> _Kind | str:
    return _activation(facts.config) or _Kind(Effect.KEEP, {})


def _batch_normalization(facts: LayerFacts) -> _Kind | str:
    axis = facts.config["axis"]
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    if axis not in (-1, len(facts.input) - 1):
        return "it normalizes another axis than the last"
    by_channel = WeightDescription("", ((-1, Side.OUTPUT),))
    weights = dict.fromkeys(("beta", "moving_mean", "moving_variance"), by_channel)
    weights["gamma"] = replace(by_channel, measured=True)
    return _other_variables(facts, weights) or _Kind(Effect.KEEP, weights)


def _prelu(facts: LayerFacts) -> _Kind | str:
    shared = len(facts.input) - 1 in (facts.config.get("shared_axes") or ())
    return _Kind(Effect.KEEP, {"alpha": WeightDescription("", () if shared else ((-1, Side.OUTPUT),))})


def _rescaling(facts: LayerFacts) -> _Kind | str:
    numbers = all(isinstance(facts.config[name], int | float) for name in ("scale", "offset"))
    return _Kind(Effect.KEEP, {}) if numbers else "it has a factor for each channel"


def _flatten(facts: LayerFacts) -> _Kind | str:
    if None in facts.input[1:]:
        return "it flattens a free size"
    return _first_axis(facts) or _Kind(Effect.FLATTEN, {})


def _reshape(facts: LayerFacts) -> _Kind | str:
    """A Reshape that keeps the last axis moves positions only; the last size is rewritten."""
    if facts.input[-1] is None or facts.input[-1] != facts.output[-1]:
        return "it reshapes the channels"
    inferred = facts.config["target_shape"][-1] == -1
    return _Kind(Effect.KEEP, {}, setting=None if inferred else "target_shape")


def _permute(facts: LayerFacts) -> _Kind | str:
    dims = facts.config["dims"]
    return _Kind(Effect.KEEP, {}) if dims[-1] == len(dims) else "it moves the axis of channels"


def _concatenate(facts: LayerFacts) -> _Kind | str:
    last = facts.config["axis"] in (-1, len(facts.input) - 1)
    return _Kind(Effect.CONCATENATE if last else Effect.UNITE, {})


_READERS: dict[str, _Reader] = {
    **dict.fromkeys(_PASS, _with(Effect.KEEP)),
    **dict.fromkeys(_UNITE, _with(Effect.UNITE)),
    **{OPERATION + name: _with(effect) for name, effect in _OPERATIONS.items()},
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_TRANSPOSED, _transposed),
    **dict.fromkeys(_SEPARABLE, _separable),
    **dict.fromkeys(_DEPTHWISE, _depthwise),
    "Dense": _dense,
    "Activation": _activation_layer,
    "BatchNormalization": _batch_normalization,
    "PReLU": _prelu,
    "Rescaling": _rescaling,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Concatenate": _concatenate,
}
