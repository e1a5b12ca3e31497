"""Counting the parts of a SavedModel message without parsing it."""

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.models.safety import wire_count


def message() -> bytes:
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.graph_def.node.add(name="a", op="NoOp").attr["x"].i = 2**40
    graph.graph_def.node.add(name="b", op="NoOp", input=["a"])
    function = graph.graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="c", op="NoOp")
    graph.object_graph_def.nodes.add().variable.name = "v"
    data: bytes = model.SerializeToString()
    return data


def test_nodes_functions_objects_and_what_holds_them_are_counted() -> None:
    # the graph, its two definitions, the library, a function, three nodes and an object
    assert wire_count.parts(memoryview(message()), 100) == 9


def test_counting_ends_at_the_limit() -> None:
    assert wire_count.parts(memoryview(message()), 4) == 5


@pytest.mark.parametrize("length", range(1, 20))
def test_a_message_that_is_cut_off(length: int) -> None:
    with pytest.raises(ValueError, match=r"cut off|no message"):
        wire_count.parts(memoryview(message()[:-length]), 100)


def test_an_unknown_kind_of_field() -> None:
    with pytest.raises(ValueError, match="no message"):
        wire_count.parts(memoryview(b"\x0f"), 100)
