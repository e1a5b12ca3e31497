"""The lists of accepted and refused layers are complete, and the settings of compiled models are not read."""

import json
import zipfile
from pathlib import Path

import keras

from modelpress.models.keras import allowed_layers
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
