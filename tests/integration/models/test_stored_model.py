"""Structures without values, and the models that they become with stored variables."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import int4, weights
from modelpress.artifacts.weights import StoredTensor
from modelpress.models import stored_model, structure
from modelpress.models.graph_model import Signature
from modelpress.models.load import load
from modelpress.models.stored_model import StoredModel
from modelpress.models.types import Array, LoadedModel

ROWS = np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)


@dataclass(frozen=True)
class Stored:
    """A model in a folder: its structure file and weights.safetensors."""

    original: LoadedModel
    path: Path

    @property
    def signature(self) -> Signature:
        return Signature(self.original.inputs, self.original.outputs)

    def open(self, **other: Any) -> StoredModel:
        tensors = other.get("tensors") or weights.read(self.path.parent / "weights.safetensors")
        return stored_model.load(
            other.get("path", self.path), tensors, other.get("signature", self.signature)
        )


def store(model: LoadedModel, folder: Path, compute: str = "float32") -> Stored:
    folder.mkdir()
    file = structure.write(model, folder, compute)
    weights.save(
        (weights.plain(item.name, item.read()) for item in model.weights), folder / "weights.safetensors"
    )
    return Stored(model, folder / file)


def built(keras: Any) -> Any:
    """All that can go wrong in one network: shared layers, a nested model, states, attention, two outputs."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    scale = layers.Normalization()
    scale.adapt(ROWS * 3)
    inner_input = keras.Input((6, 6, 4))
    inner = keras.Model(inner_input, layers.BatchNormalization()(layers.Conv2D(4, 1)(inner_input)))
    hidden = layers.Conv2D(4, 3, activation="relu")(scale(image))
    hidden = layers.Dropout(0.5)(inner(inner(hidden)))
    rows = layers.Reshape((36, 4))(layers.DepthwiseConv2D(3, padding="same")(hidden))
    rows = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(rows, rows))
    state = layers.Bidirectional(layers.LSTM(5))(rows)
    score = layers.Dense(3, activation="softmax", name="score")(state)
    return keras.Model(image, {"score": score, "size": layers.Dense(1, name="size")(state)})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import keras

    folder = tmp_path_factory.mktemp("files")
    keras.utils.clear_session()  # names of layers count from the start
    keras.utils.set_random_seed(0)
    model = built(keras)
    model.save(folder / "model.keras")
    model.export(folder / "exported", verbose=False)
    return {"layers": folder / "model.keras", "graph": folder / "exported"}


