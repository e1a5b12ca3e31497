"""Models that Keras 2 writes for the tests: one for each layer, in its common forms, and whole ones.

Runs with the Keras of the environment that it is called in (TensorFlow 2.13 to 2.15, or tf-keras): it imports
nothing of this project. A case takes that Keras and its layers, and returns a model without a loss.
"""

from collections.abc import Callable
from typing import Any

Case = Callable[[Any], Any]
Layer = Callable[[Any], Any]

IMAGE, SERIES, ROW, VIDEO = (8, 8, 3), (6, 4), (5,), (4, 6, 6, 2)


def _one(shape: tuple[int, ...], make: Layer, inputs: int = 1, dtype: str = "float32") -> Case:
    """Return the case of a layer behind an input, or behind several as a list."""

    def case(keras: Any) -> Any:
        found = [keras.Input(shape, dtype=dtype, name=f"in_{i}") for i in range(inputs)]
        return keras.Model(found, make(keras.layers)(found if inputs > 1 else found[0]))

    return case


LAYERS: dict[str, Case] = {
    "Activation": _one(ROW, lambda L: L.Activation("tanh")),
    "Activation hard_sigmoid": _one(ROW, lambda L: L.Activation("hard_sigmoid")),
    "Activation softplus": _one(ROW, lambda L: L.Activation("softplus")),
    "Activation gelu": _one(ROW, lambda L: L.Activation("gelu")),
    "Activation swish": _one(ROW, lambda L: L.Activation("swish")),
    "Activation selu": _one(ROW, lambda L: L.Activation("selu")),
    "Activation elu": _one(ROW, lambda L: L.Activation("elu")),
    "Activation exponential": _one(ROW, lambda L: L.Activation("exponential")),
    "Activation softsign": _one(ROW, lambda L: L.Activation("softsign")),
    "Activation softmax": _one(SERIES, lambda L: L.Activation("softmax")),
    "Activation mish": _one(ROW, lambda L: L.Activation("mish")),
    "ActivityRegularization": _one(ROW, lambda L: L.ActivityRegularization(0.1)),
    "Add": _one(ROW, lambda L: L.Add(), 3),
    "AdditiveAttention": _one(SERIES, lambda L: L.AdditiveAttention(), 2),
    "AlphaDropout": _one(ROW, lambda L: L.AlphaDropout(0.5)),
    "Attention": _one(SERIES, lambda L: L.Attention(use_scale=True), 3),
    "Attention concat": _one(SERIES, lambda L: L.Attention(score_mode="concat"), 2),
    "Average": _one(ROW, lambda L: L.Average(), 2),
    "AveragePooling1D": _one(SERIES, lambda L: L.AveragePooling1D(2)),
    "AveragePooling2D": _one(IMAGE, lambda L: L.AveragePooling2D(3, 2, "same")),
    "AveragePooling3D": _one(VIDEO, lambda L: L.AveragePooling3D(2)),
    "BatchNormalization": _one(IMAGE, lambda L: L.BatchNormalization()),
    "BatchNormalization axis 1": _one(IMAGE, lambda L: L.BatchNormalization(axis=1, scale=False)),
    "Bidirectional": _one(SERIES, lambda L: L.Bidirectional(L.LSTM(3, return_sequences=True))),
    "Bidirectional sum": _one(SERIES, lambda L: L.Bidirectional(L.GRU(3), merge_mode="sum")),
    "CategoryEncoding": _one((1,), lambda L: L.CategoryEncoding(4, "one_hot"), dtype="int32"),
    "CenterCrop": _one(IMAGE, lambda L: L.CenterCrop(4, 5)),
    "Concatenate": _one(SERIES, lambda L: L.Concatenate(axis=1), 2),
    "Conv1D": _one(SERIES, lambda L: L.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    "Conv1DTranspose": _one(SERIES, lambda L: L.Conv1DTranspose(3, 3, strides=2, output_padding=1)),
    "Conv2D": _one(IMAGE, lambda L: L.Conv2D(6, 3, 2, "same", groups=3, activation="relu")),
    "Conv2D regularized": _one(
        IMAGE, lambda L: L.Conv2D(6, 3, kernel_regularizer="l2", kernel_constraint="max_norm")
    ),
    "Conv2DTranspose": _one(IMAGE, lambda L: L.Conv2DTranspose(4, 3, 2, "same")),
    "Conv3D": _one(VIDEO, lambda L: L.Conv3D(3, 2)),
    "Conv3DTranspose": _one(VIDEO, lambda L: L.Conv3DTranspose(3, 2, 2)),
    "ConvLSTM1D": _one((3, 6, 2), lambda L: L.ConvLSTM1D(2, 3)),
    "ConvLSTM2D": _one(VIDEO, lambda L: L.ConvLSTM2D(2, 3, return_sequences=True)),
    "ConvLSTM3D": _one((2, 4, 4, 4, 1), lambda L: L.ConvLSTM3D(2, 3)),
    "Cropping1D": _one(SERIES, lambda L: L.Cropping1D((1, 2))),
    "Cropping2D": _one(IMAGE, lambda L: L.Cropping2D(((1, 2), (0, 1)))),
    "Cropping3D": _one(VIDEO, lambda L: L.Cropping3D(1)),
    "Dense": _one(SERIES, lambda L: L.Dense(3, activation="swish")),
    "Dense leaky": _one(ROW, lambda L: L.Dense(3, activation=L.LeakyReLU(0.1))),
    "DepthwiseConv1D": _one(SERIES, lambda L: L.DepthwiseConv1D(3, depth_multiplier=2)),
    "DepthwiseConv2D": _one(IMAGE, lambda L: L.DepthwiseConv2D(3, 2, "same", activation="relu6")),
    "Discretization": _one(ROW, lambda L: L.Discretization([-1.0, 0.0, 0.5])),
    "Dot": _one(SERIES, lambda L: L.Dot(axes=2, normalize=True), 2),
    "Dropout": _one(ROW, lambda L: L.Dropout(0.5, noise_shape=(None, 1), seed=1)),
    "ELU": _one(ROW, lambda L: L.ELU(0.5)),
    "EinsumDense": _one(SERIES, lambda L: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")),
    "Embedding": _one((4,), lambda L: L.Embedding(10, 3, input_length=4), dtype="int32"),
    "Flatten": _one(IMAGE, lambda L: L.Flatten()),
    "GRU": _one(SERIES, lambda L: L.GRU(3)),
    "GRU hard_sigmoid": _one(
        SERIES, lambda L: L.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False)
    ),
    "GRUCell": _one(SERIES, lambda L: L.RNN(L.GRUCell(3))),
    "GaussianDropout": _one(ROW, lambda L: L.GaussianDropout(0.5)),
    "GaussianNoise": _one(ROW, lambda L: L.GaussianNoise(0.5)),
    "GlobalAveragePooling1D": _one(SERIES, lambda L: L.GlobalAveragePooling1D()),
    "GlobalAveragePooling2D": _one(IMAGE, lambda L: L.GlobalAveragePooling2D(keepdims=True)),
    "GlobalAveragePooling3D": _one(VIDEO, lambda L: L.GlobalAveragePooling3D()),
    "GlobalMaxPooling1D": _one(SERIES, lambda L: L.GlobalMaxPooling1D()),
    "GlobalMaxPooling2D": _one(IMAGE, lambda L: L.GlobalMaxPooling2D()),
    "GlobalMaxPooling3D": _one(VIDEO, lambda L: L.GlobalMaxPooling3D()),
    "GroupNormalization": _one(IMAGE, lambda L: L.GroupNormalization(3)),
    "HashedCrossing": _one((1,), lambda L: L.HashedCrossing(5), 2, dtype="int64"),
    "Hashing": _one(ROW, lambda L: L.Hashing(7), dtype="int64"),
    "Identity": _one(ROW, lambda L: L.Identity()),
    "LSTM": _one(SERIES, lambda L: L.LSTM(3)),
    "LSTM hard_sigmoid": _one(
        SERIES, lambda L: L.LSTM(3, recurrent_activation="hard_sigmoid", go_backwards=True, dropout=0.2)
    ),
    "LSTM sequences": _one(SERIES, lambda L: L.LSTM(3, return_sequences=True, return_state=True)),
    "LSTMCell": _one(SERIES, lambda L: L.RNN(L.LSTMCell(3), return_sequences=True)),
    "LayerNormalization": _one(SERIES, lambda L: L.LayerNormalization()),
    "LayerNormalization axes": _one(IMAGE, lambda L: L.LayerNormalization(axis=(1, 2, 3))),
    "LeakyReLU": _one(ROW, lambda L: L.LeakyReLU(0.1)),
    "LocallyConnected1D": _one(SERIES, lambda L: L.LocallyConnected1D(2, 3)),
    "LocallyConnected2D": _one(IMAGE, lambda L: L.LocallyConnected2D(2, 3)),
    "Masking": lambda keras: keras.Sequential(
        [keras.Input(SERIES), keras.layers.Masking(0.0), keras.layers.LSTM(3)]
    ),
    "MaxPooling1D": _one(SERIES, lambda L: L.MaxPooling1D(2, padding="same")),
    "MaxPooling2D": _one(IMAGE, lambda L: L.MaxPooling2D()),
    "MaxPooling3D": _one(VIDEO, lambda L: L.MaxPooling3D(2)),
    "Maximum": _one(ROW, lambda L: L.Maximum(), 2),
    "Minimum": _one(ROW, lambda L: L.Minimum(), 2),
    "Multiply": _one(ROW, lambda L: L.Multiply(), 2),
    "Normalization": _one(ROW, lambda L: L.Normalization(mean=[1, 2, 3, 4, 5], variance=4.0)),
    "PReLU": _one(IMAGE, lambda L: L.PReLU(shared_axes=[1, 2])),
    "Permute": _one(IMAGE, lambda L: L.Permute((3, 1, 2))),
    "RNN": _one(SERIES, lambda L: L.RNN([L.LSTMCell(3), L.GRUCell(2)])),
    "RandomBrightness": _one(IMAGE, lambda L: L.RandomBrightness(0.2)),
    "RandomContrast": _one(IMAGE, lambda L: L.RandomContrast(0.2)),
    "RandomCrop": _one(IMAGE, lambda L: L.RandomCrop(4, 4)),
    "RandomFlip": _one(IMAGE, lambda L: L.RandomFlip("horizontal")),
    "RandomHeight": _one(IMAGE, lambda L: L.RandomHeight(0.2)),
    "RandomRotation": _one(IMAGE, lambda L: L.RandomRotation(0.2)),
    "RandomTranslation": _one(IMAGE, lambda L: L.RandomTranslation(0.2, 0.1)),
    "RandomWidth": _one(IMAGE, lambda L: L.RandomWidth(0.2)),
    "RandomZoom": _one(IMAGE, lambda L: L.RandomZoom(0.2)),
    "ReLU": _one(ROW, lambda L: L.ReLU(6.0, negative_slope=0.1, threshold=0.2)),
    "RepeatVector": _one(ROW, lambda L: L.RepeatVector(3)),
    "Rescaling": _one(IMAGE, lambda L: L.Rescaling(1 / 127.5, -1)),
    "Rescaling of channels": _one(IMAGE, lambda L: L.Rescaling([1.0, 2.0, 3.0], [0.0, 0.5, 1.0])),
    "Reshape": _one(IMAGE, lambda L: L.Reshape((-1, 3))),
    "Resizing": _one(IMAGE, lambda L: L.Resizing(5, 6)),
    "Resizing cropped": _one(IMAGE, lambda L: L.Resizing(5, 6, "nearest", crop_to_aspect_ratio=True)),
    "SeparableConv1D": _one(SERIES, lambda L: L.SeparableConv1D(4, 3)),
    "SeparableConv2D": _one(IMAGE, lambda L: L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)),
    "SimpleRNN": _one(SERIES, lambda L: L.SimpleRNN(3)),
    "SimpleRNNCell": _one(SERIES, lambda L: L.RNN(L.SimpleRNNCell(3))),
    "Softmax": _one(SERIES, lambda L: L.Softmax(axis=1)),
    "SpatialDropout1D": _one(SERIES, lambda L: L.SpatialDropout1D(0.5)),
    "SpatialDropout2D": _one(IMAGE, lambda L: L.SpatialDropout2D(0.5)),
    "SpatialDropout3D": _one(VIDEO, lambda L: L.SpatialDropout3D(0.5)),
    "SpectralNormalization": _one(ROW, lambda L: L.SpectralNormalization(L.Dense(3))),
    "StackedRNNCells": _one(
        SERIES, lambda L: L.RNN(L.StackedRNNCells([L.SimpleRNNCell(3), L.SimpleRNNCell(2)]))
    ),
    "Subtract": _one(ROW, lambda L: L.Subtract(), 2),
    "ThresholdedReLU": _one(ROW, lambda L: L.ThresholdedReLU(0.3)),
    "TimeDistributed": _one((3, 8, 8, 3), lambda L: L.TimeDistributed(L.Conv2D(2, 3))),
    "UnitNormalization": _one(SERIES, lambda L: L.UnitNormalization()),
    "UpSampling1D": _one(SERIES, lambda L: L.UpSampling1D(2)),
    "UpSampling2D": _one(IMAGE, lambda L: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "UpSampling3D": _one(VIDEO, lambda L: L.UpSampling3D(2)),
    "ZeroPadding1D": _one(SERIES, lambda L: L.ZeroPadding1D((1, 2))),
    "ZeroPadding2D": _one(IMAGE, lambda L: L.ZeroPadding2D(((1, 2), (0, 1)))),
    "ZeroPadding3D": _one(VIDEO, lambda L: L.ZeroPadding3D(1)),
}


def _attention(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input((6,), dtype="int32", name="words")
    seen = layers.Embedding(10, 8, mask_zero=True)(words)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(seen, seen, use_causal_mask=True)
    seen = layers.LayerNormalization(epsilon=1e-6)(seen + attended)
    other = layers.MultiHeadAttention(2, 3, value_dim=5, attention_axes=1, output_shape=6)(
        query=seen, value=attended, key=seen
    )
    return keras.Model(words, layers.Dense(4)(layers.GlobalAveragePooling1D()(other)))


def _nested(keras: Any) -> Any:
    """Models in models: functional, sequential with and without an input, called twice, as an output."""
    layers = keras.layers
    inner = keras.Input((8,), name="inner_in")
    functional = keras.Model(inner, layers.Dense(8)(layers.Dense(8)(inner)), name="functional")
    sequential = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(8)], name="sequential"
    )
    late = keras.Sequential([layers.Dense(8), layers.Dense(8)], name="late")
    source = keras.Input((8,), name="x")
    first = functional(sequential(source))
    second = functional(layers.Add()([late(first), sequential(first)]))
    return keras.Model(source, [functional(second), sequential(second), late(second)])


