"""Builds the model of a checked structure without memory, to see how much the real build would take.

Variables get a shape and no value (a scope of Keras), and what a layer computes while it is built is noted
in a graph of TensorFlow and not run. What Keras traces to learn the shapes of a call has graphs of its own.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from modelpress.models.safety.limits import SMALL
from modelpress.models.types import invalid

Build = Callable[[dict[str, Any]], keras.Model]


def check(name: str, build: Build, config: Mapping[str, Any], weight_bytes: int) -> None:
    """Refuse a structure that asks for more memory than the weights fill, before it is allocated.

    Raises InvalidModel, and what Keras raises for a structure that it cannot build.
    """
    with keras.StatelessScope():
        try:
            with tf.Graph().as_default() as graph:
                model = build(copy.deepcopy(dict(config)))  # building takes settings out of it
            needed = sum(_bytes(variable.shape, variable.dtype) for variable in model.variables)
        finally:
            keras.utils.clear_session()  # or leaving the scope would allocate the variables
    if needed > weight_bytes + SMALL:
        raise invalid(f"{name}: the layers need {needed} bytes of weights, the file has {weight_bytes}")
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            if not tensor.shape.is_fully_defined():
                raise invalid(f"{name}: a value of unknown size would be computed while the model is built")
            size = _bytes(tensor.shape, tensor.dtype)
            if size > weight_bytes + SMALL:
                raise invalid(f"{name}: a value of {size} bytes would be computed while the model is built")


def _bytes(shape: Any, dtype: Any) -> int:
    count = 1
    for size in shape:
        count *= int(size)
    return count * max(int(tf.as_dtype(dtype).size), 1)
