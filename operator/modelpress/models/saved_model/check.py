"""Checks of a SavedModel folder before TensorFlow loads it.

- Files: plain files and folders only (no links), bounded in number and size.
- saved_model.pb: a SavedModel of TensorFlow 2 with one graph for serving.
- What the signature does not reach is taken out (`reach`), and not looked at: it cannot be loaded.
- Operations: all nodes of the functions that stay must be in `allowed_ops.COMPUTE`. A function must not have
  the name of another one or of an operation.
- Objects: no tables or other resources, which are made while a model is loaded.
- Constants: bounded in size after a repeated value is written out.
- Assets: paths inside the folder `assets`.
- Checkpoint: not larger than its data files.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from modelpress.bounds.room import MAX_ENTRIES
from modelpress.models.safety import wire_count
from modelpress.models.safety.limits import (
    MAX_CONSTANT_BYTES,
    MAX_GRAPH_BYTES,
    MAX_MODEL_BYTES,
    MAX_NODES,
    MAX_PARTS,
)
from modelpress.models.saved_model import allowed_ops, reach
from modelpress.models.types import first_line, invalid, unsupported

GRAPH_FILE = "saved_model.pb"
SERVE = "serve"
_KINDS = {"RAGGED_TENSOR_SPEC": "RaggedTensor", "SPARSE_TENSOR_SPEC": "SparseTensor"}
_TEXT_BYTES = 24  # bytes in memory of one string, without its letters


def check_files(folder: Path, name: str) -> None:
    """Refuse links, devices, and too many or too large files. `name` is what messages speak of."""
    count = total = 0
    for parent, folders, files in os.walk(folder, followlinks=False):
        for entry in (*folders, *files):
            path = Path(parent, entry)
            status = path.lstat()
            count, total = count + 1, total + status.st_size
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise invalid(
                    f"{name}: {path.relative_to(folder)} is a link or device: only files are accepted"
                )
            if count > MAX_ENTRIES or total > MAX_MODEL_BYTES:
                raise invalid(f"{name}: more than {MAX_ENTRIES} files or {MAX_MODEL_BYTES} bytes")


def check_graph(folder: Path, name: str) -> Any:
    """Check the graph and the checkpoint of a SavedModel; return the part of its message that serves.

    Raises InvalidModel or UnsupportedModel.
    """
    message = _read(folder / GRAPH_FILE, name)
    graphs = [graph for graph in message.meta_graphs if SERVE in graph.meta_info_def.tags]
    if len(graphs) != 1 or len(message.meta_graphs) != 1:
        raise invalid(
            f"{name}: has {len(message.meta_graphs)} graphs, {len(graphs)} with the tag {SERVE!r}; needs one"
        )
    graph = graphs[0]
    if not graph.HasField("object_graph_def"):
        raise unsupported(f"{name}: was saved by TensorFlow 1: load it and save it again with TensorFlow 2")
    _check_arguments(graph, name)
    reach.keep_signature(graph, name)
    _check_operations(graph, name)
    _check_objects(graph, name)
    _check_constants(graph, name)
    _check_assets(graph, folder, name)
    _check_checkpoint(folder / "variables", name)
    return message


def _read(path: Path, name: str) -> Any:
    if path.stat().st_size > MAX_GRAPH_BYTES:
        raise invalid(f"{name}: {GRAPH_FILE} is larger than {MAX_GRAPH_BYTES} bytes")
    message = saved_model_pb2.SavedModel()
    data = path.read_bytes()
    try:
        if wire_count.parts(memoryview(data), MAX_PARTS) > MAX_PARTS:
            raise invalid(f"{name}: {GRAPH_FILE} holds more than {MAX_PARTS} nodes")
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise invalid(f"{name}: {GRAPH_FILE} is no SavedModel: it is cut off or of another kind") from error
    if not message.meta_graphs:
        raise invalid(f"{name}: {GRAPH_FILE} is no SavedModel: it holds no graph")
    return message


def _check_operations(graph: Any, name: str) -> None:
    functions: dict[str, Any] = {}
    for function in graph.graph_def.library.function:
        label = function.signature.name
        if label in functions or op_def_registry.get(label) is not None:
            raise invalid(f"{name}: function {label[:100]!r} has the name of another function or operation")
        functions[label] = function
    _check_calls(functions, name)
    for function in functions.values():
        _refuse(function.node_def, allowed_ops.COMPUTE, name)


def _check_calls(functions: dict[str, Any], name: str) -> None:
    """Refuse functions that call each other in a circle, or that are huge once calls are written out.

    A function can call the next one twice, that one the next one twice, and so on.
    """
    calls = {
        label: [inner for node in function.node_def for inner in reach.called(node) if inner in functions]
        for label, function in functions.items()
    }
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise invalid(f"{name}: functions call each other in a circle") from error
    sizes: dict[str, int] = {}
    for label in order:
        sizes[label] = len(functions[label].node_def) + sum(sizes[inner] for inner in calls[label])
        if sizes[label] > MAX_NODES:
            raise invalid(f"{name}: with calls written out, a function has more than {MAX_NODES} operations")


def _check_arguments(graph: Any, name: str) -> None:
    """Refuse functions of the signature that take tensors of another kind: it has several inputs for one."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    known = graph.object_graph_def.concrete_functions
    for label in sorted(reach.closure(reach.signature_functions(graph, name), functions) & set(known)):
        text = str(known[label].canonicalized_input_signature)
        if found := next((word for kind, word in _KINDS.items() if kind in text), None):
            raise unsupported(
                f"{name}: the signature takes a {found}; accepted are dense tensors:"
                " export a function that takes a padded one"
            )