def _frozen(keras: Any) -> Any:
    """Transfer learning: a base that does not train, called in inference mode."""
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    seen = layers.Conv2D(4, 3, use_bias=False)(image)
    seen = layers.BatchNormalization()(seen)
    seen = layers.DepthwiseConv2D(3, use_bias=False, name="block/depthwise")(seen)
    base = keras.Model(image, layers.BatchNormalization()(seen), name="base")
    base.trainable = False
    source = keras.Input((8, 8, 3), name="image")
    pooled = layers.GlobalAveragePooling2D()(base(layers.Rescaling(1 / 255)(source), training=False))
    return keras.Model(source, layers.Dense(3)(layers.Dropout(0.2)(pooled)))


def _named(keras: Any) -> Any:
    layers = keras.layers
    inputs = {name: keras.Input((4,), name=name) for name in ("right", "left")}
    joined = layers.Concatenate()([inputs["left"], inputs["right"]])
    outputs = {"z": layers.Dense(2, name="z")(joined), "a": layers.Dense(2, name="a")(joined)}
    inner = keras.Model(inputs, outputs, name="inner")
    one, other = keras.Input((4,), name="one"), keras.Input((4,), name="other")
    found = inner({"left": one, "right": other})
    return keras.Model({"one": one, "other": other}, {"sum": found["a"] + found["z"], "z": found["z"]})


