"""An OCI image layout directory as a store: `oci-layout`, `index.json` and `blobs/sha256/`.

Files are replaced by renames, so reading needs no lock; writers take the lock file, one at a time.
Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError, PermissionDenied, UnavailableError
from modelpress.artifacts import documents
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.image import (
    KEY_ANNOTATION,
    Descriptor,
    Image,
    canonical_json,
    key_tag,
    sha256_digest,
)
from modelpress.artifacts.stores.unpack import DIGEST, MAX_DOCUMENT, corrupt, parse, unpack

_REF_NAME = "org.opencontainers.image.ref.name"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_log = logging.getLogger(__name__)


class LayoutStore:
    """A layout directory; it is made by the first push."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def push(self, image: Image, key: str) -> str:
        """Store an image under its artifact key and return its digest. A damaged blob is written anew."""
        with self._errors():
            self._blobs.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock"):
                _replace(self._folder / "oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
                for blob in image.blobs:
                    self._keep(blob.path, blob.descriptor)
                _replace(self._path(image.digest), image.manifest)
                entry = {**image.descriptor.to_wire(), "annotations": {_REF_NAME: key_tag(key)}}
                others = [other for other in self._entries() if _tag(other) != key_tag(key)]
                self._write_index([*others, entry])
        return image.digest

    def find(self, key: str) -> str | None:
        """Return the digest of the complete artifact of this key, or None."""
        with self._errors():
            for entry in self._entries():
                digest = str(entry.get("digest"))
                if _tag(entry) != key_tag(key) or not DIGEST.fullmatch(digest):
                    continue
                path = self._path(digest)
                if path.exists() and sha256_digest(path.read_bytes()) == digest:
                    parsed = parse(path.read_bytes(), digest)
                    blobs = (parsed.config, *parsed.layers)
                    if parsed.annotations.get(KEY_ANNOTATION) == key and all(map(self._complete, blobs)):
                        return digest
        return None

    def renew(self, digest: str) -> None:
        """Make an artifact the newest one, as if it had just been pushed."""
        with self._errors(), FileLock(self._folder / ".lock"):
            self._write_index(sorted(self._entries(), key=lambda entry: entry.get("digest") == digest))

    def newest(self) -> str:
        """Return the digest of the artifact that was pushed or renewed last.

        Raises MissingError (ArtifactLost) where there is none.
        """
        with self._errors():
            entries = self._entries()
        if not entries:
            raise MissingError(Reason.ARTIFACT_LOST, f"{self._folder}: holds no artifact")
        return str(entries[-1].get("digest"))

    def pull(self, digest: str, target: Path) -> None:
        """Write the verified files of an artifact to the folder `target`, which replaces an earlier one."""
        with self._errors():
            unpack(self, digest, target)

    def manifest(self, digest: str) -> bytes:
        """Return the bytes of a manifest. Raises MissingError (ArtifactLost) where there is none."""
        with self._open(digest) as file:
            return file.read(MAX_DOCUMENT)

    def copy(self, descriptor: Descriptor, write: Callable[[bytes], object]) -> None:
        """Pass the bytes of a blob to `write`. Raises MissingError (ArtifactLost) where there is none."""
        with self._open(descriptor.digest) as file:
            while piece := file.read(2**20):
                write(piece)

    @property
    def _blobs(self) -> Path:
        return self._folder / "blobs" / "sha256"

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise corrupt(f"{digest!r} is not a digest: sha256: and 64 hexadecimal digits")
        return self._blobs / digest.removeprefix("sha256:")

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError as error:
            raise MissingError(Reason.ARTIFACT_LOST, f"{self._folder}: has no blob {digest}") from error

    def _complete(self, descriptor: Descriptor) -> bool:
        path = self._path(descriptor.digest)
        return path.exists() and path.stat().st_size == descriptor.size

    def _keep(self, source: Path, descriptor: Descriptor) -> None:
        target = self._path(descriptor.digest)
        if target.exists() and f"sha256:{file_sha256(target)}" == descriptor.digest:
            return
        partial = target.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.replace(target)

    def _entries(self) -> list[dict[str, Any]]:
        try:
            index = documents.read(self._folder / "index.json", documents.MAX_INDEX)
            entries = json.loads(index)["manifests"]
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise TypeError("manifests is not a list of objects")
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise corrupt(f"{self._folder / 'index.json'}: is not an OCI image index") from error
        return entries

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": entries}
        _replace(self._folder / "index.json", canonical_json(index))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the file system into the store's."""
        try:
            yield
        except PermissionError as error:
            raise PermissionDenied(
                Reason.STORE_UNAUTHORIZED, f"{self._folder}: permission denied: {error.filename}"
            ) from error
        except OSError as error:
            raise UnavailableError(
                Reason.STORE_UNAVAILABLE, f"{self._folder}: {error.strerror or error}"
            ) from error


def _tag(entry: dict[str, Any]) -> str | None:
    annotations = entry.get("annotations")
    return annotations.get(_REF_NAME) if isinstance(annotations, dict) else None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
