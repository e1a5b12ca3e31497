"""The entry of this package: load a model file of any accepted kind.

The kind is read from the content, never from the name: downloads do not always keep their names.
"""

import tempfile
from pathlib import Path

from modelpress.api.errors import DataError
from modelpress.models.types import LoadedModel, first_line, invalid, one_line

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_GZIP = b"\x1f\x8b"
ACCEPTED = "a .keras, .h5 or .tflite file, or a SavedModel as directory, .zip or .tar.gz"


def load(path: Path, work_dir: Path) -> LoadedModel:
    """Load the model at `path`; archives are unpacked below `work_dir`, which must outlive the model.

    Raises DataError with InvalidModel (broken, or not safe) or UnsupportedModel (needs its author's code,
    or has no signature that can be served). Messages are one line and name the file.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="model-", dir=work_dir))
    try:
        return _load(path, scratch)
    except DataError as error:
        if error.message.startswith(path.name):
            raise
        raise DataError(error.reason, one_line(f"{path.name}: {error.message}")) from error


def _load(path: Path, scratch: Path) -> LoadedModel:
    # imported here: the checks above a SavedModel need TensorFlow, a wrong path should not wait for it
    from modelpress.models.keras import file as keras_file  # noqa: PLC0415
    from modelpress.models.safety import archive  # noqa: PLC0415
    from modelpress.models.saved_model import folder as saved_model  # noqa: PLC0415

    if path.is_dir():
        return saved_model.load_saved_model(_saved_model_in(path, path.name), scratch, path.name)
    start = _start(path)
    if start.startswith(_HDF5):
        return keras_file.load_h5(path)
    if start.startswith(_ZIP):
        if keras_file.is_keras(path):
            return keras_file.load_keras(path, scratch)
        archive.unpack_zip(path, scratch / "unpacked")
    elif start.startswith(_GZIP):
        archive.unpack_tar_gz(path, scratch / "unpacked")
    else:
        raise invalid(
            f"{path.name}: {'is empty' if not start else 'is of an unknown kind'}; accepted is {ACCEPTED}"
        )
    return saved_model.load_saved_model(_saved_model_in(scratch / "unpacked", path.name), scratch, path.name)


def _start(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise invalid(f"{path.name}: is a device or pipe; accepted is {ACCEPTED}")
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise invalid(f"{path.name}: cannot be read: {first_line(error)}") from error


def _saved_model_in(folder: Path, name: str) -> Path:
    """Return the one folder with a saved_model.pb: archives often have a folder around it."""
    found = [path.parent for path in sorted(folder.rglob("saved_model.pb"))] if folder.is_dir() else []
    if (folder / "saved_model.pb").is_file():
        return folder
    if len(found) != 1:
        count = "no saved_model.pb" if not found else f"{len(found)} SavedModels"
        raise invalid(f"{name}: holds {count}; accepted is {ACCEPTED}")
    return found[0]