def _twins(keras: Any) -> Any:
    """Layers of equal shapes, made in another order than they are called: no weights change places."""
    layers = keras.layers
    source = keras.Input((4,), name="x")
    late, early = layers.Dense(4, name="a_late"), layers.Dense(4, name="z_early")
    one, two, three = (layers.Dense(4, name=name) for name in ("three", "one", "two"))
    seen = late(early(source))
    return keras.Model(source, [layers.Add()([three(seen), one(source)]), two(seen)])


def _translator(keras: Any) -> Any:
    layers = keras.layers
    source, target = keras.Input((6, 4), name="source"), keras.Input((5, 4), name="target")
    _, hidden, cell = layers.LSTM(3, return_state=True)(source)
    decoded = layers.LSTM(3, return_sequences=True)(target, initial_state=[hidden, cell])
    both = layers.Bidirectional(layers.GRU(3, return_state=True))(source)
    again = layers.Bidirectional(layers.GRU(3, return_sequences=True))(decoded, initial_state=both[1:])
    gru = layers.GRU(3)(again, initial_state=hidden)
    return keras.Model([source, target], [layers.TimeDistributed(layers.Dense(2))(again), gru])


def _sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 3)),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _built_late(keras: Any) -> Any:
    model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    model.build((None, 5))
    return model


