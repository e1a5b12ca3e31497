"""Structures of Keras 2 in the form of Keras 3."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.models.keras.keras_2.settings import hard_sigmoid, modern_settings
from modelpress.models.keras.keras_2.structure import modernized


def layer(class_name: str, name: str, *calls: Any, **settings: Any) -> dict[str, Any]:
    config = {"name": name, **settings}
    return {"class_name": class_name, "config": config, "name": name, "inbound_nodes": list(calls)}


def functional(*layers: Any, name: str = "model", output: str | None = None) -> dict[str, Any]:
    last = output or layers[-1]["name"]
    ends = {"input_layers": [[layers[0]["name"], 0, 0]], "output_layers": [[last, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": name, "layers": list(layers), **ends}}


X = layer("InputLayer", "x", batch_input_shape=[None, 4], dtype="float32")


def histories(value: Any) -> list[Any]:
    """Return what the tensors in a call are, in order."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return [value["config"]["keras_history"]]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in items for found in histories(item)]


def calls_of(model: dict[str, Any], name: str) -> list[Any]:
    new = next(item for item in model["config"]["layers"] if item["name"] == name)
    return [histories(node) for node in new["inbound_nodes"]]


@pytest.mark.parametrize("module", [None, "keras.layers", "tf_keras.layers", "keras.src.layers"])
def test_keras_own_layers_have_the_module_of_keras_3(module: str | None) -> None:
    dense = layer("Dense", "y", [["x", 0, 0, {}]], units=2)
    dense |= {} if module is None else {"module": module, "registered_name": None}
    found = modernized(functional(X, dense))["config"]["layers"]
    assert [item["module"] for item in found] == ["keras.layers", "keras.layers"]
    assert found[0]["config"]["batch_shape"] == [None, 4]


def test_a_class_of_somebody_keeps_its_module_and_name() -> None:
    mine = layer("Mine", "y", [["x", 0, 0, {}]]) | {"module": "os", "registered_name": "pkg>Mine"}
    found = modernized(functional(X, mine))["config"]["layers"][1]
    assert (found["module"], found["registered_name"]) == ("os", "pkg>Mine")


def test_calls_of_nested_models_are_counted_from_0() -> None:
    inner = functional(X, layer("Dense", "d", [["x", 0, 0, {}]]), name="inner")
    sequential = {"class_name": "Sequential", "config": {"name": "s", "layers": [X]}}
    model = functional(
        X,
        {**inner, "name": "inner", "inbound_nodes": [[["x", 0, 0, {}]], [["s", 1, 0, {}]]]},
        {**sequential, "name": "s", "inbound_nodes": [[["inner", 1, 0, {}]]]},
        layer("Add", "y", [["inner", 2, 0, {}], ["s", 1, 0, {}]]),
    )
    model["config"]["output_layers"] = [["inner", 2, 0], ["s", 1, 0], ["y", 0, 0]]
    found = modernized(model)
    assert calls_of(found, "inner") == [[["x", 0, 0]], [["s", 0, 0]]]
    assert calls_of(found, "s") == [[["inner", 0, 0]]]
    assert calls_of(found, "y") == [[["inner", 1, 0], ["s", 0, 0]]]
    assert found["config"]["output_layers"] == [["inner", 2, 0], ["s", 0, 0], ["y", 0, 0]]


def test_tensors_among_the_arguments_are_tensors() -> None:
    attention = layer("MultiHeadAttention", "y", [["x", 0, 0, {"value": ["x", 0, 0], "mask": None}]])
    node = modernized(functional(X, attention))["config"]["layers"][1]["inbound_nodes"][0]
    assert node["kwargs"].keys() == {"value"}
    assert histories(node) == [["x", 0, 0], ["x", 0, 0]]


def test_names_with_a_slash_are_renamed_everywhere() -> None:
    model = functional(X, layer("Dense", "a/b", [["x", 0, 0, {}]]), layer("ReLU", "y", [["a/b", 0, 0, {}]]))
    found = modernized(model)
    assert calls_of(found, "y") == [[["a.b", 0, 0]]]
    assert found["config"]["layers"][1]["config"]["name"] == "a.b"


def test_a_sequential_model_without_an_input_gets_one() -> None:
    first = layer("Dense", "y", batch_input_shape=[None, 4], dtype="float32")
    for config in ([first], {"name": "model", "layers": [first]}):
        layers = modernized({"class_name": "Sequential", "config": config})["config"]["layers"]
        assert [item["class_name"] for item in layers] == ["InputLayer", "Dense"]
        assert layers[0]["config"]["batch_shape"] == [None, 4]
        assert "batch_input_shape" not in layers[1]["config"]


@pytest.mark.parametrize(
    ("class_name", "setting", "value"),
    [
        ("DepthwiseConv2D", "groups", 1),
        ("LSTM", "time_major", False),
        ("MultiHeadAttention", "query_shape", [None, 4, 4]),
        ("RandomZoom", "rng_type", "stateless"),
        ("SeparableConv2D", "kernel_regularizer", {"class_name": "L2"}),
        ("SpatialDropout2D", "trainable", False),
        ("Dense", "kernel_initializer", {"class_name": "GlorotUniform"}),
    ],
)
def test_what_changes_nothing_is_dropped(class_name: str, setting: str, value: Any) -> None:
    assert modern_settings(class_name, {"name": "y", setting: value}) == {"name": "y"}


@pytest.mark.parametrize(
    ("class_name", "setting", "value"),
    [
        ("DepthwiseConv2D", "groups", 2),
        ("LSTM", "time_major", True),
        ("MultiHeadAttention", "softmax_robust_masking", True),
    ],
)
def test_what_changes_the_model_is_refused_with_the_way_out(
    class_name: str, setting: str, value: Any
) -> None:
    with pytest.raises(DataError, match=rf"{class_name} 'y' has {setting}=.*tf-keras for Keras 2") as caught:
        modern_settings(class_name, {"name": "y", setting: value})
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_the_hard_sigmoid_of_keras_2_is_not_that_of_keras_3() -> None:
    found = modern_settings("LSTM", {"recurrent_activation": "hard_sigmoid", "activation": "tanh"})
    assert found == {"recurrent_activation": hard_sigmoid(), "activation": "tanh"}


def test_a_gru_of_the_first_releases_resets_before() -> None:
    assert modern_settings("GRU", {})["reset_after"] is False
    assert modern_settings("GRU", {"reset_after": True})["reset_after"] is True


@pytest.mark.parametrize(
    "broken",
    [
        {"class_name": "Functional", "config": {}},
        {"class_name": "Functional", "config": {"layers": [{}]}},
        {"class_name": "Functional", "config": {"layers": 5, "input_layers": [], "output_layers": []}},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": "x"}]}},
        {"class_name": "Sequential", "config": [5]},
        functional(X, layer("Dense", "y", 5)),
        functional(X, layer("Dense", "y", [["x", -1, 0, {}]])),
        functional(X, layer("Dense", "y", [["x", 0, 0, 5]])),
        functional(X, layer("Dense", "y", [[{}, 0, 0]])),
    ],
)
def test_what_is_no_structure_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="is not that of a Keras 2 model") as caught:
        modernized(broken)
    assert caught.value.reason is Reason.INVALID_MODEL
