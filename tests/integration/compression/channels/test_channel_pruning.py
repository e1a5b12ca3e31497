"""Channel pruning of Keras models: nothing changes at 0 %, and removing is the same as zeroing."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.channels import ids, slicing
from modelpress.compression.passes.channels.description import Effect, Side
from modelpress.compression.passes.channels.pruning import ChannelPruning
from modelpress.compression.passes.channels.rebuild import rebuild
from modelpress.compression.passes.channels.trace import trace
from modelpress.compression.report.document import PassReport
from modelpress.models.graph_model import Signature
from modelpress.models.keras.layers_model import LayersModel
from modelpress.models.load import load
from modelpress.models.types import TensorSpec
from tests.support.models.trained import DigitsModels

Block = Callable[[Any], Any]  # a tensor of 8 or 16 channels to one
IMAGE, SEQUENCE, VECTOR = (8, 8, 3), (8, 3), (12,)


def nested(x: Any) -> Any:
    inner = keras.Input(x.shape[1:])
    hidden = kl.Conv2D(16, 1, activation="relu")(inner)
    return keras.Model(inner, [hidden, kl.Conv2D(16, 3, padding="same")(hidden)], name="block")(x)


def nested_twice(x: Any) -> Any:
    block = keras.Sequential([kl.Conv2D(16, 3, padding="same"), kl.BatchNormalization(), kl.ReLU()])
    return kl.Add()([block(x, training=False), block(kl.Conv2D(16, 1)(x))])


def shared(x: Any) -> Any:
    layer = kl.Conv2D(16, 3, padding="same")
    return layer(kl.Activation("tanh")(layer(x)))


def gated(x: Any) -> Any:
    gate = kl.Dense(16, activation="sigmoid")(kl.Dense(8, activation="relu")(kl.GlobalAveragePooling2D()(x)))
    return kl.Multiply()([x, kl.Reshape((1, 1, 16))(gate)])


def attention(x: Any) -> Any:
    tokens = kl.LayerNormalization()(kl.Reshape((-1, 16))(x))
    tokens = tokens + kl.MultiHeadAttention(2, 8)(tokens, tokens)
    return kl.Dense(16)(kl.Dense(32, activation="gelu")(kl.LayerNormalization()(tokens)))


IMAGES: dict[str, Block] = {
    "Conv2D": kl.Conv2D(8, 3),
    "Conv2DTranspose": kl.Conv2DTranspose(8, 3),
    "SeparableConv2D": kl.SeparableConv2D(8, 3, depth_multiplier=2),
    "DepthwiseConv2D": kl.DepthwiseConv2D(3, depth_multiplier=2),
    "BatchNormalization": kl.BatchNormalization(),
    "LayerNormalization": kl.LayerNormalization(),
    "Flatten": kl.Flatten(),
    "GlobalAveragePooling2D": kl.GlobalAveragePooling2D(),
    "GlobalMaxPooling2D": kl.GlobalMaxPooling2D(keepdims=True),
    "MaxPooling2D": kl.MaxPooling2D(2),
    "AveragePooling2D": kl.AveragePooling2D(2),
    "Activation": kl.Activation("tanh"),
    "Softmax": kl.Softmax(),
    "PReLU": kl.PReLU(),
    "PReLU shared": kl.PReLU(shared_axes=[1, 2]),
    "Dropout": kl.Dropout(0.5),
    "ZeroPadding2D": kl.ZeroPadding2D(),
    "UpSampling2D": kl.UpSampling2D(),
    "Reshape": kl.Reshape((64, 16)),
    "Reshape channels": kl.Reshape((8, 8, 4, 4)),
    "Permute": kl.Permute((2, 1, 3)),
    "Rescaling": kl.Rescaling(0.5),
    "Add": lambda x: kl.Add()([x, kl.Conv2D(16, 3, padding="same")(x)]),
    "Multiply": lambda x: kl.Multiply()([x, kl.Conv2D(16, 1)(x)]),
    "Maximum": lambda x: kl.Maximum()([x, kl.Conv2D(1, 1)(x)]),
    "Concatenate": lambda x: kl.Concatenate()([x, kl.Conv2D(8, 1)(x)]),
    "Concatenate rows": lambda x: kl.Concatenate(axis=1)([x, kl.Conv2D(16, 1)(x)]),
    "x + y": lambda x: x + kl.Conv2D(16, 1)(x) * 0.5,
    "nested": lambda x: kl.Concatenate()(nested(x)),
    "nested twice": nested_twice,
    "shared": shared,
    "gated": gated,
    "attention": attention,
    "groups": kl.Conv2D(16, 3, groups=4),
}
SEQUENCES: dict[str, Block] = {
    "Conv1D": kl.Conv1D(16, 3),
    "SeparableConv1D": kl.SeparableConv1D(16, 3),
    "DepthwiseConv1D": kl.DepthwiseConv1D(3),
    "MaxPooling1D": kl.MaxPooling1D(2),
    "LSTM": kl.LSTM(8),
    "Bidirectional": kl.Bidirectional(kl.GRU(4)),
}
VECTORS: dict[str, Block] = {"Dense": kl.Dense(16, activation="relu"), "RepeatVector": kl.RepeatVector(3)}


def model_of(first: Block, block: Block, shape: tuple[int, ...]) -> LayersModel:
    """Return the block between a layer and the head, with weights that differ from their initial values."""
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, name="x")
    result = kl.Dense(4, name="y")(kl.Flatten()(block(first(x))))
    network = keras.Model([x], [result])
    random = np.random.default_rng(0)
    for variable in network.weights:
        if "seed" not in variable.name:
            variable.assign(np.abs(variable.numpy()) + random.uniform(0.05, 0.3, variable.shape))
    specs = Signature((TensorSpec("x", (-1, *shape), "float32"),), (TensorSpec("y", (-1, 4), "float32"),))
    return LayersModel(network, specs)


def cases() -> list[Any]:
    groups: list[tuple[dict[str, Block], Callable[[], Block], tuple[int, ...]]] = [
        (IMAGES, lambda: kl.Conv2D(16, 3, padding="same", name="first"), IMAGE),
        (SEQUENCES, lambda: kl.Conv1D(16, 3, name="first"), SEQUENCE),
        (VECTORS, lambda: kl.Dense(16, name="first"), VECTOR),
    ]
    return [
        pytest.param(first, block, shape, id=name)
        for blocks, first, shape in groups
        for name, block in blocks.items()
    ]


def outputs(model: Any, shape: tuple[int, ...]) -> Any:
    rows = np.random.default_rng(1).normal(size=(5, *shape)).astype(np.float32)
    return model.call({"x": rows})["y"]


@pytest.mark.parametrize(("first", "block", "shape"), cases())
def test_each_kind_is_bit_equal_at_0_percent_and_equal_to_zeroing_at_50(
    first: Callable[[], Block], block: Block, shape: tuple[int, ...]
) -> None:
    model = model_of(first(), block, shape)
    traced = trace(model.network)
    graph = traced.graph()
    groups = ids.find(graph)
    same = model.replaced(rebuild(traced, graph, groups, frozenset()).network, {})
    assert np.array_equal(outputs(same, shape), outputs(model, shape))

    free = {g for ids_ in groups.sides.values() for g in ids_ if g not in groups.frozen}
    gone = {group for i, group in enumerate(sorted(free)) if i % 2}
    smaller = model.replaced(rebuild(traced, graph, groups, gone).network, {})
    assert smaller.network.count_params() < model.network.count_params() or not gone
    # what reads a removed channel has no weight for it any more: the same as a weight of zero
    for number, (layer, operation) in enumerate(zip(graph.layers, traced.operations, strict=True)):
        for weight, variable in zip(layer.weights, getattr(operation, "weights", ()), strict=True):
            if layer.effect is Effect.NEW and (number, Side.OUTPUT) in groups.sides:
                _zero(variable, weight.axes, {side: groups.sides[number, side] for side in Side}, gone)
    expected = outputs(model, shape)
    # float32 sums of up to thousands of terms, in another order: relative to the largest output
    np.testing.assert_allclose(outputs(smaller, shape), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _zero(variable: Any, axes: Any, sides: Any, gone: set[int]) -> None:
    values = variable.numpy()
    for axis, side in axes:
        if side is not Side.OUTPUT:
            stays = np.array([group not in gone for group in sides[side]], np.float32)
            values *= np.moveaxis(stays.reshape(-1, *[1] * (values.ndim - 1)), 0, axis)
    variable.assign(values)


def test_removing_filters_is_the_same_as_zeroing_them_with_bias_and_normalization(
    digits_models: DigitsModels, tmp_path: Any
) -> None:
    model = load(digits_models.cnn, tmp_path)
    assert isinstance(model, LayersModel)
    smaller, report = ChannelPruning("50%").apply(model, PassContext())
    rows = digits_models.digits.test_x.reshape(-1, 8, 8, 1)
    traced = trace(model.network)
    graph = traced.graph()
    groups = ids.find(graph)
    stay = {layer.name: layer.get_weights() for layer in smaller.network.layers}  # type: ignore[attr-defined]
    for number, layer in enumerate(graph.layers):
        if layer.effect is Effect.NEW and number:
            continue
        kept_rows = slicing.positions(groups, frozenset(), number, Side.OUTPUT)
        assert kept_rows is None
        assert layer.name in stay
    for operation in traced.operations:
        if operation.name not in stay or operation.name == "digit":
            continue
        new = stay[operation.name]
        operation.set_weights(
            [_masked(old, part) for old, part in zip(operation.get_weights(), new, strict=True)]
        )
    np.testing.assert_allclose(
        smaller.call({"image": rows})["digit"], model.call({"image": rows})["digit"], atol=1e-5
    )
    assert report.parameters == {"sparsity": "50%", "granularity": "Channel"}


def _masked(old: Any, part: Any) -> Any:
    """Zero the output channels of `old` that `part` does not have (biases, statistics and filters)."""
    flat = old.reshape(-1, old.shape[-1])
    columns = [c for c in range(old.shape[-1]) if _has(part, flat[:, c])]
    result = np.zeros_like(old)
    result[..., columns] = old[..., columns]
    return result


def _has(part: Any, column: Any) -> bool:
    parts = part.reshape(-1, part.shape[-1])
    return any(set(parts[:, c].tolist()) <= set(column.tolist()) for c in range(parts.shape[1]))


def prune(block: Block, sparsity: str = "50%") -> tuple[LayersModel, PassReport]:
    model = model_of(kl.Conv2D(16, 3, padding="same", name="first"), block, IMAGE)
    smaller, report = ChannelPruning(sparsity).apply(model, PassContext())
    assert isinstance(smaller, LayersModel)
    return smaller, report


def test_the_report_gives_every_tensor_with_its_channels_or_the_reason() -> None:
    smaller, report = prune(attention)
    rows = {tensor.name: tensor for tensor in report.tensors}
    assert len(rows) == len(smaller.network.weights)
    left = [tensor.skipped for name, tensor in rows.items() if "attention" in name]
    assert left
    assert all("attention layers are not pruned" in str(reason) for reason in left)
    assert "normalizes across channels" in str(rows["first/kernel"].skipped)
    assert rows["y/bias"].skipped == "its channels stay: an output of the model"
    wide = next(tensor for tensor in report.tensors if tensor.shape == (16, 32))
    assert wide.facts == {
        "inputChannelsBefore": 16,
        "inputChannelsAfter": 16,
        "outputChannelsBefore": 32,
        "outputChannelsAfter": 16,
    }
    assert (wide.changed, wide.bytes_before, wide.bytes_after) == (256, 2048, 1024)
    assert smaller.network.count_params() == sum(t.elements - t.changed for t in report.tensors)


def test_a_frozen_model_can_be_trained_after_pruning() -> None:
    def frozen(x: Any) -> Any:
        layer = kl.Conv2D(16, 3)
        layer.trainable = False
        return layer(x)

    smaller, _ = prune(frozen)
    assert len(smaller.network.trainable_variables) == 6


def test_the_original_is_not_changed_and_names_stay() -> None:
    model = model_of(kl.Conv2D(16, 3, padding="same", name="first"), nested_twice, IMAGE)
    before = outputs(model, IMAGE)
    smaller, _ = ChannelPruning("50%").apply(model, PassContext())
    assert np.array_equal(outputs(model, IMAGE), before)
    assert (smaller.inputs, smaller.outputs) == (model.inputs, model.outputs)
    assert [weight.name for weight in smaller.weights] == [weight.name for weight in model.weights]
    assert any(weight.name.startswith("sequential") for weight in smaller.weights)


def test_models_without_layers_or_channels_are_refused(digits_models: DigitsModels, tmp_path: Any) -> None:
    saved = load(digits_models.saved_model, tmp_path)
    with pytest.raises(DataError, match=r"needs layers: bring a \.keras or \.h5 file") as caught:
        ChannelPruning("50%").apply(saved, PassContext())
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    x = keras.Input((4,), name="x")
    specs = Signature((TensorSpec("x", (-1, 4), "float32"),), (TensorSpec("y", (-1, 4), "float32"),))
    with pytest.raises(DataError, match="no channel can be removed: all of them are an output of the model"):
        ChannelPruning("50%").apply(
            LayersModel(keras.Model([x], [kl.Dense(4, name="y")(x)]), specs), PassContext()
        )
