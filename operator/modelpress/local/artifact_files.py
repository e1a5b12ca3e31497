"""An artifact's files on this machine, wherever they are: unpacked, or in an OCI image layout."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError
from modelpress.artifacts.stores.base import open_store, unpack_layout

_LAYOUT_FILE = "oci-layout"


@contextmanager
def artifact_files(directory: Path) -> Iterator[Path]:
    """Yield a folder with the files of an artifact: `directory`, or the newest one of an OCI image layout.

    Raises MissingError where there is no such folder.
    """
    if not directory.is_dir():
        raise MissingError(Reason.ARTIFACT_LOST, f"{directory}: no such folder")
    if not (directory / _LAYOUT_FILE).exists():
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="modelpress-") as temporary:
        unpack_layout(directory, Path(temporary) / "artifact")
        yield Path(temporary) / "artifact"


@contextmanager
def stored_files(layout: Path, digest: str) -> Iterator[Path]:
    """Yield a folder with the files of an artifact in an OCI image layout."""
    with tempfile.TemporaryDirectory(prefix="modelpress-") as temporary:
        target = Path(temporary) / "artifact"
        open_store(layout.resolve().as_uri()).pull(digest, target)
        yield target
