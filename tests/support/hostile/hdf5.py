"""Hostile HDF5 files: as .h5 models and as the weights of .keras files."""

import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from modelpress.api.conditions import Reason
from tests.support.hostile.files import HostileFiles, Row
from tests.support.hostile.keras import _lambda as keras_lambda

Edit = Callable[[h5py.File, HostileFiles], None]


def _h5(edit: Edit, files: HostileFiles) -> Path:
    """Write the functional network as .h5 with `edit` made to it."""
    path = files.folder / "model.h5"
    shutil.copy(files.models.functional_h5, path)
    with h5py.File(path, "a") as file:
        edit(file, files)
    return path


def _in_keras(edit: Edit, files: HostileFiles) -> Path:
    """Write the functional network as .keras with `edit` made to its weights."""
    path, weights = files.folder / "model.keras", files.folder / "weights"
    with zipfile.ZipFile(files.models.functional) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name.endswith(".h5"):
                weights.write_bytes(old.read(name))
                with h5py.File(weights, "a") as file:
                    edit(file, files)
                new.write(weights, name)
            else:
                new.writestr(name, old.read(name))
    weights.unlink()
    return path


def _weight(file: h5py.File) -> tuple[h5py.Group, str]:
    """Take the largest array out of the file; return its group and name."""
    found: list[Any] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    largest = max(found, key=lambda item: item.size)
    group, name = largest.parent, largest.name.rsplit("/", 1)[-1]
    del group[name]
    return group, name


def _external_link(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group[name] = h5py.ExternalLink(str(files.traps.secret), "/weights")


def _soft_link(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group[name] = h5py.SoftLink("/elsewhere")


def _external_storage(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (64, 64), "f4", external=[(str(files.traps.secret), 0, 64 * 64 * 4)])


def _virtual(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    layout = h5py.VirtualLayout((64, 64), "f4")
    layout[:] = h5py.VirtualSource(str(files.traps.secret), "weights", (64, 64))
    group.create_virtual_dataset(name, layout)


def _declared(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (2**20, 2**20), "f4", chunks=(64, 64))


def _deflated(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, data=np.zeros((64, 2**18), np.float32), chunks=(64, 2**12), compression="gzip")


def _large_chunk(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (64, 64), "f4", maxshape=(None, None), chunks=(2**14, 2**15))


def _plug_in(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    # an optional filter, or it could not be created here where nobody has the plug-in
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((64, 64))
    plist.set_filter(31_999, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((64, 64))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)


def _text(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group[name] = "text"


def _references(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (4,), dtype=h5py.ref_dtype)


def _free_length(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (4,), dtype=h5py.vlen_dtype(np.float32))


def _compound(file: h5py.File, files: HostileFiles) -> None:
    group, name = _weight(file)
    group.create_dataset(name, (4,), dtype=[("a", "f4"), ("b", h5py.string_dtype())])


def _texts(file: h5py.File, files: HostileFiles) -> None:
    """Add a list of long texts."""
    group = file["model_weights"]
    names = np.array(["x" * 2**20] * 40, dtype=object)
    group.attrs.create("layer_names_0", names, dtype=h5py.string_dtype())


def _many(file: h5py.File, files: HostileFiles) -> None:
    for i in range(10_001):
        file.create_group(f"g{i}")


def _large_structure(file: h5py.File, files: HostileFiles) -> None:
    file.attrs["model_config"] = " " * (40 * 2**20)


def _structure(text: Any) -> Edit:
    def edit(file: h5py.File, files: HostileFiles) -> None:
        file.attrs["model_config"] = text

    return edit


def _no_weights(file: h5py.File, files: HostileFiles) -> None:
    del file["model_weights"]


def _lambda(files: HostileFiles) -> Path:
    import keras

    path = keras_lambda(files)
    with zipfile.ZipFile(path) as file:
        config = file.read("config.json")
    path.unlink()
    target = _h5(lambda file, _: file.attrs.__setitem__("model_config", config.decode()), files)
    assert keras.__version__
    return target


def _both(name: str, edit: Edit, words: str) -> list[Row]:
    return [
        Row(f"h5-{name}", partial(_h5, edit), words),
        Row(f"keras-weights-{name}", partial(_in_keras, edit), words),
    ]


ROWS = [
    *_both("external-link", _external_link, "links to another object or file"),
    *_both("soft-link", _soft_link, "links to another object or file"),
    *_both("CVE-2026-1669-external-storage", _external_storage, "in another file"),
    *_both("virtual", _virtual, "in another file"),
    *_both("shape-bomb", _declared, "bytes of arrays"),
    *_both("zip-bomb", _deflated, "compressed or filtered"),
    *_both("chunk-bomb", _large_chunk, "bytes of arrays"),
    *_both("plug-in", _plug_in, "compressed or filtered"),
    *_both("text", _text, "holds no numbers"),
    *_both("references", _references, "holds no numbers"),
    *_both("free-length", _free_length, "holds no numbers"),
    *_both("compound", _compound, "holds no numbers"),
    *_both("many-objects", _many, "objects in the HDF5 file"),
    Row("h5-attribute-bomb", partial(_h5, _texts), "layer_names"),
    Row("h5-large-structure", partial(_h5, _large_structure), "are no arrays"),
    Row("h5-structure-is-a-number", partial(_h5, _structure(3)), "no text"),
    Row("h5-structure-is-deep", partial(_h5, _structure('{"a":' * 10_000)), "not JSON"),
    Row("h5-structure-is-bytes", partial(_h5, _structure(b"\xff\xfe{")), "not JSON"),
    Row("h5-without-weights", partial(_h5, _no_weights), "model.h5"),
    Row("h5-CVE-2025-9905-Lambda", _lambda, "Lambda 'lambda", Reason.UNSUPPORTED_MODEL),
]
