"""Data sets: what is read, and what is refused with one line."""

import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, UnavailableError
from modelpress.compression.evaluation import dataset
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.models.types import TensorSpec

IMAGE = TensorSpec("image", (-1, 8, 8, 1), "float32")
DIGIT = TensorSpec("digit", (-1, 10), "float32")
TOKENS = TensorSpec("tokens", (-1, -1), "int32")


def read(
    tmp_path: Path,
    arrays: dict[str, Any],
    inputs: tuple[TensorSpec, ...] = (IMAGE,),
    outputs: tuple[TensorSpec, ...] = (DIGIT,),
    labels: bool = True,
) -> Dataset:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **arrays)
    return dataset.load(path, tmp_path / "arrays", inputs, outputs, labels=labels)


def refused(tmp_path: Path, arrays: dict[str, Any], **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, arrays, **options)
    return one_line(caught.value)


def one_line(error: DataError) -> str:
    assert error.reason is Reason.INVALID_DATA
    assert "\n" not in error.message
    assert error.message.startswith("data.npz")
    return error.message


def images(rows: int = 4, dtype: str = "float32") -> np.ndarray:
    return np.arange(rows * 64).reshape(rows, 8, 8, 1).astype(dtype)


def test_x_and_y_are_read_and_batches_have_the_models_dtype(tmp_path: Path) -> None:
    data = read(tmp_path, {"x": images(5, "float64"), "y": np.arange(5)})
    assert data.rows == 5
    batch = data.batch(2, 4)["image"]
    assert batch.dtype == np.float32
    assert np.array_equal(batch, images(5)[2:4])
    assert data.labels["digit"].tolist() == [0, 1, 2, 3, 4]


def test_arrays_are_mapped_and_not_held_in_memory(tmp_path: Path) -> None:
    assert isinstance(read(tmp_path, {"x": images(), "y": np.arange(4)}).inputs["image"], np.memmap)


def test_names_of_inputs_and_outputs_are_keys(tmp_path: Path) -> None:
    arrays = {
        "image": images(),
        "tokens": np.ones((4, 3), np.int64),
        "digit": np.arange(4),
        "other": np.ones(4),
    }
    other = TensorSpec("other", (-1, 1), "float32")
    data = read(tmp_path, arrays, inputs=(IMAGE, TOKENS), outputs=(DIGIT, other))
    assert set(data.inputs) == {"image", "tokens"}
    assert set(data.labels) == {"digit", "other"}
    assert data.batch(0, 2)["tokens"].dtype == np.int32


def test_labels_are_not_needed_where_the_metric_needs_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"x": images()}, labels=False).labels == {}


def test_integers_and_bytes_are_taken_for_float_inputs(tmp_path: Path) -> None:
    assert read(tmp_path, {"x": images(dtype="uint8"), "y": np.arange(4)}).rows == 4


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.arange(4)}, ["x or image", "y"]),
        ({"x": images()}, ["no array y"]),
        ({"x": images(), "y": np.arange(3)}, ["rows", "4", "3"]),
        ({"x": images()[:0], "y": np.arange(0)}, ["no rows"]),
        ({"x": images()[..., 0], "y": np.arange(4)}, ["(4, 8, 8)", "float32(N, 8, 8, 1)"]),
        ({"x": images().reshape(4, 64), "y": np.arange(4)}, ["(4, 64)"]),
        ({"x": np.float32(3), "y": np.arange(4)}, ["single number"]),
        ({"x": np.array(["a"] * 4), "y": np.arange(4)}, ["dtype"]),
        ({"x": images().astype(complex), "y": np.arange(4)}, ["dtype"]),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, Any], words: list[str]) -> None:
    message = refused(tmp_path, arrays)
    assert all(word in message for word in words), message


def test_fractions_are_refused_for_whole_number_inputs(tmp_path: Path) -> None:
    message = refused(tmp_path, {"x": np.ones((4, 3)), "y": np.arange(4)}, inputs=(TOKENS,))
    assert "float64" in message
    assert "int32" in message


def test_labels_of_every_output_are_needed(tmp_path: Path) -> None:
    other = TensorSpec("other", (-1, 1), "float32")
    assert "other" in refused(tmp_path, {"x": images(), "digit": np.arange(4)}, outputs=(DIGIT, other))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    assert "x" in refused(tmp_path, {"x": np.array([Evil()], dtype=object), "y": np.arange(1)})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(40)])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        dataset.load(path, tmp_path / "arrays", (IMAGE,), (DIGIT,), labels=True)
    one_line(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=images(50), y=np.arange(50))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError) as caught:
        dataset.load(path, tmp_path / "arrays", (IMAGE,), (DIGIT,), labels=True)
    one_line(caught.value)


def test_an_array_whose_header_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 8, 8, 1), }"
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(64)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", content)
    with pytest.raises(DataError) as caught:
        dataset.load(path, tmp_path / "arrays", (IMAGE,), (DIGIT,), labels=False)
    one_line(caught.value)


def test_names_in_the_file_are_never_paths(tmp_path: Path) -> None:
    spec = TensorSpec("../../evil", (-1, 2), "float32")
    data = read(tmp_path, {"../../evil": np.ones((3, 2))}, inputs=(spec,), labels=False)
    assert data.rows == 3
    assert not (tmp_path.parent / "evil.npy").exists()
    assert [path.parent for path in tmp_path.rglob("*.npy")] == [tmp_path / "arrays"]


def test_a_disk_that_takes_no_more_is_not_told_as_a_wrong_file(tmp_path: Path) -> None:
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((4096, 8, 8, 1), np.float32), y=np.zeros(4096))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, size[1]))
    try:
        with pytest.raises(UnavailableError, match=r"^data\.npz: cannot be unpacked: File too large$"):
            dataset.load(tmp_path / "data.npz", tmp_path / "arrays", (IMAGE,), (DIGIT,), labels=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