def _check_objects(graph: Any, name: str) -> None:
    for item in graph.object_graph_def.nodes:
        if item.WhichOneof("kind") == "resource":
            raise invalid(f"{name}: holds a table or another resource; only variables are accepted")


def _refuse(nodes: Iterable[Any], allowed: frozenset[str], name: str) -> None:
    for node in nodes:
        if node.op not in allowed:
            raise invalid(
                f"{name}: operation {node.op[:100]} (node {node.name[:100]}) is not on the list of accepted "
                'ones; of a Keras model, model.export("model_dir") writes only what computes the outputs'
            )


def _check_constants(graph: Any, name: str) -> None:
    total = 0
    functions = graph.graph_def.library.function
    for nodes in (graph.graph_def.node, *(function.node_def for function in functions)):
        for node in nodes:
            for tensor in _tensors(node):
                sizes = [dim.size for dim in tensor.tensor_shape.dim]
                if min(sizes, default=0) < 0 or tensor.tensor_shape.unknown_rank:
                    raise invalid(f"{name}: constant {node.name[:100]} has no shape")
                total += int(np.prod(sizes, dtype=np.float64)) * _element_bytes(tensor)
                if total > MAX_CONSTANT_BYTES:
                    raise invalid(f"{name}: the graph's constants are larger than {MAX_CONSTANT_BYTES} bytes")


def _tensors(node: Any) -> Iterator[Any]:
    """Yield the constants of a node, or of the arguments of a function that it names."""
    for attribute in node.attr.values():
        kind = attribute.WhichOneof("value")
        if kind == "tensor":
            yield attribute.tensor
        elif kind == "func":
            yield from _tensors(attribute.func)
        elif kind == "list":
            yield from attribute.list.tensor
            for function in attribute.list.func:
                yield from _tensors(function)


def _element_bytes(tensor: Any) -> int:
    kind = tf.as_dtype(tensor.dtype) if tensor.dtype else tf.float32
    if kind in (tf.float16, tf.bfloat16):
        kind = tf.float32  # `half_precision` makes it that
    return _TEXT_BYTES if kind == tf.string else kind.size or _TEXT_BYTES


def _check_assets(graph: Any, folder: Path, name: str) -> None:
    for asset in graph.asset_file_def:
        parts = PurePosixPath(asset.filename).parts
        inside = (
            parts and ".." not in parts and not asset.filename.startswith("/") and "\\" not in asset.filename
        )
        if not inside or not (folder / "assets").joinpath(*parts).is_file():
            raise invalid(f"{name}: asset {asset.filename[:100]!r} is not a file of the folder assets")


def _check_checkpoint(folder: Path, name: str) -> None:
    index = folder / "variables.index"
    if not index.is_file():
        return  # a model without variables
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables"))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise invalid(f"{name}: the checkpoint cannot be read: {first_line(error)}") from error
    declared = sum(
        # a text of no letters still has its length in the file
        int(np.prod(shape, dtype=np.float64)) * (1 if dtypes[key] == tf.string else dtypes[key].size)
        for key, shape in shapes.items()
    )
    stored = sum(path.stat().st_size for path in folder.glob("variables.data-*"))
    if declared > stored:
        raise invalid(f"{name}: the checkpoint declares {declared} bytes, its files hold {stored}")
