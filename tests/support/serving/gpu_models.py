"""Writes artifacts for GPU devices and their outputs on one device. Usage: gpu_models.py FOLDER.

FOLDER/NAME-SCHEME is an artifact; FOLDER/NAME-SCHEME.npz has ROWS rows of inputs (input_0, ...) and what the
stored model computes of them without a compiler, in one batch (output_0, ...).
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from modelpress.api.schemes import Scheme
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import ArtifactManifest, TensorSpec, save
from modelpress.artifacts.manifest import Form as FormKind
from modelpress.compression.formats.base import Format, QuantizationTask
from modelpress.compression.formats.tensorflow.backend import TensorFlowFormats
from modelpress.models.load import load
from modelpress.models.types import Arrays, LoadedModel

ROWS = 65
RANDOM = np.random.default_rng(5)


def mlp() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )


def cnn() -> Any:
    """Convolutions with skip connections."""
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    second = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(first))
    joined = layers.Activation("relu")(layers.Add()([first, second]))
    third = layers.DepthwiseConv2D(3, padding="same")(joined)
    joined = layers.Concatenate()([joined, third, first])
    flat = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(joined))
    return keras.Model(image, layers.Dense(6, name="scores")(flat))


def attention() -> Any:
    layers = keras.layers
    rows = keras.Input((12, 16))
    hidden = layers.LayerNormalization()(layers.Dense(16)(rows))
    hidden = layers.Add()([rows, layers.MultiHeadAttention(4, 4)(hidden, hidden)])
    inner = layers.EinsumDense("abc,cd->abd", (12, 32), bias_axes="d", activation="gelu")(hidden)
    hidden = layers.Add()([hidden, layers.Dense(16)(inner)])
    return keras.Model(rows, layers.Dense(4, name="scores")(layers.Flatten()(hidden)))


def text() -> Any:
    layers = keras.layers
    words = keras.Input((10,), dtype="int32")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(100, 16)(words))
    return keras.Model(words, layers.Dense(3, name="scores")(layers.Dense(16, activation="relu")(hidden)))


def two() -> Any:
    """Two inputs of different shapes and two outputs; one input goes to the end, one output comes early."""
    layers = keras.layers
    left, right = keras.Input((8,), name="left"), keras.Input((4,), name="right")
    first = layers.Dense(16, activation="tanh")(left)
    early = layers.Dense(2, name="early")(first)
    second = layers.Dense(16, activation="relu")(layers.Concatenate()([first, layers.Dense(8)(right)]))
    late = layers.Dense(5, name="late")(layers.Concatenate()([second, right]))
    return keras.Model([left, right], [early, late])


def free() -> Any:
    """Sequences of any length."""
    layers = keras.layers
    rows = keras.Input((None, 6))
    hidden = layers.Conv1D(8, 3, padding="same", activation="relu")(rows)
    return keras.Model(rows, layers.Dense(3, name="scores")(layers.GlobalMaxPooling1D()(hidden)))


def masked() -> Any:
    """A mask goes along with the rows, from the embedding to the recurrent layer."""
    layers = keras.layers
    words = keras.Input((7,), dtype="int32")
    hidden = layers.LSTM(6)(layers.Dropout(0.1)(layers.Embedding(50, 8, mask_zero=True)(words)))
    return keras.Model(words, layers.Dense(3, name="scores")(layers.Dense(8, activation="relu")(hidden)))


def transformer() -> Any:
    """Attention takes the mask off what it reads, which is what dropout read too."""
    layers = keras.layers
    words = keras.Input((7,), dtype="int32")
    embedded = layers.Embedding(50, 8, mask_zero=True)(words)
    dropped = layers.Dropout(0.1)(embedded)
    hidden = layers.Add()([embedded, layers.MultiHeadAttention(2, 4)(dropped, dropped)])
    hidden = layers.LayerNormalization()(hidden)
    hidden = layers.MultiHeadAttention(2, 4)(embedded, hidden)
    hidden = layers.GlobalAveragePooling1D()(layers.Dense(16, activation="relu")(hidden))
    return keras.Model(words, layers.Dense(4, name="scores")(layers.Dense(8, activation="relu")(hidden)))


def attended() -> Any:
    """A mask ends at attention in the middle of what could be cut."""
    layers = keras.layers
    words = keras.Input((7,), dtype="int32")
    embedded = layers.Embedding(50, 8, mask_zero=True)(words)
    hidden = layers.Add()([embedded, layers.MultiHeadAttention(2, 4)(embedded, embedded)])
    hidden = layers.GlobalAveragePooling1D()(layers.Dense(16, activation="relu")(hidden))
    return keras.Model(words, layers.Dense(4, name="scores")(layers.Dense(8, activation="relu")(hidden)))


def recurrent() -> Any:
    """Three layers, of which a mesh cannot compute the second."""
    layers = keras.layers
    series = keras.Input((7, 8))
    return keras.Model(series, layers.Dense(4)(layers.LSTM(6)(layers.Dense(16)(series))))


def nested() -> Any:
    """A model inside another one, used twice, and one in it again."""
    layers = keras.layers
    image = keras.Input((8, 8, 4))
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same"), layers.ReLU()])
    middle_input = keras.Input((8, 8, 4))
    middle = keras.Model(middle_input, layers.Add()([inner(middle_input), middle_input]))
    hidden = layers.Flatten()(middle(layers.LayerNormalization()(middle(image))))
    return keras.Model(image, layers.Dense(3, name="scores")(hidden))


def normalized() -> Any:
    """Layers that compute with constants, not with variables."""
    layers = keras.layers
    scale = layers.Normalization()
    scale.adapt(RANDOM.standard_normal((50, 6)).astype("float32") * 3)
    rows = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu")(layers.Rescaling(0.5, offset=0.1)(scale(rows)))
    return keras.Model(rows, layers.Dense(4, name="scores")(hidden))


MODELS = {
    build.__name__: build
    for build in (
        mlp,
        cnn,
        attention,
        text,
        two,
        free,
        masked,
        transformer,
        attended,
        recurrent,
        nested,
        normalized,
    )
}
SCHEMES = {
    "float32": None,
    "int8": Scheme.INT8_WEIGHTS,
    "int4": Scheme.INT4_WEIGHTS,
    "float16": Scheme.FLOAT16,
    "bfloat16": Scheme.BFLOAT16,
}


class Strings(tf.Module):  # type: ignore[misc]
    """A graph with an operator that XLA does not know."""

    def __init__(self) -> None:
        self.kernel = tf.Variable(tf.random.normal((4, 3), seed=1))

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="rows")]
    )
    def serve(self, rows: Any) -> dict[str, Any]:
        best = tf.unique_with_counts(tf.reshape(rows, [-1])).y  # as many as there are different numbers
        return {"scores": rows @ self.kernel + 0.0 * tf.reduce_sum(best)}


class Picky(tf.Module):  # type: ignore[misc]
    """A graph of any width that refuses rows of zeros."""

    def __init__(self) -> None:
        self.factor = tf.Variable(2.0)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, None], tf.float32, name="rows")]
    )
    def serve(self, rows: Any) -> dict[str, Any]:
        check = tf.debugging.Assert(tf.reduce_any(rows != 0.0), ["rows are zeros"])
        with tf.control_dependencies([check]):
            return {"scores": tf.reduce_sum(rows, axis=1, keepdims=True) * self.factor}


def inputs_of(model: LoadedModel) -> Arrays:
    found = {}
    for spec in model.inputs:
        shape = (ROWS, *(9 if size < 0 else size for size in spec.shape[1:]))
        if spec.dtype == "int32":
            found[spec.name] = RANDOM.integers(0, 50, shape).astype("int32")
        else:
            found[spec.name] = RANDOM.standard_normal(shape).astype(spec.dtype)
    return found


def write(model: LoadedModel, format: Format, inputs: Arrays, folder: Path) -> None:
    folder.mkdir()
    format.copy_to(folder)
    outputs = format.model.call(inputs)
    arrays = {f"input_{place}": inputs[spec.name] for place, spec in enumerate(model.inputs)}
    arrays |= {f"output_{place}": outputs[spec.name] for place, spec in enumerate(model.outputs)}
    np.savez(folder.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
    specs = [
        tuple(TensorSpec(name=spec.name, shape=spec.shape, dtype=spec.dtype) for spec in side)
        for side in (model.inputs, model.outputs)
    ]
    manifest = ArtifactManifest(
        form=FormKind.TENSORFLOW,
        model_file=format.files[0],
        files={name: file_sha256(folder / name) for name in format.files},
        compute_dtype=format.compute_dtype,
        inputs=specs[0],
        outputs=specs[1],
        artifact_key="0" * 64,
        source_digest="sha256:" + "1" * 64,
        recipe_hash="recipe",
        compressor_version="0",
        original_bytes=1,
        compressed_bytes=format.bytes,
    )
    save(manifest, folder)


def main(folder: Path) -> None:
    keras.utils.set_random_seed(3)
    sources = {}
    for name, build in MODELS.items():
        sources[name] = folder / f"{name}.keras"
        build().save(sources[name])
    strings = Strings()
    sources["strings"] = folder / "strings"
    tf.saved_model.save(strings, str(sources["strings"]), signatures={"serving_default": strings.serve})
    picky = Picky()
    sources["picky"] = folder / "picky"
    tf.saved_model.save(picky, str(sources["picky"]), signatures={"serving_default": picky.serve})
    sources["graph"] = folder / "graph"
    keras.models.load_model(sources["mlp"]).export(sources["graph"], verbose=False)
    for name, source in sources.items():
        model = load(source, folder / f"{name}-loaded")
        inputs = inputs_of(model)
        formats = TensorFlowFormats(model, inputs, folder / f"{name}-form")
        for label, scheme in SCHEMES.items():
            if label not in ("float32", "int8") and name != "mlp" and (name, label) != ("attention", "int4"):
                continue
            format = formats.float32
            if scheme is not None:
                format, _ = formats.quantized(QuantizationTask(scheme), folder / f"{name}-{label}-form")
            write(model, format, inputs, folder / f"{name}-{label}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
