"""The calls and constants of a Keras structure: what is computed, or searched for ever, while it is read."""

from typing import Any

import pytest

from modelpress.api.errors import DataError
from modelpress.models.keras import nodes

TENSOR = {
    "class_name": "__keras_tensor__",
    "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["x", 0, 0]},
}
SLICE = {"class_name": "__slice__", "config": {"start": TENSOR, "stop": None, "step": None}}


@pytest.mark.parametrize(
    "node",
    [
        {"args": [TENSOR], "kwargs": {}},
        {"args": [[1.0, TENSOR], {"axis": 1}], "kwargs": {}},
        {"args": [3], "kwargs": {"x": {"first": TENSOR}}},
        {"args": [TENSOR, [SLICE]], "kwargs": {}},
        [["x", 0, 0, {}]],  # as Keras 2 wrote it
        [["x", 0, 0], ["y", 0, 0]],
    ],
)
def test_a_call_with_a_tensor_is_accepted(node: Any) -> None:
    nodes.check_calls({"inbound_nodes": [node]}, "here")


@pytest.mark.parametrize(
    "node",
    [
        {},
        [],
        None,
        "x",
        [{}],
        {"args": [], "kwargs": {}},
        {"args": [0, 10**9], "kwargs": {}},
        {"args": [SLICE], "kwargs": {}},
        {"args": [{"class_name": "Dense", "config": {"x": TENSOR}}], "kwargs": {}},
    ],
)
def test_a_call_without_one_that_keras_sees_is_refused(node: Any) -> None:
    with pytest.raises(DataError, match="constants alone"):
        nodes.check_calls({"inbound_nodes": [{"args": [TENSOR], "kwargs": {}}, node]}, "here")


@pytest.mark.parametrize("key", ["encoder/layer_0/dense", "encoder/.*", ".*", r"a\.b\-c/.*/query", ""])
def test_paths_of_layers_are_accepted_as_keys_of_dtypes(key: str) -> None:
    nodes.check_policies({"config": {"policy_map": {key: "float32"}}}, "here")


@pytest.mark.parametrize(
    "key", ["(a*)*b", "a+", "[ab]", "a|b", ".*.*", ".*/.*b", "a{1,99}", "a?", r"\w", "(?:)", "a*"]
)
def test_other_regular_expressions_are_refused(key: str) -> None:
    with pytest.raises(DataError, match="is not the path of a layer"):
        nodes.check_policies({"config": {"policy_map": {key: "float32"}}}, "here")


@pytest.mark.parametrize(
    "dtype", ["U100000000", "S9", "V1000000000", "O", "object", "M8", "<f4", None, 1, "void"]
)
def test_a_constant_of_anything_but_numbers_is_refused(dtype: Any) -> None:
    with pytest.raises(DataError, match="has the dtype"):
        nodes.check_constant({"config": {"value": [0], "dtype": dtype}}, "model.keras")
