"""Hostile SavedModels that no TensorFlow writes: the seed model with its message or its checkpoint edited."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.hostile.files import HostileFiles, Row

Edit = Callable[[Any, HostileFiles], None]  # of the MetaGraphDef

_DT_FLOAT, _DT_STRING = 1, 7


def _edited(edit: Edit, files: HostileFiles) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    path = files.folder / "model"
    shutil.copytree(files.models.saved_model, path)
    message = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    edit(message.meta_graphs[0], files)
    (path / "saved_model.pb").write_bytes(message.SerializeToString())
    return path


def _operation(name: str) -> Edit:
    def edit(graph: Any, files: HostileFiles) -> None:
        _served(graph).node_def.add(name="evil", op=name)

    return edit


def _served(graph: Any) -> Any:
    """Return the function that the signature calls first."""
    functions = graph.graph_def.library.function
    return next(item for item in functions if "signature_wrapper" in item.signature.name)


def _node(graph: Any, files: HostileFiles) -> None:
    graph.graph_def.node.add(name="evil", op="WriteFile")


def _lines(graph: Any, files: HostileFiles) -> None:
    _served(graph).node_def.add(name="a\nerror: all is well\x1b[2J", op="Write\nFile")


def _text(place: Any, value: str) -> None:
    place.attr["dtype"].type = _DT_STRING
    place.attr["value"].tensor.dtype = _DT_STRING
    place.attr["value"].tensor.string_val.append(value.encode())


def _writer(graph: Any, files: HostileFiles, label: str) -> None:
    """Add a function to the graph's own saver that writes a file; only the saver calls it."""
    function = graph.graph_def.library.function.add()
    function.signature.name = label
    _text(function.node_def.add(name="path", op="Const"), str(files.traps.marker))
    function.node_def.add(name="evil", op="MergeV2Checkpoints", input=["path:output:0", "path:output:0"])
    saver = graph.saver_def.save_tensor_name.split(":")[0]
    node = next(node for node in graph.graph_def.node if node.name == saver)
    called = next(
        item for item in graph.graph_def.library.function if item.signature.name == node.attr["f"].func.name
    )
    called.node_def.add(name="more", op="PartitionedCall").attr["f"].func.name = label


def _saver_in_object(graph: Any, files: HostileFiles) -> None:
    _writer(graph, files, "evil")
    graph.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = "evil"


def _saver_in_function(graph: Any, files: HostileFiles) -> None:
    _writer(graph, files, "evil")
    graph.object_graph_def.nodes.add().function.concrete_functions.append("evil")


def _saver_in_gradient(graph: Any, files: HostileFiles) -> None:
    _writer(graph, files, "evil")
    graph.graph_def.library.registered_gradients.add(
        gradient_func="evil", registered_op_type="CustomGradient-1"
    )


def _saver_as_operation(graph: Any, files: HostileFiles) -> None:
    _writer(graph, files, "MatMul")


def _duplicate(graph: Any, files: HostileFiles) -> None:
    served = _served(graph)
    graph.graph_def.library.function.add().CopyFrom(served)
    served.node_def.add(name="evil", op="WriteFile")


def _second_graph(graph: Any, files: HostileFiles) -> None:
    """Give the nodes a chance to run as TensorFlow 1 does, which happens where there are two graphs."""
    graph.meta_info_def.tags.append("serve")


def _two(files: HostileFiles) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    path = _edited(lambda graph, _: None, files)
    message = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    message.meta_graphs.add().meta_info_def.tags.append("train")
    (path / "saved_model.pb").write_bytes(message.SerializeToString())
    return path


def _resource(graph: Any, files: HostileFiles) -> None:
    graph.object_graph_def.nodes.add().resource.device = "/CPU:0"


def _asset(name: str) -> Edit:
    def edit(graph: Any, files: HostileFiles) -> None:
        place = name.replace("SECRET", str(files.traps.secret))
        graph.asset_file_def.add(filename=place).tensor_info.name = "x:0"

    return edit


def _constant(graph: Any, files: HostileFiles) -> None:
    node = graph.graph_def.node.add(name="bomb", op="Const")
    node.attr["dtype"].type = _DT_FLOAT
    node.attr["value"].tensor.dtype = _DT_FLOAT
    node.attr["value"].tensor.float_val.append(1.0)
    for _ in range(4):
        node.attr["value"].tensor.tensor_shape.dim.add(size=2**20)


def _texts(graph: Any, files: HostileFiles) -> None:
    node = _served(graph).node_def.add(name="bomb", op="Const")
    _text(node, "x")
    node.attr["value"].tensor.tensor_shape.dim.add(size=2**28)


def _negative(graph: Any, files: HostileFiles) -> None:
    node = graph.graph_def.node.add(name="bomb", op="Const")
    node.attr["value"].tensor.tensor_shape.dim.add(size=-5)


def _variable(graph: Any, files: HostileFiles) -> None:
    for node in graph.object_graph_def.nodes:
        for axis in node.variable.shape.dim if node.WhichOneof("kind") == "variable" else ():
            axis.size = 2**30


def _calls_itself(graph: Any, files: HostileFiles) -> None:
    for function in graph.graph_def.library.function:
        if "__forward" in function.signature.name or "inference" in function.signature.name:
            node = function.node_def.add(name="again", op="PartitionedCall")
            node.attr["f"].func.name = function.signature.name


def _laughs(graph: Any, files: HostileFiles) -> None:
    """Let 60 functions call the next one twice each: written out they are 2**60 nodes."""
    functions = graph.graph_def.library.function
    for i in range(60):
        function = functions.add()
        function.signature.name = f"laugh_{i}"
        for j in range(2 if i < 59 else 0):
            function.node_def.add(name=f"c{j}", op="PartitionedCall").attr["f"].func.name = f"laugh_{i + 1}"
    for function in list(functions)[:-60]:
        function.node_def.add(name="more", op="PartitionedCall").attr["f"].func.name = "laugh_0"


