"""Damaged model files and data sets: loaded or refused with one line, never anything else.

A process of its own loads them: the libraries that read HDF5 and checkpoints could crash. 50 damaged copies
of each kind of file; 500 with MODELPRESS_TEST_FULL=1.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.damage import damaged

ROOT = Path(__file__).resolve().parents[3]
COUNT = 500 if os.environ.get("MODELPRESS_TEST_FULL") else 50


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


def load(folder: Path, files: list[tuple[Path, bool]], warm: Path) -> list[dict[str, Any]]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "operator")])
    request = {"warm": [str(warm)], "work": str(folder / "work"), "files": [[str(p), d] for p, d in files]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.load_hostile"],
        input=json.dumps(request),
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    last = files[len(answers)][0] if len(answers) < len(files) else ""
    assert done.returncode == 0, f"{last}: ended with {done.returncode}: {done.stderr[-1000:]}"
    return answers


def check(files: list[tuple[Path, bool]], answers: list[dict[str, Any]]) -> None:
    assert len(answers) == len(files)
    for (path, _), answer in zip(files, answers, strict=True):
        assert answer["error"] in (None, "DataError"), (path, answer)
        if answer["error"]:
            assert answer["exit"] == 65
            assert answer["message"].startswith(path.name), (path, answer)
            assert answer["message"].isprintable()
        assert answer["peak"] < 2**28, (path, answer)


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


@pytest.mark.parametrize(
    ("kind", "copies"),
    [
        ("keras", file_copies),
        ("keras", keras_copies),
        ("h5", file_copies),
        ("zip", file_copies),
        ("saved", folder_copies),
        ("npz", file_copies),
    ],
    ids=["keras", "inside-keras", "h5", "zip", "inside-saved-model", "npz"],
)
def test_a_damaged_file_loads_or_is_refused_with_one_line(
    sources: dict[str, Path],
    tmp_path: Path,
    kind: str,
    copies: Callable[[Path, Path, int], list[Path]],
) -> None:
    paths = copies(sources[kind], tmp_path, 1)
    files = [(path, kind == "npz") for path in paths]
    answers = load(tmp_path, files, sources["keras"])
    check(files, answers)
    assert any(answer["error"] for answer in answers)


def test_every_byte_of_the_start_of_an_hdf5_file(sources: dict[str, Path], tmp_path: Path) -> None:
    """The superblock and the first object headers decide where HDF5 looks."""
    content = sources["h5"].read_bytes()
    files = []
    for place in range(0, 256, 1 if COUNT > 100 else 4):
        path = tmp_path / str(place) / "small.h5"
        path.parent.mkdir()
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        files.append((path, False))
    check(files, load(tmp_path, files, sources["keras"]))


def test_the_damage_is_not_to_the_test(sources: dict[str, Path], tmp_path: Path) -> None:
    with h5py.File(sources["h5"]) as file:
        assert "model_weights" in file
    files = [(sources[kind], kind == "npz") for kind in sources]
    assert [answer["error"] for answer in load(tmp_path, files, sources["keras"])] == [None] * len(files)
