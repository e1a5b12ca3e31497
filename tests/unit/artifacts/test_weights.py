"""weights.safetensors: what is written comes back, and what is broken is named."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError
from modelpress.artifacts import int4, weights
from modelpress.artifacts.weights import StoredTensor

NIBBLES = hnp.arrays(
    np.int8, hnp.array_shapes(max_dims=4, max_side=9, min_side=0), elements=st.integers(-8, 7)
)
DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.uint32, np.int64, np.bool_]


def quantized(values: np.ndarray[Any, Any], storage: Any, axis: int | None) -> StoredTensor:
    channels = 1 if axis is None else values.shape[axis]
    return StoredTensor(
        name="dense/kernel",
        storage=storage,
        shape=values.shape,
        data=int4.pack(values) if storage == "int4" else values,
        scale=np.linspace(1, 9, channels, dtype=np.float32),
        bias=np.arange(channels, dtype=np.int32) % 3,
        axis=axis,
    )


def same(one: StoredTensor, other: StoredTensor) -> bool:
    pairs = ((one.data, other.data), (one.scale, other.scale), (one.bias, other.bias))
    equal = all(
        (a is None and b is None)
        or (a is not None and b is not None and a.dtype == b.dtype and a.tobytes() == b.tobytes())
        for a, b in pairs
    )
    return equal and (one.name, one.storage, one.shape, one.axis) == (
        other.name,
        other.storage,
        other.shape,
        other.axis,
    )


@given(values=NIBBLES)
def test_int4_packs_two_in_a_byte_and_back(values: np.ndarray[Any, Any]) -> None:
    packed = int4.pack(values)
    assert packed.size == (values.size + 1) // 2
    assert np.array_equal(int4.unpack(packed, values.size), values.reshape(-1))


@given(values=NIBBLES, storage=st.sampled_from(["int4", "int8"]), channels=st.booleans())
def test_integers_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray[Any, Any], storage: str, channels: bool
) -> None:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    written = quantized(values, storage, values.ndim - 1 if channels else None)
    weights.save([written], path)
    (found,) = weights.read(path)
    assert same(written, found)
    assert np.array_equal(found.integers(), values)
    assert found.nbytes == written.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_variable_of_each_dtype_comes_back_as_it_is(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "w.safetensors"
    value = np.arange(6).reshape(2, 3).astype(dtype)
    scalar = np.zeros((), dtype)
    empty = np.zeros((0, 4), dtype)
    written = [weights.plain(f"layer/{i}", item) for i, item in enumerate((value, scalar, empty, value.T))]
    weights.save(written, path)
    found = list(weights.read(path))
    assert [item.name for item in found] == ["layer/0", "layer/1", "layer/2", "layer/3"]
    for one, other in zip(written, found, strict=True):
        assert one.storage == other.storage == np.dtype(dtype).name
        assert np.array_equal(one.values(), other.values())
        assert one.shape == other.values().shape


def test_a_dtype_without_a_place_is_refused() -> None:
    with pytest.raises(DataError, match="variable c has dtype complex64") as caught:
        weights.plain("c", np.zeros(2, np.complex64))
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_values_are_the_formula_backwards() -> None:
    item = quantized(np.array([[-8, 7, 3], [0, 1, -1]], np.int8), "int4", 1)
    assert item.scale is not None
    assert item.bias is not None
    expected = (item.integers().astype(np.float64) - item.bias) / item.scale
    assert item.values().dtype == np.float32
    assert np.allclose(item.values(), expected, rtol=1e-6)
    assert np.array_equal(np.rint(item.values() * item.scale + item.bias), item.integers())


def test_the_same_variables_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = [quantized(np.zeros((3, 3), np.int8), "int4", 1), weights.plain("b", np.ones(4, np.float32))]
    for name in ("one", "two"):
        weights.save(tensors, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def write(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edited(path: Path, edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Write a good file with its header changed: the edit gets the header and the metadata's one variable."""
    weights.save([quantized(np.arange(6, dtype=np.int8).reshape(2, 3), "int4", 1)], path)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = json.loads(header["__metadata__"]["modelpress"])
    edit(header, metadata)
    if "__metadata__" in header:
        header["__metadata__"]["modelpress"] = json.dumps(metadata)
    write(path, header, content[8 + size :])