@pytest.fixture(scope="module")
def originals(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    return {name: load(path, tmp_path_factory.mktemp(name)) for name, path in files.items()}


def call(model: Any) -> dict[str, Array]:
    found: dict[str, Array] = model.call({model.inputs[0].name: ROWS})
    return found


@pytest.mark.parametrize("kind", ["layers", "graph"])
def test_a_model_stored_as_it_is_computes_the_same(
    originals: dict[str, LoadedModel], tmp_path: Path, kind: str
) -> None:
    expected = call(originals[kind])
    found = call(store(originals[kind], tmp_path / "stored").open())
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert np.array_equal(values, found[name])


@pytest.mark.parametrize(("compute", "tolerance"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_layers_compute_in_half_of_the_bits_and_outputs_keep_their_dtype(
    originals: dict[str, LoadedModel], tmp_path: Path, compute: str, tolerance: float
) -> None:
    stored = store(originals["layers"], tmp_path / "stored", compute)
    model = stored.open()
    assert model.compute == compute
    expected, found = call(originals["layers"]), call(model)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype == np.float32
        assert 0 < np.abs(found[name] - values).max() < tolerance
    policies = {
        layer.name: layer.compute_dtype for layer in structure.read_layers(stored.path).network.layers
    }
    assert policies["conv2d_1"] == policies["multi_head_attention"] == policies["bidirectional"] == compute
    for fragile in ("normalization", "layer_normalization", "score", "size"):
        assert policies[fragile] == "float32"


def test_a_compiled_function_computes_the_same(originals: dict[str, LoadedModel], tmp_path: Path) -> None:
    model = store(originals["layers"], tmp_path / "stored").open()
    compiled = tf.function(model.function, jit_compile=True)
    for one, other in zip(compiled(tf.constant(ROWS)), call(model).values(), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_a_structure_has_no_values_and_nothing_of_training(
    originals: dict[str, LoadedModel], tmp_path: Path
) -> None:
    stored = store(originals["layers"], tmp_path / "stored")
    text = stored.path.read_text()
    assert "initializer" not in text
    assert "compile_config" not in text
    network = structure.read_layers(stored.path).network
    assert all(variable._value is None for variable in network.variables)
    graph = store(originals["graph"], tmp_path / "graph")
    assert sorted(path.name for path in graph.path.parent.iterdir()) == [
        "saved_model.pb",
        "weights.safetensors",
    ]


def test_integers_stay_integers_in_memory(originals: dict[str, LoadedModel], tmp_path: Path) -> None:
    stored = store(originals["layers"], tmp_path / "stored")
    tensors = list(weights.read(stored.path.parent / "weights.safetensors"))
    place, kernel = next((i, item) for i, item in enumerate(tensors) if item.shape == (3, 3, 3, 4))
    random = np.random.default_rng(0)
    for storage, low, high in (("int8", -128, 128), ("int4", -8, 8)):
        q = random.integers(low, high, kernel.shape).astype(np.int8)
        integers = StoredTensor(
            name=kernel.name,
            storage="int4" if storage == "int4" else "int8",
            shape=kernel.shape,
            data=int4.pack(q) if storage == "int4" else q,
            scale=random.random(4, dtype=np.float32) * 50 + 10,
            bias=np.array([0, 3, -2, 1], np.int32),
            axis=3,
        )
        floats = weights.plain(kernel.name, integers.values())
        models = [
            stored.open(tensors=[*tensors[:place], item, *tensors[place + 1 :]])
            for item in (integers, floats)
        ]
        held = {variable.name.partition(":")[0]: variable for variable in models[0].variables}
        assert held[kernel.name].dtype == (tf.uint8 if storage == "int4" else tf.int8)
        assert held[kernel.name].shape.num_elements() == integers.data.size
        for one, other in zip(call(models[0]).values(), call(models[1]).values(), strict=True):
            assert np.array_equal(one, other)


def test_numbers_of_a_scale_reach_every_row_of_an_odd_count() -> None:
    q, scale = np.arange(-8, 7, dtype=np.int8).reshape(5, 3), np.array([2, 4, 8], np.float32)
    tensor = StoredTensor("k", "int4", (5, 3), int4.pack(q), scale, np.zeros(1, np.int32), 1)
    value = tf.function(stored_model.Held(tensor).value)()
    assert np.array_equal(value.numpy(), q / scale)
    assert np.array_equal(value.numpy(), tensor.values())


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def in_layer(document: dict[str, Any], name: str, **settings: Any) -> None:
    layers = document["model"]["config"]["layers"]
    next(layer for layer in layers if layer["name"] == name)["config"].update(settings)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (lambda d: d.pop("variables"), Reason.INVALID_MODEL, "structure.json: cannot be read"),
        (lambda d: d["variables"].pop(), Reason.INVALID_MODEL, "builds other variables"),
        (lambda d: d["variables"][0].update(shape=[9]), Reason.INVALID_MODEL, "builds other variables"),
        (lambda d: d["variables"][0].update(tensor="other"), Reason.INVALID_MODEL, "has no variable"),
        (lambda d: in_layer(d, "size", units=10**9), Reason.INVALID_MODEL, "builds other variables"),
        (
            lambda d: d["model"]["config"]["layers"][2].update(class_name="Lambda"),
            Reason.UNSUPPORTED_MODEL,
            "Lambda",
        ),
        (
            lambda d: d["model"]["config"]["layers"][2].update(module="os"),
            Reason.UNSUPPORTED_MODEL,
            "code that is not in the file",
        ),
        (lambda d: in_layer(d, "reshape", target_shape=[7, 7]), Reason.UNSUPPORTED_MODEL, "cannot be built"),
    ],
)
def test_a_structure_that_was_changed_is_refused(
    originals: dict[str, LoadedModel], tmp_path: Path, change: Any, reason: Reason, said: str
) -> None:
    stored = store(originals["layers"], tmp_path / "stored")
    edit(stored.path, change)
    with pytest.raises(DataError, match=said) as caught:
        stored.open()
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["layers", "graph"])
def test_what_does_not_belong_together_is_refused(
    originals: dict[str, LoadedModel], tmp_path: Path, kind: str
) -> None:
    stored = store(originals[kind], tmp_path / "stored")
    tensors = list(weights.read(stored.path.parent / "weights.safetensors"))
    with pytest.raises(DataError, match=r"is stored|are stored"):
        stored.open(tensors=tensors[:-1])
    with pytest.raises(DataError, match="has no variable"):
        stored.open(tensors=[weights.plain(tensors[0].name, np.zeros(77, np.float32)), *tensors[1:]])
    with pytest.raises(DataError, match="has no variable more of shape"):
        stored.open(tensors=[*tensors, weights.plain("more", np.zeros(3, np.float32))])
    with pytest.raises(DataError, match="has 1 inputs and 2 outputs, the manifest 1 and 1"):
        stored.open(signature=Signature(stored.signature.inputs, stored.signature.outputs[:1]))


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b"{" * 5000], ids=repr)
@pytest.mark.parametrize("file", ["structure.json", "saved_model.pb"])
def test_what_is_no_structure_is_refused(
    originals: dict[str, LoadedModel], tmp_path: Path, file: str, content: bytes
) -> None:
    stored = store(originals["layers"], tmp_path / "stored")
    broken = tmp_path / "stored" / file
    broken.write_bytes(content)
    with pytest.raises(DataError, match=file) as caught:
        stored.open(path=broken)
    assert caught.value.reason is Reason.INVALID_MODEL
