"""Data sets: what is read, and what is refused with one line."""

import re
import resource
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, UnavailableError
from modelpress.compression.evaluation import data_values, dataset
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.models.types import Table, TensorSpec

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


def test_arrays_without_values_are_refused(tmp_path: Path) -> None:
    tokens = np.ones((4, 0), np.int32)
    said = "array x has no values: its shape is (4, 0)"
    assert said in refused(tmp_path, {"x": tokens, "y": np.arange(4)}, inputs=(TOKENS,))
    (tmp_path / "y").mkdir()
    assert "array y has no values" in refused(tmp_path / "y", {"x": images(), "y": np.ones((4, 0))})


def test_labels_of_every_output_are_needed(tmp_path: Path) -> None:
    other = TensorSpec("other", (-1, 1), "float32")
    assert "other" in refused(tmp_path, {"x": images(), "digit": np.arange(4)}, outputs=(DIGIT, other))


def at(dtype: str, row: int, value: Any, shape: tuple[int, ...] = (6, 3)) -> np.ndarray:
    """Return ones with another value in one row."""
    array = np.ones(shape, dtype)
    array[row, -1] = value
    return array


VECTOR = TensorSpec("v", (-1, 3), "float32")
IDS = TensorSpec("ids", (-1, 3), "int32", table=Table("words", 50))
FLOAT_IDS = TensorSpec("ids", (-1, 3), "float32", table=Table("words", 50))


