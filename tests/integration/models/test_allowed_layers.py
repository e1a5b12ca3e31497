"""The lists of layers and operations are complete, and the settings of compiled models are not read."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from modelpress.models.keras import allowed_layers, allowed_operations
from modelpress.models.load import load


def test_every_layer_of_keras_is_accepted_or_refused() -> None:
    names = {
        name
        for name, kind in vars(keras.layers).items()
        if isinstance(kind, type) and issubclass(kind, keras.Layer) and kind is not keras.Layer
    }
    assert names - allowed_layers.ALLOWED - allowed_layers.REFUSED.keys() == set()
    assert allowed_layers.ALLOWED.isdisjoint(allowed_layers.REFUSED)


def test_a_compiled_model_inside_another_loads_without_its_losses(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="inner")
    inner.compile("adam", "mse", metrics=["mae"])
    source = keras.Input((4,), name="x")
    outer = keras.Model(source, keras.layers.Dense(2, name="y")(inner(source)))
    outer.compile("adam", "mse")
    outer.save(tmp_path / "plain.keras")
    hostile = {"module": "os", "class_name": "system", "config": {"command": f"touch {tmp_path}/marker"}}
    with (
        zipfile.ZipFile(tmp_path / "plain.keras") as old,
        zipfile.ZipFile(tmp_path / "m.keras", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                layer = next(item for item in config["config"]["layers"] if item["config"]["name"] == "inner")
                assert layer["compile_config"]
                layer["compile_config"]["loss"] = config["compile_config"]["loss"] = hostile
                content = json.dumps(config).encode()
            new.writestr(name, content)
    model = load(tmp_path / "m.keras", tmp_path / "w")
    assert len(model.weights) == 4
    assert not (tmp_path / "marker").exists()


def test_every_operation_of_keras_is_accepted_or_refused() -> None:
    names = {kind.__name__ for kind in _below(keras.Operation) if not issubclass(kind, keras.Layer)}
    assert names - allowed_operations.ALLOWED - allowed_operations.REFUSED == set()
    assert allowed_operations.ALLOWED.isdisjoint(allowed_operations.REFUSED)


def _below(kind: type) -> Iterator[type]:
    subclasses: list[type] = kind.__subclasses__()
    for below in subclasses:
        if below.__module__.startswith("keras."):
            yield below
            yield from _below(below)


def test_a_model_of_operations_and_constants_loads(tmp_path: Path) -> None:
    ops = keras.ops
    x = keras.Input((8,), name="x")
    scaled = x / 127.5 - np.arange(8, dtype=np.float32)
    wide = ops.concatenate([scaled, ops.tile(ops.flip(x, axis=1), [1, 2])], axis=-1)
    kept = ops.where(wide[:, 2:-2] > 0, wide[:, 2:-2], ops.exp(-ops.square(wide[:, 2:-2])))
    attended = keras.layers.MultiHeadAttention(2, 4)(query=kept[:, :, None], value=x[:, :, None])
    model = keras.Model(x, ops.squeeze(ops.sum(attended, axis=1), axis=-1))
    model.save(tmp_path / "m.keras")
    loaded = load(tmp_path / "m.keras", tmp_path / "w")
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.testing.assert_allclose(
        next(iter(loaded.call({"x": rows}).values())), model.predict(rows, verbose=0), rtol=1e-5
    )
