"""Good models that are refused: with the reason UnsupportedModel and with what their author can do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpress.api.conditions import Reason
from tests.integration.models.test_keras_files import rewritten
from tests.support.hostile.refused_models import refused
from tests.support.models import of_formats as format_models
from tests.support.models.trained import DigitsModels

EXPORT = 'model.export("model_dir")'


@pytest.mark.parametrize(
    ("module", "class_name", "said"),
    [
        ("keras.layers", "Lambda", EXPORT),
        ("keras.layers", "TFSMLayer", EXPORT),
        ("keras.layers", "TorchModuleWrapper", EXPORT),
        ("keras.layers", "StringLookup", "look strings up before the model"),
        ("keras.layers", "TextVectorization", "split text before the model"),
        (None, "TFOpLambda", "tf-keras for Keras 2"),
        (None, "SlicingOpLambda", "tf-keras for Keras 2"),
        (None, "LocallyConnected1D", "tf-keras for Keras 2"),
        (None, "MyOwnLayer", EXPORT),
        ("keras.layers", "OfAnotherRelease", EXPORT),
        (None, "PruneLowMagnitude", "strip_pruning(model)"),
        (None, "ClusterWeights", "strip_clustering(model)"),
        (None, "QuantizeLayer", "is quantized already"),
        (None, "QuantizeWrapperV2", "is quantized already"),
        ("keras.quantizers", "Int8QuantizationConfig", "is quantized already"),
        ("keras.quantizers", "Int4QuantizationConfig", "is quantized already"),
    ],
)
def test_a_layer_that_needs_more_than_the_file(
    digits_models: DigitsModels, tmp_path: Path, module: str | None, class_name: str, said: str
) -> None:
    def edit(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][1]
        layer.update({"class_name": class_name, "registered_name": None, "module": module})

    path = rewritten(digits_models.functional, tmp_path / "m.keras", edit)
    message = refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)
    assert class_name in message
    assert said in message


def quantized(keras: Any, folder: Path) -> Path:
    x = keras.Input((16,))
    model = keras.Model(x, keras.layers.Dense(8)(keras.layers.Dense(64)(x)))
    model.quantize("int8")
    model.save(folder / "q.keras")
    return folder / "q.keras"


def quantized_and_exported(keras: Any, folder: Path) -> Path:
    keras.saving.load_model(quantized(keras, folder)).export(str(folder / "exported"), verbose=False)
    return folder / "exported"


def unbuilt(keras: Any, folder: Path) -> Path:
    keras.Sequential([keras.layers.Dense(3)]).save(folder / "m.keras")
    return folder / "m.keras"


def stateful(keras: Any, folder: Path) -> Path:
    x = keras.Input((5, 4), batch_size=2)
    layer = keras.layers.Bidirectional(keras.layers.GRU(3, stateful=True))
    keras.Model(x, layer(x)).save(folder / "m.keras")
    return folder / "m.keras"


def only_eager(keras: Any, folder: Path) -> Path:
    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.UpSampling2D(2, interpolation="bilinear")(x)).save(folder / "m.keras")
    return folder / "m.keras"


def deep(keras: Any, folder: Path) -> Path:
    x = hidden = keras.Input((2,))
    limit = sys.getrecursionlimit()
    for _ in range(1200):
        hidden = keras.layers.ReLU()(hidden)
    sys.setrecursionlimit(100_000)
    try:
        keras.Model(x, hidden).save(folder / "m.keras")
    finally:
        sys.setrecursionlimit(limit)
    return folder / "m.keras"


def ragged(_keras: Any, folder: Path) -> Path:
    import tensorflow as tf

    def forward(x: Any) -> Any:
        return {"y": tf.reduce_sum(x, axis=1)}

    module = tf.Module()
    module.f = tf.function(forward, input_signature=[tf.RaggedTensorSpec([None, None], tf.float32)])
    tf.saved_model.save(module, str(folder / "m"), signatures=module.f)
    return folder / "m"


def ragged_result(_keras: Any, folder: Path) -> Path:
    import tensorflow as tf

    def forward(x: Any) -> Any:
        return {"y": tf.RaggedTensor.from_tensor(x)}

    module = tf.Module()
    module.f = tf.function(forward, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    tf.saved_model.save(module, str(folder / "m"), signatures=module.f)
    return folder / "m"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (quantized, "is quantized already"),
        (quantized_and_exported, "is quantized already"),
        (unbuilt, "start it with keras.Input"),
        (stateful, "keeps state between calls"),
        (only_eager, "the layer UpSampling2D cannot be computed in a graph: "),
        (deep, EXPORT),
        (ragged, "takes a RaggedTensor"),
        (ragged_result, "y is a RaggedTensor"),
    ],
)
def test_a_model_that_cannot_be_served_as_it_is(
    tmp_path: Path, make: Callable[[Any, Path], Path], said: str
) -> None:
    import keras

    message = refused(make(keras, tmp_path), tmp_path / "w", Reason.UNSUPPORTED_MODEL)
    assert said in message
    assert "user code" not in message


def test_the_version_of_keras_2_is_named_where_its_file_does_not_load(tmp_path: Path) -> None:
    """A setting that neither Keras has."""
    import h5py

    path = format_models.keras_2_h5(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.15.0"
        text = file.attrs["model_config"]
        file.attrs["model_config"] = text.replace('"units"', '"neurons"')
    message = refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)
    assert "Keras 2.15.0 wrote it" in message
    assert "tf-keras for Keras 2" in message


@pytest.mark.parametrize("name", ["my layer", "größe", "a[0]", "a:b", "-", "_x", "日本"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_name_that_no_graph_can_have_is_refused_with_the_layer(
    tmp_path: Path, name: str, suffix: str
) -> None:
    import keras

    x = keras.Input((4,), name="in put")  # that of an input may be anything
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name=name)])
    path = tmp_path / f"m.{suffix}"
    keras.Model(x, inner(x)).save(path)
    assert f"layer {name!r} cannot be" in refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)


@pytest.mark.parametrize("backend", ["jax", "torch", "no such"])
def test_the_shells_backend_of_keras_does_no_harm(
    digits_models: DigitsModels, tmp_path: Path, backend: str
) -> None:
    program = (
        "import sys, pathlib; from modelpress.models.load import load;"
        "print(load(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])).kind)"
    )
    command = [sys.executable, "-c", program, str(digits_models.functional), str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "KerasLayers" in done.stdout