@pytest.mark.parametrize(
    ("spec", "array", "said"),
    [
        (VECTOR, at("float32", 4, np.nan), "array x, row 4: nan is not a finite number"),
        (VECTOR, at("float16", 2, -np.inf), "array x, row 2: -inf is not a finite number"),
        (VECTOR, at("float64", 2, 1e300), r"array x, row 2: 1e\+300 is too large for float32"),
        (replace(VECTOR, dtype="float16"), at("int32", 1, 70000), "row 1: 70000 is too large for float16"),
        (
            replace(VECTOR, dtype="uint8"),
            at("int16", 3, 4095),
            r"row 3: 4095 does not fit into uint8, .* 0 to 255",
        ),
        (replace(VECTOR, dtype="uint8"), at("int8", 3, -1), "row 3: -1 does not fit into uint8"),
        (
            replace(VECTOR, dtype="int32"),
            at("uint64", 0, 2**63),
            "row 0: 9223372036854775808 does not fit into int32",
        ),
        (
            replace(VECTOR, dtype="int64"),
            at("uint64", 5, 2**64 - 1),
            "row 5: 18446744073709551615 does not fit",
        ),
        (IDS, at("int64", 5, 50), "row 5: 50 is no row of the table words, which has rows 0 to 49"),
        (IDS, at("int32", 1, -1), "row 1: -1 is no row of the table words"),
        (IDS, at("int64", 1, 2**40), "row 1: 1099511627776 does not fit into int32"),
        (FLOAT_IDS, at("float32", 1, 50), "row 1: 50 is no row of the table words"),
        (FLOAT_IDS, at("float32", 1, np.nan), "row 1: nan is not a finite number"),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_the_first_row_with_a_wrong_value_is_named(
    tmp_path: Path, spec: TensorSpec, array: np.ndarray, said: str, labels: bool
) -> None:
    message = refused(tmp_path, {"x": array, "y": np.arange(6)}, inputs=(spec,), labels=labels)
    assert re.search(
        rf"^data\.npz: {said}" if said.startswith("array") else rf"^data\.npz: array x, {said}", message
    )


def test_the_first_of_several_wrong_rows_counts_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = at("float32", 5, 50)
    array[3, 0] = np.inf
    for block in (1, 12, 24, 2**20):
        monkeypatch.setattr(data_values, "_BLOCK_BYTES", block)
        assert data_values.input_fault(FLOAT_IDS, array) == "row 3: inf is not a finite number"


@pytest.mark.parametrize(
    ("spec", "array"),
    [
        (VECTOR, at("float64", 4, 3e38)),
        (VECTOR, at("uint64", 4, 2**64 - 1)),
        (VECTOR, at("bool", 4, False)),
        (replace(VECTOR, dtype="uint8"), at("int64", 4, 255)),
        (replace(VECTOR, dtype="int8"), at("uint64", 4, 127)),
        (replace(VECTOR, dtype="int64"), at("bool", 4, False)),
        (IDS, at("int64", 4, 49)),
        (FLOAT_IDS, at("float32", 4, 49.9)),  # the cast to integers cuts the fraction off
        (FLOAT_IDS, at("float32", 4, -0.5)),
        (VECTOR, np.ones((6, 0), "float32")),
    ],
)
def test_values_at_the_edge_are_taken(spec: TensorSpec, array: np.ndarray) -> None:
    assert data_values.input_fault(spec, array) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_labels_that_are_no_numbers_are_named_too(tmp_path: Path, value: float) -> None:
    y = np.zeros(4)
    y[2] = value
    message = refused(tmp_path, {"x": images(), "y": y})
    assert message.startswith(f"data.npz: array y, row 2: {value:.9g} is "), message


def test_an_array_that_is_an_input_is_no_label(tmp_path: Path) -> None:
    both = tuple(replace(VECTOR, name=name) for name in "xy")
    out = (TensorSpec("out", (-1, 3), "float32"),)
    x, y, labels = (np.full((4, 3), number, "float32") for number in range(3))
    found = read(tmp_path, {"x": x, "y": y, "out": labels}, inputs=both, outputs=out)
    assert np.array_equal(found.inputs["y"], y)
    assert np.array_equal(found.labels["out"], labels)
    for needed in (True, False):
        path = tmp_path / f"{needed}"
        path.mkdir()
        arrays = {"x": x, "y": y}
        if needed:
            assert "no array out; it has x, y (an input is no label)" in refused(
                path, arrays, inputs=both, outputs=out
            )
        else:
            assert read(path, arrays, inputs=both, outputs=out, labels=False).labels == {}
    assert not dataset.has_labels(tmp_path / "True" / "data.npz", both, out)
    assert dataset.has_labels(tmp_path / "data.npz", both, out)


def test_a_single_input_is_no_label_whatever_it_is_called(tmp_path: Path) -> None:
    """An autoencoder whose output has the name of its input."""
    spec = replace(VECTOR, name="y")
    message = refused(tmp_path, {"y": np.ones((4, 3), "float32")}, inputs=(spec,), outputs=(spec,))
    assert "an input is no label" in message


def test_arrays_that_nothing_reads_are_known_with_the_reason(tmp_path: Path) -> None:
    arrays = {"x": images(), "y": np.arange(4), "sample_weight": np.ones(4), "labels": np.array(["a"] * 4)}
    assert set(read(tmp_path, arrays).unread) == {"sample_weight", "labels"}


@pytest.mark.parametrize(
    ("y", "why"),
    [
        (np.arange(3), "it has 3 rows, not 4"),
        (np.array([1, 2, np.nan, 4]), "array y, row 2: nan is not a finite number"),
        (np.array(["a"] * 4), "array y has dtype <U1; accepted are numbers and booleans"),
    ],
)
def test_labels_that_do_not_fit_and_are_not_needed_are_unread(
    tmp_path: Path, y: np.ndarray, why: str
) -> None:
    found = read(tmp_path, {"x": images(), "y": y}, labels=False)
    assert found.labels == {}
    assert found.unread == {"y": why}


def test_python_objects_are_refused_with_the_way_out(tmp_path: Path) -> None:
    ragged = np.array([np.ones(2), np.ones(3), np.ones(4), np.ones(5)], dtype=object)
    message = refused(tmp_path, {"x": ragged, "y": np.arange(4)})
    assert "array x holds Python objects, or rows of different lengths" in message
    assert 'astype("float32")' in message


def test_the_only_input_is_named_once_where_it_is_called_x(tmp_path: Path) -> None:
    message = refused(tmp_path, {"z": images()}, inputs=(replace(IMAGE, name="x"),), labels=False)
    assert message == "data.npz: has no array x; it has z"


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
