"""Damaged copies of model files and data sets, and what loading them came to.

A process of its own loads them: the libraries that read HDF5 and checkpoints could crash.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.hostile.damage import damaged
from tests.support.hostile.process import load_all

Answers = dict[str, list[tuple[Path, dict[str, Any]]]]  # by case: each file, and what loading it came to


def answers(folder: Path, count: int) -> Answers:
    """Load `count` damaged copies of each kind of file, and the whole files, in one process."""
    sources = _sources(folder)
    (folder / "home").mkdir()
    made: list[tuple[str, Path]] = []
    for case, (kind, copies) in CASES.items():
        (folder / case).mkdir()
        made += [(case, path) for path in copies(sources[kind], folder / case, count)]
    files = [(path, CASES[case][0] == "npz") for case, path in made]
    loaded = load_all(files, [sources["keras"]], folder / "work", folder / "home")
    found: Answers = {case: [] for case in CASES}
    for (case, path), answer in zip(made, loaded.answers, strict=True):
        found[case].append((path, answer))
    return found


def assert_loaded_or_refused(found: Answers, case: str) -> None:
    """Each file is loaded or refused with one line; some damage is refused, and no whole file is."""
    for path, answer in found[case]:
        assert answer["error"] in (None, "DataError"), (path, answer)
        if answer["error"]:
            assert answer["exit"] == 65
            assert answer["message"].startswith(path.name), (path, answer)
            assert answer["message"].isprintable()
        assert answer["peak"] < 2**28, (path, answer)
    assert any(answer["error"] for _, answer in found[case]) != case.startswith("whole"), found[case][:3]


def _sources(folder: Path) -> dict[str, Path]:
    import keras

    source = keras.Input((4,), name="image")
    hidden = keras.layers.Dense(4, activation="relu")(source)
    model = keras.Model(source, keras.layers.Dense(2, name="digit")(hidden))
    model.save(folder / "small.keras")
    model.save(folder / "small.h5")
    model.export(folder / "small", verbose=False)
    shutil.make_archive(str(folder / "small"), "zip", folder / "small")
    np.savez(folder / "data.npz", x=np.zeros((6, 64), np.float32), y=np.arange(6))
    return {
        "keras": folder / "small.keras",
        "h5": folder / "small.h5",
        "zip": folder / "small.zip",
        "saved": folder / "small",
        "npz": folder / "data.npz",
    }


def _of_the_file(source: Path, folder: Path, count: int) -> Iterator[Path]:
    for i, content in enumerate(damaged(source.read_bytes(), count, seed=1)):
        (folder / str(i)).mkdir()
        path = folder / str(i) / source.name
        path.write_bytes(content)
        yield path


def _inside_keras(source: Path, folder: Path, count: int) -> Iterator[Path]:
    """Damage what is inside of a .keras file, so that the archive's checksums are right."""
    with zipfile.ZipFile(source) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    for name in ("model.weights.h5", "config.json"):
        for i, content in enumerate(damaged(parts[name], count // 2, seed=1)):
            path = folder / f"{name}-{i}" / source.name
            path.parent.mkdir()
            with zipfile.ZipFile(path, "w") as file:
                for label, old in parts.items():
                    file.writestr(label, content if label == name else old)
            yield path


def _inside_saved_model(source: Path, folder: Path, count: int) -> Iterator[Path]:
    """Damage the files of a SavedModel folder in turn."""
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        for i, content in enumerate(damaged((source / name).read_bytes(), count // 3, seed=1)):
            path = folder / f"{Path(name).name}-{i}" / source.name
            shutil.copytree(source, path)
            (path / name).write_bytes(content)
            yield path


def _start(source: Path, folder: Path, count: int) -> Iterator[Path]:
    """Change bytes of the superblock and the first headers: they decide where HDF5 looks."""
    content = source.read_bytes()
    for offset in range(0, 256, max(1, 256 // count)):
        path = folder / str(offset) / source.name
        path.parent.mkdir()
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :])
        yield path


def _whole(source: Path, folder: Path, count: int) -> Iterator[Path]:
    yield source


CASES: dict[str, tuple[str, Callable[[Path, Path, int], Iterator[Path]]]] = {
    "keras": ("keras", _of_the_file),
    "inside-keras": ("keras", _inside_keras),
    "h5": ("h5", _of_the_file),
    "start-of-h5": ("h5", _start),
    "zip": ("zip", _of_the_file),
    "inside-saved-model": ("saved", _inside_saved_model),
    "npz": ("npz", _of_the_file),
    **{f"whole-{kind}": (kind, _whole) for kind in ("keras", "h5", "zip", "saved", "npz")},
}
