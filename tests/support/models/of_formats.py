"""Small models in every format and of every layer kind that ModelPress promises, written as users would.

Weights are random and seeded, and outputs are linear: a softmax over random weights is nearly the same for
all inputs, and would hide differences. Each function writes one model into a folder and returns its path.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KERAS_2 = Path(__file__).parents[1] / "data" / "keras2_recurrent.h5"
WORDS = 64  # of the embeddings
_WIDTH = 32


def functional(folder: Path) -> Path:
    keras = _keras()
    x = keras.Input((16,), name="x")
    return _saved(folder, keras.Model(x, _head(_dense(_dense(x)))))


def sequential(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(_WIDTH, 3, padding="same", use_bias=False),
            _settled(layers.BatchNormalization()),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(_WIDTH, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(4),
        ]
    )
    return _saved(folder, model)


def nested(folder: Path) -> Path:
    keras = _keras()
    inner_input = keras.Input((_WIDTH,))
    inner = keras.Model(inner_input, _dense(inner_input), name="inner")
    outer = keras.Sequential([keras.Input((_WIDTH,)), inner, keras.layers.Dense(_WIDTH)], name="outer")
    x = keras.Input((16,), name="x")
    return _saved(folder, keras.Model(x, _head(outer(_dense(x)))))


def shared(folder: Path) -> Path:
    keras = _keras()
    left, right = (keras.Input((16,), name=name) for name in ("left", "right"))
    first, second = keras.layers.Dense(_WIDTH, activation="relu"), keras.layers.Dense(_WIDTH)
    difference = keras.layers.Subtract()([second(first(left)), second(first(right))])
    return _saved(folder, keras.Model([left, right], _head(difference)))


def several(folder: Path) -> Path:
    keras = _keras()
    image, facts = keras.Input((8, 8, 1), name="image"), keras.Input((5,), name="facts")
    seen = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, activation="relu")(image))
    joined = keras.layers.Concatenate()([_dense(seen), _dense(facts)])
    outputs = {
        "kind": keras.layers.Dense(4, name="kind")(joined),
        "size": keras.layers.Dense(1, name="size")(joined),
    }
    return _saved(folder, keras.Model({"image": image, "facts": facts}, outputs))


def embedding(folder: Path) -> Path:
    keras = _keras()
    words = keras.Input((12,), dtype="int32", name="words")
    seen = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(WORDS, _WIDTH)(words))
    return _saved(folder, keras.Model(words, _head(_dense(seen))))


def embedding_any_length(folder: Path) -> Path:
    keras = _keras()
    words = keras.Input((None,), dtype="int64", name="words")
    seen = keras.layers.Conv1D(_WIDTH, 3, padding="same", activation="relu")(
        keras.layers.Embedding(WORDS, _WIDTH)(words)
    )
    return _saved(folder, keras.Model(words, _head(keras.layers.GlobalMaxPooling1D()(seen))))


def conv1d(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    signal = keras.Input((32, 4), name="signal")
    seen = layers.Conv1D(_WIDTH, 5, strides=2, activation="relu")(signal)
    seen = layers.GlobalAveragePooling1D()(layers.Conv1D(_WIDTH, 3, dilation_rate=2)(seen))
    return _saved(folder, keras.Model(signal, _head(seen)))


def uint8_image(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    seen = layers.Conv2D(_WIDTH, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    return _saved(folder, keras.Model(image, _head(layers.Flatten()(seen))))


def depthwise(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    seen = layers.ReLU()(_settled(layers.BatchNormalization())(layers.Conv2D(_WIDTH, 3)(image)))
    seen = layers.DepthwiseConv2D(3, padding="same", activation="relu")(seen)
    seen = layers.SeparableConv2D(_WIDTH, 3, padding="same")(seen)
    return _saved(folder, keras.Model(image, _head(layers.GlobalAveragePooling2D()(seen))))


def transposed(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    seen = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(_WIDTH, 3, strides=2, padding="same")(image))
    wide = layers.Conv2DTranspose(_WIDTH, 3, strides=2, padding="same", activation="relu")(seen)
    wide = layers.Add()([wide, layers.UpSampling2D(interpolation="bilinear")(seen)])
    return _saved(folder, keras.Model(image, layers.Conv2D(1, 1)(wide)))


def attention(folder: Path) -> Path:
    return _saved(folder, _attention(length=12))


def attention_any_length(folder: Path) -> Path:
    return _saved(folder, _attention(length=None))


def lstm_unrolled(folder: Path) -> Path:
    return _saved(folder, _recurrent("LSTM", unroll=True))


def gru_unrolled(folder: Path) -> Path:
    return _saved(folder, _recurrent("GRU", unroll=True))


def bidirectional(folder: Path) -> Path:
    return _saved(folder, _recurrent("LSTM", unroll=True, both=True))


def lstm_fixed_batch(folder: Path) -> Path:
    return _saved(folder, _recurrent("LSTM", batch=4))


def gru_fixed_batch(folder: Path) -> Path:
    return _saved(folder, _recurrent("GRU", batch=4))


def lstm_any_batch(folder: Path) -> Path:
    return _saved(folder, _recurrent("LSTM"))


def masked_any_batch(folder: Path) -> Path:
    return _saved(folder, _recurrent("GRU", both=True, masked=True))


def gru_any_length(folder: Path) -> Path:
    return _saved(folder, _recurrent("GRU", length=None))


def mixed_float16(folder: Path) -> Path:
    return _saved(folder, _policy("mixed_float16"))


def mixed_bfloat16(folder: Path) -> Path:
    return _saved(folder, _policy("mixed_bfloat16"))


def all_float16(folder: Path) -> Path:
    return _saved(folder, _policy("float16"))


def h5(folder: Path) -> Path:
    keras = _keras()
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    seen = layers.Flatten()(layers.Conv2D(_WIDTH, 3, activation="relu")(image))
    return _saved(folder, keras.Model(image, _head(seen)), "model.h5")


def keras_2_h5(folder: Path) -> Path:
    """Return a file that tf-keras 2.21.0 wrote: LSTM and GRU, trained on scikit-learn's digits as 8 x 8."""
    return Path(shutil.copy(KERAS_2, folder / "model.h5"))


