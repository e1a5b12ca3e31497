"""SavedModels that compute in float16 or bfloat16: their graph is changed to compute in float32.

Keras' mixed precision keeps float32 variables and casts them; a CPU and LiteRT's built-in operators do not
compute in these types. In float32 the variables are exact. Inputs and outputs of these types become float32.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.descriptor import FieldDescriptor
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from modelpress.models.types import first_line, invalid, unsupported

_HALF = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
_DATA_TYPE = "tensorflow.DataType"


def widen(message: Any, name: str) -> None:
    """Edit a checked SavedModel message in place.

    Raises UnsupportedModel where variables are stored in these types: their checkpoint cannot be changed.
    Raises InvalidModel for constants that hold part of a number.
    """
    graph = message.meta_graphs[0]
    for node in graph.object_graph_def.nodes:
        if node.WhichOneof("kind") == "variable" and node.variable.dtype in _HALF:
            dtype = tf.as_dtype(node.variable.dtype).name
            raise unsupported(
                f"{name}: variable {node.variable.name[:100]} is {dtype}; accepted are float32 variables,"
                " also with mixed precision"
            )
    try:
        _widen(graph)
    except ValueError as error:
        raise invalid(f"{name}: a constant is broken: {first_line(error)}") from error


def _widen(message: Any) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_ENUM:
            if field.enum_type.full_name == _DATA_TYPE:
                _widen_types(message, field.name, value)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in _messages(value):
                if isinstance(item, TensorProto):
                    _widen_values(item)
                else:
                    _widen(item)


def _widen_types(message: Any, name: str, value: Any) -> None:
    if isinstance(value, int):
        if value in _HALF:
            setattr(message, name, types_pb2.DT_FLOAT)
        return
    for index, item in enumerate(value):
        if item in _HALF:
            value[index] = types_pb2.DT_FLOAT


def _widen_values(tensor: Any) -> None:
    """Widen the values that are written; one that stands for many, such as zeros, stays one."""
    if tensor.dtype not in _HALF:
        return
    dtype = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
    content = tensor.tensor_content
    if content:
        tensor.tensor_content = np.frombuffer(content, dtype).astype(np.float32).tobytes()
    bits = np.asarray(tensor.half_val, np.int32).astype(np.uint16)  # the lower half of each is the number
    tensor.ClearField("half_val")
    tensor.float_val.extend(bits.view(dtype).astype(np.float32).tolist())
    tensor.dtype = types_pb2.DT_FLOAT


def _messages(value: Any) -> Any:
    """Return the messages of a field: one, a list, or the values of a map."""
    if hasattr(value, "ListFields"):
        return (value,)
    items = value.values() if hasattr(value, "values") else value
    return (item for item in items if hasattr(item, "ListFields"))
