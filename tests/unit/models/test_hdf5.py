"""HDF5 files that refer to other files, or declare more than they hold."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.models.safety import hdf5


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        hdf5.check(path, "model.h5")
    assert caught.value.reason is Reason.INVALID_MODEL
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.h5"


def test_the_bytes_of_all_arrays_are_counted(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a/kernel"] = np.zeros((3, 4), np.float32)
        file["b"] = np.zeros(5, np.int64)
    assert hdf5.check(path, "model.h5") == 3 * 4 * 4 + 5 * 8


def test_a_link_to_another_file_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/x")
    assert "/a" in refused(path)


def test_a_soft_link_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["g/a"] = h5py.SoftLink("/g")
    assert "/g/a" in refused(path)


def test_values_in_another_file_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    assert "another file" in refused(path)


def test_a_virtual_array_is_refused(path: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)
    assert "another file" in refused(path)


def test_text_as_data_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = "text"
    assert "no numbers" in refused(path)


def test_an_array_that_is_larger_than_its_file_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10**6, 10**6), "f4", chunks=(1000, 1000))
    assert "declares" in refused(path)


def test_groups_that_contain_themselves_end(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("g")["again"] = file["/"]
        file["g/a"] = np.zeros(2, np.float32)
    assert hdf5.check(path, "model.h5") == 8


@pytest.mark.parametrize("length", [0, 8, 100, 1000])
def test_files_that_are_cut_off_are_refused(path: Path, length: int) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(1000, dtype=np.float32)
    path.write_bytes(path.read_bytes()[:length])
    refused(path)


def test_names_as_texts_of_free_length_are_accepted_and_one_long_text_named_often_is_not(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["first", "second"]  # what h5py makes of lists of texts
        file.attrs["model_config"] = "x" * 5000
        file.attrs["long"] = ["y" * 600, "z" * 600]
    assert hdf5.check(path, "model.h5") == 0
    content = path.read_bytes()
    heap = content.rfind(b"GCOL")
    found = [index for index in range(1, 9) if struct.pack("<QI", heap, index) in content]
    first, second = (struct.pack("<QI", heap, index) for index in found[-2:])
    path.write_bytes(content.replace(second, first))
    assert "the same long text many times" in refused(path)


@pytest.mark.parametrize("part", ["free space of no bytes", "a size that wraps around"])
def test_a_heap_that_hdf5_would_read_for_ever_is_refused(path: Path, part: str) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "x" * 5000
    assert hdf5.check(path, "model.h5") == 0
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    content[first : first + 16] = struct.pack(
        "<HHIQ", *((0, 0, 0, 0) if "free" in part else (1, 0, 0, 2**64 - 16))
    )
    path.write_bytes(content)
    assert refused(path) == "model.h5: the HDF5 file cannot be read: a heap of texts is damaged"


def test_numbers_that_look_like_a_heap_are_accepted(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.frombuffer(b"GCOL" + bytes(60), np.uint8)
    assert hdf5.check(path, "model.h5") == 64