def _ids(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([layers.Embedding(10, 4, input_length=6), layers.LSTM(3), layers.Dense(1)])


def _adapted(keras: Any) -> Any:
    import numpy as np

    scale = keras.layers.Normalization()
    scale.adapt(np.random.default_rng(0).normal(3, 2, (50, 5)).astype(np.float32))
    source = keras.Input((5,), name="x")
    return keras.Model(source, keras.layers.Dense(2)(scale(source)))


def _augmented(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.1),
            layers.RandomContrast(0.1),
            layers.Conv2D(4, 3),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(2),
        ],
        name="augmented",
    )


def _mixed(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((8, 8, 3), name="image")
    seen = layers.Conv2D(4, 3, dtype=keras.mixed_precision.Policy("mixed_float16"))(source)
    return keras.Model(source, layers.Dense(2, dtype="float32")(layers.Flatten()(seen)))


def _wrapped(keras: Any) -> Any:
    """A model inside of a wrapper."""
    layers = keras.layers
    frame = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten()]
    )
    source = keras.Input((3, 6, 6, 2), name="video")
    return keras.Model(source, layers.TimeDistributed(layers.Dense(4))(layers.TimeDistributed(frame)(source)))


def _applications(name: str, **settings: Any) -> Case:
    return lambda keras: getattr(keras.applications, name)(weights=None, classes=5, **settings)


WHOLE: dict[str, Case] = {
    "attention": _attention,
    "nested": _nested,
    "frozen": _frozen,
    "named": _named,
    "twins": _twins,
    "translator": _translator,
    "sequential": _sequential,
    "built late": _built_late,
    "adapted": _adapted,
    "augmented": _augmented,
    "mixed": _mixed,
    "wrapped": _wrapped,
    "MobileNet": _applications("MobileNet", input_shape=(32, 32, 3), alpha=0.25),
    "MobileNetV2": _applications("MobileNetV2", input_shape=(32, 32, 3), alpha=0.35),
    "MobileNetV3Small": _applications("MobileNetV3Small", input_shape=(32, 32, 3)),
    "EfficientNetB0": _applications("EfficientNetB0", input_shape=(32, 32, 3)),
    "DenseNet121": _applications("DenseNet121", input_shape=(32, 32, 3)),
    "ConvNeXtTiny": _applications("ConvNeXtTiny", input_shape=(32, 32, 3)),
}