def exported(folder: Path) -> Path:
    """Keras' export of a subclassed model, whose code is not in the directory."""
    keras = _keras()

    class Network(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.seen = keras.layers.Conv2D(_WIDTH, 3, activation="relu")
            self.flat = keras.layers.Flatten()
            self.label = keras.layers.Dense(4)

        def call(self, image: Any) -> Any:
            return self.label(self.flat(self.seen(image)))

    network = Network()
    network(np.zeros((1, 8, 8, 3), np.float32))
    network.export(folder / "model", verbose=False)
    return folder / "model"


def exported_lstm(folder: Path) -> Path:
    _recurrent("LSTM").export(folder / "model", verbose=False)
    return folder / "model"


def exported_mixed(folder: Path) -> Path:
    _policy("mixed_float16").export(folder / "model", verbose=False)
    return folder / "model"


def exported_float16(folder: Path) -> Path:
    _policy("float16").export(folder / "model", verbose=False)
    return folder / "model"


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder / "archive"), "zip", folder, exported(folder).name))


def tarred(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder / "archive"), "gztar", exported(folder)))


def module(folder: Path) -> Path:
    """A plain tf.Module of two inputs, of which one is integers, and two outputs."""
    import tensorflow as tf

    made = _module()

    def forward(x: Any, words: Any) -> Any:
        hidden = tf.nn.relu(tf.matmul(x, made.kernel) + made.bias)
        return {"both": hidden + tf.reduce_mean(tf.gather(made.table, words), axis=1), "hidden": hidden}

    specs = tf.TensorSpec((None, _WIDTH), tf.float32, "x"), tf.TensorSpec((None, 6), tf.int32, "words")
    return _signed(folder, made, forward, *specs)


def erfinv(folder: Path) -> Path:
    import tensorflow as tf

    return _computing(folder, lambda x: tf.math.erfinv(tf.tanh(x)))


def fourier(folder: Path) -> Path:
    import tensorflow as tf

    return _computing(folder, lambda x: tf.math.real(tf.signal.fft(tf.cast(x, tf.complex64))))


def cholesky(folder: Path) -> Path:
    import tensorflow as tf

    def compute(x: Any) -> Any:
        square = tf.reshape(x[:, :16], (-1, 4, 4))
        return tf.linalg.cholesky(tf.matmul(square, square, transpose_b=True) + tf.eye(4))

    return _computing(folder, compute)


