"""Functions of TensorFlow in a functional model of Keras 2, such as x / 127.5 - 1, as operations of Keras 3.

Keras 2 stored them by the name of the function, as layers of the classes TFOpLambda and SlicingOpLambda.
Those of `FUNCTIONS` become the operation that computes the same; any other is refused. Pure. Must not import
TensorFlow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpress.models.keras import way_out
from modelpress.models.keras.keras_2 import calls
from modelpress.models.types import unsupported

WRAPPERS = ("SlicingOpLambda", "TFOpLambda")
_ARGUMENTS = (bool, int, float, str, list, type(None))


@dataclass(frozen=True)
class Function:
    """How an operation of Keras computes a function of TensorFlow.

    `operation`: its module below keras.src.ops, and its class.
    `tensors`: the arguments of the function that the operation is called with, in order; the first one is the
    function's first.
    `settings`: arguments of the function, and what they are called in the operation's constructor.
    `change`: what makes other settings of these; it raises ValueError for what Keras cannot compute.
    `only`: the values of arguments that the operation knows nothing of.
    `before`, `after`: the dtype that it casts the first tensor to, and its result.
    """

    operation: str
    tensors: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict
    only: Mapping[str, Any] = field(default_factory=dict)
    before: str | None = None
    after: str | None = None


def translated(layer: Mapping[str, Any], found: Sequence[calls.Call]) -> Iterator[dict[str, Any]]:
    """Yield the operations of a layer that wraps a function, the last one under the layer's name.

    Raises UnsupportedModel for a function, or an argument of it, that is not on the list.
    """
    name, symbol = calls.modern_name(layer["name"]), layer["config"].get("function", "__operators__.getitem")
    function = FUNCTIONS.get(symbol) if isinstance(symbol, str) else None
    if function is None or len(found) != 1:
        raise unsupported(
            f"layer {name!r} calls the TensorFlow function {symbol!r}, which is not on the list of those that"
            f" Keras 3 computes in the same way: {way_out.EXPORT_WITH_ITS_KERAS}"
        )
    try:
        arguments, settings = _arguments(function, found[0])
    except ValueError as error:
        raise unsupported(
            f"layer {name!r} calls the TensorFlow function {symbol!r} with {error}, which Keras 3 does not"
            f" compute in the same way: {way_out.EXPORT_WITH_ITS_KERAS}"
        ) from error
    if function.before:
        yield _operation(f"{name}.before", "core.Cast", {"dtype": function.before}, arguments[:1])
        arguments = [calls.tensor([f"{name}.before", 0, 0]), *arguments[1:]]
    own = f"{name}.{function.operation}" if function.after else name
    yield _operation(own, function.operation, settings, arguments)
    if function.after:
        yield _operation(name, "core.Cast", {"dtype": function.after}, [calls.tensor([own, 0, 0])])


def _arguments(function: Function, call: calls.Call) -> tuple[list[Any], dict[str, Any]]:
    """Return what the operation is called with, and made with."""
    given = {key: item for key, item in call.settings.items() if item is not None and key != "name"}
    arguments = [call.inputs]
    for key in function.tensors[1:]:
        value = given.pop(key)
        arguments.append(value if calls.is_tensor(value) else calls.constant(value))
    for key, value in function.only.items():
        if key in given and given.pop(key) != value:
            raise ValueError(f"another {key} than {value!r}")
    settings = {}
    for key, own in function.settings.items():
        if key in given:
            settings[own] = _plain(key, given.pop(key))
    if given:
        raise ValueError(f"the argument {min(given)}")
    settings = function.change(settings)
    arguments += settings.pop(_CALLED, [])
    return arguments, settings


def _plain(key: str, value: Any) -> Any:
    """Return a setting that is no tensor and no object; indices are looked at in `_slices`."""
    if key == "slice_spec":
        return value
    items = value if isinstance(value, list) else []
    if not isinstance(value, _ARGUMENTS) or not all(_plain(key, item) is item for item in items):
        raise ValueError(f"a computed {key}")
    return value


def _operation(name: str, operation: str, settings: Mapping[str, Any], inputs: Any) -> dict[str, Any]:
    module, class_name = operation.split(".")
    return {
        "module": f"keras.src.ops.{module}",
        "class_name": class_name,
        "config": {"name": name, **settings},
        "registered_name": class_name,
        "name": name,
        "inbound_nodes": [{"args": list(inputs), "kwargs": {}}],
    }


_CALLED = "called"  # a setting of `change` that becomes an argument of the call


def _slices(settings: dict[str, Any]) -> dict[str, Any]:
    spec = settings["spec"]
    return {_CALLED: [[_slice(item) for item in (spec if isinstance(spec, list) else [spec])]]}


def _slice(item: Any) -> Any:
    if item is None or (isinstance(item, int) and not isinstance(item, bool)):
        return item
    if isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    is_slice = isinstance(item, dict) and item.keys() == {"start", "stop", "step"}
    if is_slice and all(bound is None or isinstance(bound, int) for bound in item.values()):
        return {"class_name": "__slice__", "config": item}
    raise ValueError("computed indices")


def _sections(settings: dict[str, Any]) -> dict[str, Any]:
    """Make positions of the sizes that tf.split takes."""
    sizes = settings["sections"]
    if isinstance(sizes, list):
        if min(sizes) < 0:
            raise ValueError("a size that is left open")
        settings["sections"] = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    settings["indices_or_sections"] = settings.pop("sections")
    return {"axis": 0, **settings}


def _pad(settings: dict[str, Any]) -> dict[str, Any]:
    mode = settings.get("mode", "CONSTANT").lower()
    value = settings.pop("constant_values", 0)
    return {**settings, "mode": mode, **({_CALLED: [value]} if mode == "constant" and value else {})}


def _normalize(settings: dict[str, Any]) -> dict[str, Any]:
    """Keras squares its epsilon before it compares it with the sum of squares."""
    return {"axis": settings.get("axis"), "order": 2, "epsilon": settings.get("epsilon", 1e-12) ** 0.5}


def _no_list(settings: dict[str, Any]) -> dict[str, Any]:
    """An axis that Keras takes as one number."""
    axis = settings.get("axis")
    if isinstance(axis, list):
        if len(axis) != 1:
            raise ValueError("several axes")
        settings["axis"] = axis[0]
    return settings


def _default(**settings: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {**settings, **given}


def _binary(operation: str) -> Function:
    return Function(operation, ("x", "y"))


def _unary(operation: str) -> Function:
    return Function(operation, ("x",))


def _reduced(operation: str) -> Function:
    return Function(operation, ("input_tensor",), {"axis": "axis", "keepdims": "keepdims"})


def _argument(operation: str) -> Function:
    change = _default(axis=0)
    return Function(operation, ("input",), {"axis": "axis"}, change, {"output_type": "int64"}, after="int64")


_BINARY = {
    "math.add": "numpy.Add",
    "__operators__.add": "numpy.Add",
    "math.subtract": "numpy.Subtract",
    "math.multiply": "numpy.Multiply",
    "math.truediv": "numpy.TrueDivide",
    "math.divide_no_nan": "numpy.DivideNoNan",
    "compat.v1.floor_div": "numpy.FloorDivide",
    "math.floormod": "numpy.Mod",
    "math.pow": "numpy.Power",
    "math.maximum": "numpy.Maximum",
    "math.minimum": "numpy.Minimum",
    "math.equal": "numpy.Equal",
    "math.not_equal": "numpy.NotEqual",
    "math.greater": "numpy.Greater",
    "math.greater_equal": "numpy.GreaterEqual",
    "math.less": "numpy.Less",
    "math.less_equal": "numpy.LessEqual",
    "math.logical_and": "numpy.LogicalAnd",
    "math.logical_or": "numpy.LogicalOr",
}
_UNARY = {
    "math.abs": "numpy.Absolute",
    "math.negative": "numpy.Negative",
    "math.exp": "numpy.Exp",
    "math.expm1": "numpy.Expm1",
    "math.log": "numpy.Log",
    "math.log1p": "numpy.Log1p",
    "math.sqrt": "numpy.Sqrt",
    "math.rsqrt": "math.Rsqrt",
    "math.square": "numpy.Square",
    "math.reciprocal": "numpy.Reciprocal",
    "math.sin": "numpy.Sin",
    "math.cos": "numpy.Cos",
    "math.tan": "numpy.Tan",
    "math.asin": "numpy.Arcsin",
    "math.acos": "numpy.Arccos",
    "math.atan": "numpy.Arctan",
    "math.sinh": "numpy.Sinh",
    "math.cosh": "numpy.Cosh",
    "math.tanh": "numpy.Tanh",
    "math.sigmoid": "nn.Sigmoid",
    "math.erf": "math.Erf",
    "math.floor": "numpy.Floor",
    "math.ceil": "numpy.Ceil",
    "math.round": "numpy.Round",
    "math.sign": "numpy.Sign",
    "math.is_nan": "numpy.Isnan",
    "math.is_inf": "numpy.Isinf",
    "math.is_finite": "numpy.Isfinite",
    "math.logical_not": "numpy.LogicalNot",
}
_REDUCED = {
    "math.reduce_mean": "numpy.Mean",
    "math.reduce_sum": "numpy.Sum",
    "math.reduce_max": "numpy.Max",
    "math.reduce_min": "numpy.Min",
    "math.reduce_prod": "numpy.Prod",
    "math.reduce_std": "numpy.Std",
    "math.reduce_variance": "numpy.Var",
    "math.reduce_all": "numpy.All",
    "math.reduce_any": "numpy.Any",
    "math.reduce_logsumexp": "math.Logsumexp",
}
_OTHERS = {
    "math.atan2": Function("numpy.Arctan2", ("y", "x")),
    "nn.relu": Function("nn.Relu", ("features",)),
    "nn.relu6": Function("nn.Relu6", ("features",)),
    "nn.elu": Function("nn.Elu", ("features",)),
    "nn.selu": Function("nn.Selu", ("features",)),
    "math.softplus": Function("nn.Softplus", ("features",)),
    "nn.softsign": Function("nn.Softsign", ("features",)),
    "nn.silu": Function("nn.Silu", ("features",), only={"beta": 1.0}),
    "nn.gelu": Function(
        "nn.Gelu", ("features",), {"approximate": "approximate"}, _default(approximate=False)
    ),
    "nn.leaky_relu": Function(
        "nn.LeakyRelu", ("features",), {"alpha": "negative_slope"}, _default(negative_slope=0.2)
    ),
    "nn.softmax": Function("nn.Softmax", ("logits",), {"axis": "axis"}, _no_list),
    "nn.log_softmax": Function("nn.LogSoftmax", ("logits",), {"axis": "axis"}, _no_list),
    "math.l2_normalize": Function("nn.Normalize", ("x",), {"axis": "axis", "epsilon": "epsilon"}, _normalize),
    "nn.bias_add": Function("numpy.Add", ("value", "bias"), only={"data_format": "NHWC"}),
    "clip_by_value": Function("numpy.Clip", ("t",), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
}
_SHAPES = {
    "cast": Function("core.Cast", ("x",), {"dtype": "dtype"}),
    "stop_gradient": Function("core.StopGradient", ("input",)),
    "reshape": Function("numpy.Reshape", ("tensor",), {"shape": "newshape"}),
    "expand_dims": Function("numpy.ExpandDims", ("input",), {"axis": "axis"}),
    "compat.v1.squeeze": Function("numpy.Squeeze", ("input",), {"axis": "axis"}),
    "compat.v1.transpose": Function("numpy.Transpose", ("a",), {"perm": "axes"}, only={"conjugate": False}),
    "concat": Function("numpy.Concatenate", ("values",), {"axis": "axis"}),
    "stack": Function("numpy.Stack", ("values",), {"axis": "axis"}),
    "unstack": Function("core.Unstack", ("value",), {"num": "num", "axis": "axis"}, _default(num=None)),
    "split": Function(
        "numpy.Split", ("value",), {"num_or_size_splits": "sections", "axis": "axis"}, _sections
    ),
    "tile": Function("numpy.Tile", ("input",), {"multiples": "repeats"}),
    "reverse": Function("numpy.Flip", ("tensor",), {"axis": "axis"}, _no_list),
    "roll": Function("numpy.Roll", ("input",), {"shift": "shift", "axis": "axis"}),
    "compat.v1.pad": Function(
        "numpy.Pad",
        ("tensor",),
        {"paddings": "pad_width", "mode": "mode", "constant_values": "constant_values"},
        _pad,
    ),
    "where": Function("numpy.Where", ("condition", "x", "y")),
    "zeros_like": Function("numpy.ZerosLike", ("input",)),
    "ones_like": Function("numpy.OnesLike", ("input",)),
    "linalg.matmul": Function(
        "numpy.Matmul",
        ("a", "b"),
        only=dict.fromkeys(
            ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"), False
        ),
    ),
    "math.argmax": _argument("numpy.Argmax"),
    "math.argmin": _argument("numpy.Argmin"),
    "__operators__.getitem": Function("numpy.GetItem", ("x",), {"slice_spec": "spec"}, _slices),
    "image.resize": Function(
        "image.Resize",
        ("images",),
        {"size": "size", "method": "interpolation", "antialias": "antialias"},
        only={"preserve_aspect_ratio": False},
        before="float32",  # the method nearest keeps integers, and their values are the same
    ),
}

FUNCTIONS: Mapping[str, Function] = {
    **{symbol: _binary(operation) for symbol, operation in _BINARY.items()},
    **{symbol: _unary(operation) for symbol, operation in _UNARY.items()},
    **{symbol: _reduced(operation) for symbol, operation in _REDUCED.items()},
    **_OTHERS,
    **_SHAPES,
}
