"""A bound on the values inside a model: some bytes of a file can ask for an array of any size.

Only sizes that TensorFlow knows without computing are seen; the Job's memory limit bounds the others.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.models.safety.limits import MAX_ROW_BYTES
from modelpress.models.types import invalid


def check(graph: Any) -> None:
    """Refuse a graph, with its shapes, that computes a value of more than MAX_ROW_BYTES for one row.

    Free axes count as 1. Raises InvalidModel.
    """
    for nodes in (graph.node, *(inner.node_def for inner in graph.library.function)):
        for node in nodes:
            size = max(map(_elements, node.attr["_output_shapes"].list.shape), default=0) * _bytes(node)
            if size > MAX_ROW_BYTES:
                raise invalid(
                    f"operation {node.op} ({node.name[:100]}) computes a value of {size} bytes for one row; "
                    f"accepted are {MAX_ROW_BYTES}"
                )


def _elements(shape: Any) -> int:
    if shape.unknown_rank:
        return 0
    return int(np.prod([max(axis.size, 1) for axis in shape.dim], dtype=np.float64))


def _bytes(node: Any) -> int:
    kind = next((node.attr[key].type for key in ("T", "dtype") if key in node.attr), 0)
    return max(tf.as_dtype(kind).size or 1, 1) if kind else 4
