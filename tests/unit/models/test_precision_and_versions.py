"""Layers that keep state, and models of mixed precision: what is looked at before they are loaded."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.models.keras import precision
from modelpress.models.keras import versions as keras_versions


def lstm(**settings: Any) -> dict[str, Any]:
    inner = {"class_name": "LSTM", "config": {"name": "inner", "units": 3, **settings}}
    outer = {"class_name": "Bidirectional", "config": {"name": "outer", "layer": inner}}
    return {"class_name": "Functional", "config": {"layers": [outer]}}


def test_a_layer_that_keeps_state_is_refused_also_inside_a_wrapper() -> None:
    keras_versions.refuse_state(lstm(stateful=False), "model.h5")
    with pytest.raises(DataError, match=r"^model\.h5: LSTM 'inner' keeps state between calls") as caught:
        keras_versions.refuse_state(lstm(stateful=True), "model.h5")
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        "bfloat16",
        {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}},
        {"class_name": "Policy", "config": {"name": "mixed_float16"}},
    ],
)
def test_layers_of_half_precision_compute_in_float32_and_inputs_stay(policy: Any) -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "dtype": "float16"}},
        {"class_name": "Dense", "config": {"name": "y", "dtype": policy}},
        {"class_name": "Embedding", "config": {"name": "z", "dtype": "float64"}},
        {"class_name": "Dense", "config": {"name": "w", "dtype": {"class_name": "DTypePolicy", "config": 3}}},
    ]
    keras_versions.widen({"class_name": "Functional", "config": {"layers": layers}})
    dtypes = [layer["config"]["dtype"] for layer in layers]  # type: ignore[index]
    assert dtypes[:3] == ["float16", "float32", "float64"]


def dense(name: str) -> dict[str, Any]:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    return {"class_name": "Dense", "config": {"name": name, "dtype": policy}}


def holder(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **settings}}


def test_layers_whose_results_are_outputs_stay_at_float32_also_inside_models_and_wrappers() -> None:
    layers = [
        dense("first"),
        holder("Sequential", "sequential", layers=[dense("a"), dense("b")]),
        holder("Functional", "inner", layers=[dense("d"), dense("c")], output_layers=[["d", 0, 0]]),
        holder("TimeDistributed", "wrapped", layer=dense("e")),
        holder("TimeDistributed", "between", layer=dense("f")),
    ]
    outputs = [[name, 0, 0] for name in ("sequential", "inner", "wrapped")]
    config = holder("Functional", "model", layers=layers, output_layers=outputs)
    precision.lower(config, "bfloat16")
    policies = {
        item["config"]["name"]: item["config"]["dtype"]["config"]["name"]
        for item in keras_versions.objects(config)
        if item["class_name"] == "Dense"
    }
    low = "mixed_bfloat16"
    assert policies == {
        **{"first": low, "a": low, "c": low, "f": low},
        **{"b": "float32", "d": "float32", "e": "float32"},
    }