def diagonal_einsum(folder: Path) -> Path:
    import tensorflow as tf

    return _computing(folder, lambda x: tf.einsum("bii->bi", tf.reshape(x[:, :16], (-1, 4, 4))))


def string_input(folder: Path) -> Path:
    import tensorflow as tf

    made = _module()
    spec = tf.TensorSpec((None, 3), tf.string, "text")
    return _signed(folder, made, lambda text: {"y": made.table[: tf.shape(text)[0]]}, spec)


def strings(folder: Path) -> Path:
    import tensorflow as tf

    made = _module()
    buckets = tf.TensorSpec((None,), tf.string, "text")
    return _signed(
        folder,
        made,
        lambda text: {"y": tf.gather(made.table, tf.strings.to_hash_bucket_fast(text, WORDS))},
        buckets,
    )


def _keras() -> Any:
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    return keras


def _dense(x: Any) -> Any:
    return _plain().layers.Dense(_WIDTH, activation="relu")(x)


def _head(x: Any) -> Any:
    return _plain().layers.Dense(4, name="label")(x)


def _plain() -> Any:
    import keras

    return keras


def _settled(normalization: Any) -> Any:
    """Give a BatchNormalization statistics that are not those of an untrained one."""
    normalization.moving_variance_initializer = _plain().initializers.Constant(0.5)
    normalization.moving_mean_initializer = _plain().initializers.Constant(0.1)
    return normalization


def _attention(length: int | None) -> Any:
    keras = _keras()
    layers = keras.layers
    words = keras.Input((length,), dtype="int32", name="words")
    seen = layers.Embedding(WORDS, _WIDTH)(words)
    seen = layers.Add()([seen, layers.MultiHeadAttention(2, 16)(seen, seen)])
    seen = layers.LayerNormalization()(seen)
    seen = layers.Add()([seen, layers.Dense(_WIDTH)(layers.Dense(2 * _WIDTH, activation="gelu")(seen))])
    return keras.Model(words, _head(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(seen))))


def _recurrent(
    kind: str,
    *,
    unroll: bool = False,
    both: bool = False,
    masked: bool = False,
    batch: int | None = None,
    length: int | None = 8,
) -> Any:
    keras = _keras()
    series = keras.Input((length, 8), batch_size=batch, name="series")
    layer = getattr(keras.layers, kind)
    shown = keras.layers.Masking()(series) if masked else series
    seen = layer(_WIDTH, unroll=unroll, return_sequences=True)(shown)
    last = layer(16, unroll=unroll)
    return keras.Model(series, _head((keras.layers.Bidirectional(last) if both else last)(seen)))


def _policy(name: str) -> Any:
    keras = _keras()
    layers = keras.layers
    dtype = "float16" if name == "float16" else "float32"
    image = keras.Input((8, 8, 3), dtype=dtype, name="image")
    seen = layers.Conv2D(_WIDTH, 3, activation="relu", dtype=name)(image)
    seen = layers.Dense(_WIDTH, activation="relu", dtype=name)(layers.Flatten(dtype=name)(seen))
    return keras.Model(image, layers.Dense(4, name="label", dtype=dtype)(seen))


def _saved(folder: Path, model: Any, name: str = "model.keras") -> Path:
    model.save(folder / name)
    return folder / name


def _module() -> Any:
    import tensorflow as tf

    random = np.random.default_rng(0)
    made = tf.Module()
    made.kernel = tf.Variable(random.normal(size=(_WIDTH, _WIDTH)).astype(np.float32) / 4, name="kernel")
    made.bias = tf.Variable(random.normal(size=_WIDTH).astype(np.float32), name="bias")
    made.table = tf.Variable(random.normal(size=(WORDS, _WIDTH)).astype(np.float32), name="table")
    return made


def _computing(folder: Path, compute: Callable[[Any], Any]) -> Path:
    import tensorflow as tf

    made = _module()
    spec = tf.TensorSpec((None, _WIDTH), tf.float32, "x")
    return _signed(folder, made, lambda x: {"y": compute(tf.matmul(x, made.kernel))}, spec)


def _signed(folder: Path, made: Any, forward: Callable[..., Any], *specs: Any) -> Path:
    import tensorflow as tf

    made.forward = tf.function(forward, input_signature=list(specs))
    tf.saved_model.save(made, str(folder / "model"), signatures=made.forward)
    return folder / "model"
