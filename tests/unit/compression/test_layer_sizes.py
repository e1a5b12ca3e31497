"""Bytes by layer: nothing is lost and nothing counted twice."""

from modelpress.compression.report import layer_sizes
from modelpress.compression.report.document import LayerSize, PassReport, TensorReport, WeightReport


def weight(name: str, size: int) -> WeightReport:
    return WeightReport(name=name, role="kernel", shape=(size // 4,), dtype="float32", bytes=size)


WEIGHTS = (weight("conv/kernel", 400), weight("conv/bias", 40), weight("block/dense/kernel", 4000))


def test_layers_add_up_to_the_whole_model_and_merged_constants_find_their_layer() -> None:
    served = [("conv/kernel", 100), ("net/block/dense/MatMul;x", 1000), ("arith.constant3", 8)]
    layers = layer_sizes.of(WEIGHTS, served, original=4500, compressed=1400)
    assert layers == (
        LayerSize(name="conv", before=440, after=100),
        LayerSize(name="block/dense", before=4000, after=1000),
        LayerSize(name=layer_sizes.CONSTANTS, before=60, after=8),
        LayerSize(name=layer_sizes.STRUCTURE, before=0, after=292),
    )
    assert sum(layer.before for layer in layers) == 4500
    assert sum(layer.after for layer in layers) == 1400


def test_the_name_of_one_layer_within_that_of_another_is_no_match() -> None:
    weights = (weight("dense/kernel", 40), weight("dense_1/kernel", 40))
    layers = layer_sizes.of(weights, [("net/dense_1/MatMul", 10)], original=80, compressed=10)
    assert [(layer.name, layer.after) for layer in layers] == [("dense", 0), ("dense_1", 10)]


def test_numbered_variables_are_layers_of_their_own() -> None:
    names = ["net/kernel", "net/bias", "net/kernel_1", "net/bias_1", "lstm/cell/recurrent_kernel", "w"]
    assert [layer_sizes.layer_of(name) for name in names] == [
        "net",
        "net",
        "net[1]",
        "net[1]",
        "lstm/cell",
        "w",
    ]


def test_served_tensors_are_those_of_quantization_or_the_weights() -> None:
    assert layer_sizes.served_tensors(WEIGHTS[:1], None) == [("conv/kernel", 400)]
    tensors = (
        TensorReport(name="conv/kernel", shape=(100,), elements=100, bytes_after=100),
        TensorReport(name="norm/gamma", shape=(4,), elements=4, skipped="merged"),
    )
    step = PassReport(name="quantization", tensors=tensors)
    assert layer_sizes.served_tensors(WEIGHTS, step) == [("conv/kernel", 100)]