def one(metadata: dict[str, Any], **fields: Any) -> None:
    metadata["tensors"][0].update(fields)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda header, _: header.pop("__metadata__"), "metadata modelpress"),
        (lambda _, metadata: metadata.update(version=2), "written by a newer release"),
        (lambda _, metadata: metadata.update(tensors=[]), "tensor bias/dense/kernel belongs to no variable"),
        (lambda _, metadata: one(metadata, name="other"), "tensor bias/other is missing"),
        (
            lambda _, metadata: metadata["tensors"].append(metadata["tensors"][0]),
            "two variables have one name",
        ),
        (lambda _, metadata: one(metadata, shape=[2, 4]), "tensor value/dense/kernel is U8"),
        (lambda _, metadata: one(metadata, shape=[2**40, 2**40]), "tensor value/dense/kernel is U8"),
        (lambda _, metadata: one(metadata, shape=[2, -3]), "tensors.0.shape.1"),
        (lambda _, metadata: one(metadata, storage="int8"), "tensor value/dense/kernel is U8"),
        (lambda _, metadata: one(metadata, storage="text"), "tensors.0.storage"),
        (lambda _, metadata: one(metadata, storage="float32"), "float32 with quantized=True"),
        (lambda _, metadata: one(metadata, quantized=False), "int4 with quantized=False"),
        (lambda _, metadata: one(metadata, axis=5), "has no axis 5"),
        (lambda _, metadata: one(metadata, axis=0), "tensor scale/dense/kernel is F32 of shape [3]"),
        (
            lambda header, _: header["scale/dense/kernel"].update(dtype="I32"),
            "tensor scale/dense/kernel is I32",
        ),
        (
            lambda header, _: header["bias/dense/kernel"].update(dtype="F32"),
            "tensor bias/dense/kernel is F32",
        ),
        (lambda header, _: header["scale/dense/kernel"].update(shape=[2**50]), "no safetensors file"),
        (
            lambda header, _: header["bias/dense/kernel"].update(data_offsets=[0, 2**60]),
            "no safetensors file",
        ),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, edit: Any, said: str) -> None:
    path = tmp_path / "w.safetensors"
    edited(path, edit)
    with pytest.raises(DataError) as caught:
        list(weights.read(path))
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "numbers", [[0, 1, 1], [-1, 1, 1], [np.inf, 1, 1], [np.nan, 1, 1], [1e-45, 1, 1]], ids=str
)
def test_numbers_that_are_no_scale_are_refused(tmp_path: Path, numbers: list[float]) -> None:
    path = tmp_path / "w.safetensors"
    item = quantized(np.zeros((2, 3), np.int8), "int8", 1)
    weights.save([StoredTensor(**{**vars(item), "scale": np.array(numbers, np.float32)})], path)
    with pytest.raises(DataError, match="tensor scale/dense/kernel holds numbers that are no scale"):
        list(weights.read(path))


def test_a_zero_point_beyond_the_integers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    item = quantized(np.zeros((2, 3), np.int8), "int4", 1)
    weights.save([StoredTensor(**{**vars(item), "bias": np.array([0, 0, 8], np.int32)})], path)
    with pytest.raises(DataError, match="tensor bias/dense/kernel holds numbers beyond -8 to 7"):
        list(weights.read(path))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, struct.pack("<Q", 2**60)], ids=str)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no safetensors file") as caught:
        list(weights.read(path))
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_a_damaged_file_is_refused_or_read_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "w.safetensors"
    weights.save([quantized(np.arange(6, dtype=np.int8).reshape(2, 3), "int4", 1)], path)
    content = bytearray(path.read_bytes())
    content[flip % len(content)] ^= 1 << (cut % 8)
    path.write_bytes(content[: len(content) - cut] if cut % 3 else content)
    shapes: list[tuple[int, ...]] = []
    reasons: list[Reason] = []
    try:
        shapes.extend(item.values().shape for item in weights.read(path))
    except DataError as error:
        reasons.append(error.reason)
    assert shapes == ([] if reasons else [(2, 3)])
    assert reasons in ([], [Reason.ARTIFACT_CORRUPT])


def test_a_missing_file_is_a_lost_artifact(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        list(weights.read(tmp_path / "none"))
    assert caught.value.reason is Reason.ARTIFACT_LOST