def _many_nodes(files: HostileFiles) -> Path:
    """Write ten million empty nodes of two bytes each."""
    path = _edited(lambda graph, _: None, files)
    nodes = b"\x0a\x00" * 10**7
    graph = b"\x12" + _varint(len(nodes)) + nodes  # MetaGraphDef.graph_def
    whole = b"\x12" + _varint(len(graph)) + graph  # SavedModel.meta_graphs
    (path / "saved_model.pb").write_bytes(whole)
    return path


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def _deep(files: HostileFiles) -> Path:
    """Nest messages 5,000 deep."""
    path = _edited(lambda graph, _: None, files)
    data = b""
    for _ in range(5_000):
        data = b"\x0a" + _varint(len(data)) + data
    (path / "saved_model.pb").write_bytes(b"\x12" + _varint(len(data)) + data)
    return path


def _checkpoint(make: Callable[[Any], Any], files: HostileFiles) -> Path:
    """Write another checkpoint under the graph."""
    import tensorflow as tf

    path = _edited(lambda graph, _: None, files)
    shutil.rmtree(path / "variables")
    (path / "variables").mkdir()
    tensors = make(tf)
    tf.raw_ops.SaveV2(
        prefix=str(path / "variables/variables"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return path


def _index(change: Callable[[bytearray], None], files: HostileFiles) -> Path:
    path = _edited(lambda graph, _: None, files)
    index = path / "variables/variables.index"
    data = bytearray(index.read_bytes())
    change(data)
    index.write_bytes(data)
    return path


def _wide(data: bytearray) -> None:
    """Let the checkpoint declare a size of 127 for an axis of 64: shapes are varints in the index."""
    place = data.index(b"\x12\x02\x08\x40")
    data[place + 3] = 127


def _file(name: str, content: bytes | None, files: HostileFiles) -> Path:
    path = _edited(lambda graph, _: None, files)
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content)
    return path


def _words(text: str) -> list[str]:
    return text.split()


_OPERATIONS = _words("""
    ReadFile WriteFile PyFunc PyFuncStateless EagerPyFunc HashTableV2 InitializeTableFromTextFileV2
    ImmutableConst LoadDataset SaveDatasetV2 MatchingFiles CollectiveReduceV2 RemoteCall _Send _Recv
    DebugNumericSummary DecodeJpeg TPUExecute XlaLaunch XlaHostCompute LoadAndRemapMatrix
    GenerateVocabRemapping AudioSummary PrintV2 Print OptimizedOpNoSuch RestoreSlice ReaderReadV2
    FixedLengthRecordReaderV2 IteratorV2 MakeIterator RpcServer ConfigureDistributedTPU
""")
_DATA = "variables/variables.data-00000-of-00001"

ROWS = [
    *(Row(f"graph-op-{name}", partial(_edited, _operation(name)), name) for name in _OPERATIONS),
    Row("graph-op-outside-of-functions", partial(_edited, _node), "", harmless=True),
    Row("graph-lines-in-a-name", partial(_edited, _lines), "Write?File"),
    Row("graph-saver-in-an-object", partial(_edited, _saver_in_object), "", harmless=True),
    Row("graph-saver-in-a-function", partial(_edited, _saver_in_function), "", harmless=True),
    Row("graph-saver-in-a-gradient", partial(_edited, _saver_in_gradient), "", harmless=True),
    Row("graph-saver-as-an-operation", partial(_edited, _saver_as_operation), "", harmless=True),
    Row("graph-two-functions-of-one-name", partial(_edited, _duplicate), "name of another"),
    Row("graph-two-graphs", _two, "2 graphs"),
    Row("graph-resource", partial(_edited, _resource), "", harmless=True),
    Row("graph-asset-up", partial(_edited, _asset("../../../../../../../../..SECRET")), "asset"),
    Row("graph-asset-absolute", partial(_edited, _asset("SECRET")), "asset"),
    Row("graph-asset-missing", partial(_edited, _asset("words.txt")), "asset"),
    Row("graph-constant-bomb", partial(_edited, _constant), "constants are larger"),
    Row("graph-constant-of-texts", partial(_edited, _texts), "constants are larger"),
    Row("graph-constant-negative", partial(_edited, _negative), "no shape"),
    Row("graph-variable-bomb", partial(_edited, _variable), "model"),
    Row("graph-calls-itself", partial(_edited, _calls_itself), "call each other"),
    Row("graph-billion-laughs", partial(_edited, _laughs), "written out"),
    Row("graph-many-nodes", _many_nodes, "saved_model.pb"),
    Row("graph-deep", _deep, "no SavedModel"),
    Row("graph-checkpoint-of-another", partial(_checkpoint, lambda tf: {"x": tf.zeros((4, 4))}), "model"),
    Row(
        "graph-checkpoint-of-texts",
        partial(_checkpoint, lambda tf: {"_CHECKPOINTABLE_OBJECT_GRAPH": tf.constant(["x"] * 1000)}),
        "model",
    ),
    Row("graph-checkpoint-shape", partial(_index, _wide), "model"),
    Row("graph-checkpoint-without-index", partial(_file, "variables/variables.index", None), "model"),
    Row("graph-checkpoint-without-data", partial(_file, _DATA, None), "checkpoint"),
    Row("graph-checkpoint-short", partial(_file, _DATA, b"short"), "checkpoint"),
    Row("graph-empty", partial(_file, "saved_model.pb", b""), "no SavedModel"),
    Row("graph-wrong-type", partial(_file, "saved_model.pb", b"hello"), "no SavedModel"),
]
