"""Names of inputs, outputs and weights: none twice, and those that were unique stay as they are."""

from pathlib import Path
from typing import Any

import numpy as np

from modelpress.compression.formats.litert.converter import Converter
from modelpress.models.load import load
from tests.support.serving.artifacts import make_artifact, worker


def heads(folder: Path) -> Path:
    """Return a model whose layer "head" is called twice, beside one named as the second call would be."""
    import keras

    row = keras.Input((8,), name="x")
    head, other = keras.layers.Dense(4, name="head"), keras.layers.Dense(2, name="head_1")
    late = keras.layers.Dense(8, activation="relu", name="late")(row)
    keras.Model(row, [head(row), head(late), other(row)]).save(folder / "heads.keras")
    return folder / "heads.keras"


def test_every_output_of_a_layer_that_is_used_twice_is_answered(tmp_path: Path) -> None:
    model = load(heads(tmp_path), tmp_path / "work")
    assert [(spec.name, spec.shape) for spec in model.outputs] == [
        ("head", (-1, 4)),
        ("head_2", (-1, 4)),
        ("head_1", (-1, 2)),
    ]
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    expected = model.call({"x": rows})
    path = tmp_path / "float32.tflite"
    with Converter(tmp_path) as converter:
        converter.convert(model.export(tmp_path / "export"), None, path)
    artifact = make_artifact(path, tmp_path / "artifact", ["x"], [spec.name for spec in model.outputs])
    tensor = {"name": "x", "datatype": "FP32", "shape": [3, 8], "data": rows.tolist()}
    with worker(artifact, tmp_path) as running:
        answer = running.infer({"inputs": [tensor]}).json()["outputs"]
        predicted = running.predict({"inputs": rows.tolist()}).json()["outputs"]
    assert [output["name"] for output in answer] == ["head", "head_2", "head_1"]
    assert set(predicted) == set(expected)
    for output in answer:
        values = np.reshape(output["data"], output["shape"])
        np.testing.assert_allclose(values, expected[output["name"]], atol=1e-5)
        np.testing.assert_allclose(predicted[output["name"]], expected[output["name"]], atol=1e-5)


def test_two_keys_of_one_output_are_both_answered(tmp_path: Path) -> None:
    import keras

    row = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(4, name="hidden")(row)
    outputs = {"c": hidden, "a": hidden, "b": keras.layers.Dense(2)(hidden)}
    keras.Model(row, outputs).save(tmp_path / "model.keras")
    model = load(tmp_path / "model.keras", tmp_path / "work")
    answer = model.call({"x": np.ones((2, 8), np.float32)})
    assert {name: values.shape for name, values in answer.items()} == {"a": (2, 4), "b": (2, 2), "c": (2, 4)}


def test_weights_of_variables_with_one_name_are_told_apart(tmp_path: Path) -> None:
    import tensorflow as tf

    module: Any = tf.Module()
    module.variables_in_order = [
        tf.Variable(np.full((4, 4), size, np.float32), name=name)
        for size, name in enumerate(["a", "a", "a_1"])
    ]

    def forward(x: Any) -> Any:
        for variable in module.variables_in_order:
            x = tf.matmul(x, variable)
        return {"y": x}

    module.forward = tf.function(forward, input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.forward)
    names = {
        weight.name: weight.read()[0, 0] for weight in load(tmp_path / "model", tmp_path / "work").weights
    }
    assert names == {"a": 0, "a_2": 1, "a_1": 2}
