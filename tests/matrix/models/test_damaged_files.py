"""Damaged model files and data sets: loaded or refused with one line, never anything else.

A process of its own loads them: the libraries that read HDF5 and checkpoints could crash.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.hostile.damage import damaged
from tests.support.hostile.process import load_all

COUNT = 500  # damaged copies of each kind of file


def small_keras(folder: Path) -> Path:
    import keras

    source = keras.Input((4,), name="image")
    hidden = keras.layers.Dense(4, activation="relu")(source)
    model = keras.Model(source, keras.layers.Dense(2, name="digit")(hidden))
    model.save(folder / "small.keras")
    model.save(folder / "small.h5")
    model.export(folder / "small", verbose=False)
    shutil.make_archive(str(folder / "small"), "zip", folder / "small")
    return folder / "small.keras"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("small")
    keras = small_keras(folder)
    np.savez(folder / "data.npz", x=np.zeros((6, 64), np.float32), y=np.arange(6))
    return {
        "keras": keras,
        "h5": folder / "small.h5",
        "zip": folder / "small.zip",
        "saved": folder / "small",
        "npz": folder / "data.npz",
    }


def file_copies(source: Path, folder: Path, seed: int) -> list[Path]:
    paths = []
    for i, content in enumerate(damaged(source.read_bytes(), COUNT, seed)):
        (folder / str(i)).mkdir()
        paths.append(folder / str(i) / source.name)
        paths[-1].write_bytes(content)
    return paths


def keras_copies(source: Path, folder: Path, seed: int) -> list[Path]:
    """Damage what is inside of a .keras file, so that the archive's checksums are right."""
    with zipfile.ZipFile(source) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    paths = []
    for name, share in (("model.weights.h5", 2), ("config.json", 2)):
        for i, content in enumerate(damaged(parts[name], COUNT // share, seed)):
            place = folder / f"{name}-{i}"
            place.mkdir()
            paths.append(place / source.name)
            with zipfile.ZipFile(paths[-1], "w") as file:
                for label, old in parts.items():
                    file.writestr(label, content if label == name else old)
    return paths


def folder_copies(source: Path, folder: Path, seed: int) -> list[Path]:
    """Damage the files of a SavedModel folder in turn."""
    names = ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    paths = []
    for name in names:
        for i, content in enumerate(damaged((source / name).read_bytes(), COUNT // 3, seed)):
            paths.append(folder / f"{Path(name).name}-{i}" / source.name)
            shutil.copytree(source, paths[-1])
            (paths[-1] / name).write_bytes(content)
    return paths


def starts(source: Path, folder: Path, seed: int) -> list[Path]:
    """Change bytes of the superblock and the first headers: they decide where HDF5 looks."""
    content = source.read_bytes()
    paths = []
    for place in range(seed % 4, 256, 1 if COUNT > 100 else 8):
        paths.append(folder / str(place) / source.name)
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    return paths


def whole(source: Path, folder: Path, seed: int) -> list[Path]:
    return [source]


CASES: dict[str, tuple[str, Callable[[Path, Path, int], list[Path]]]] = {
    "keras": ("keras", file_copies),
    "inside-keras": ("keras", keras_copies),
    "h5": ("h5", file_copies),
    "start-of-h5": ("h5", starts),
    "zip": ("zip", file_copies),
    "inside-saved-model": ("saved", folder_copies),
    "npz": ("npz", file_copies),
    **{f"whole-{kind}": (kind, whole) for kind in ("keras", "h5", "zip", "saved", "npz")},
}


@pytest.fixture(scope="module")
def answers(
    sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    """Load all copies in one process."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "home").mkdir()
    made: list[tuple[str, Path]] = []
    for case, (kind, copies) in CASES.items():
        (folder / case).mkdir()
        made += [(case, path) for path in copies(sources[kind], folder / case, 1)]
    files = [(path, CASES[case][0] == "npz") for case, path in made]
    loaded = load_all(files, [sources["keras"]], folder / "work", folder / "home")
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {case: [] for case in CASES}
    for (case, path), answer in zip(made, loaded.answers, strict=True):
        found[case].append((path, answer))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_file_loads_or_is_refused_with_one_line(
    answers: dict[str, list[tuple[Path, dict[str, Any]]]], case: str
) -> None:
    for path, answer in answers[case]:
        assert answer["error"] in (None, "DataError"), (path, answer)
        if answer["error"]:
            assert answer["exit"] == 65
            assert answer["message"].startswith(path.name), (path, answer)
            assert answer["message"].isprintable()
        assert answer["peak"] < 2**28, (path, answer)
    whole_file = case.startswith("whole")
    assert any(answer["error"] for _, answer in answers[case]) != whole_file, answers[case][:3]
