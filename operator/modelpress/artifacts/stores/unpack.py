"""Reads an image from a store and writes its files into a folder, trusting nothing but the image's digest.

Order: manifest against the digest, configuration and layers against the manifest, and only then a layer is
opened. Of a layer only regular files with plain relative names are written, into a fresh folder that becomes
the target when everything is verified. What a layer has in it is counted before it is written, by what counts
the archives of models too.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts.image import (
    ANY_RATIO,
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    sha256_digest,
)
from modelpress.artifacts.manifest import MANIFEST_FILE, PLAIN_PATH, load_verified
from modelpress.bounds import json_values, room, tar_stream

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_DOCUMENT = 4 * 2**20  # bytes of a manifest or configuration, as registries limit them
_MAX_DOCUMENT_VALUES = 10_000  # an image of ours has some fifty
_MAX_LAYERS = 16
_MAX_UNPACKED = 64 * 2**30  # bytes of all files
_PIECE = 2**20


class Reader(Protocol):
    """Gives the blobs of one store."""

    def manifest(self, digest: str) -> bytes:
        """Return the bytes of a manifest. Raises MissingError (ArtifactLost) where there is none."""

    def copy(self, descriptor: Descriptor, write: Callable[[bytes], object]) -> None:
        """Pass the bytes of a blob to `write`, piece by piece; MissingError (ArtifactLost) as above."""


@dataclass(frozen=True)
class Parsed:
    """An image manifest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str]


def corrupt(message: str) -> DataError:
    """Return the error for content that differs from its digest or is no artifact."""
    return DataError(Reason.ARTIFACT_CORRUPT, message)


def parse(content: bytes, digest: str) -> Parsed:
    """Return the manifest of an artifact. Raises DataError (ArtifactCorrupt) where it is not one."""
    if sha256_digest(content) != digest:
        raise corrupt(f"image manifest: its digest is {sha256_digest(content)}, expected is {digest}")
    try:
        document = _document(content)
        config = _descriptor(document["config"], {CONFIG_TYPE})
        layers = tuple(_descriptor(layer, {LAYER_TYPE}) for layer in document["layers"])
        annotations = {str(key): str(value) for key, value in (document.get("annotations") or {}).items()}
        if document.get("mediaType", MANIFEST_TYPE) != MANIFEST_TYPE or len(layers) > _MAX_LAYERS:
            raise ValueError("not an image manifest")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise corrupt(f"image manifest {digest}: is not a ModelPress artifact") from error
    return Parsed(config, layers, annotations)


def unpack(reader: Reader, digest: str, target: Path) -> None:
    """Write the files of the image `digest` to the folder `target`, which replaces an earlier one.

    `target` must not be a mount point, because it is put in place by a rename. Raises MissingError
    (ArtifactLost) and DataError (ArtifactCorrupt); then `target` is as it was.
    """
    parsed = parse(reader.manifest(digest), digest)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    files = partial / "files"
    files.mkdir(parents=True)
    try:
        diff_ids = _diff_ids(reader, parsed.config)
        if len(diff_ids) != len(parsed.layers):
            raise corrupt(f"image {digest}: {len(parsed.layers)} layers, {len(diff_ids)} diff_ids")
        left = room.Room(_MAX_UNPACKED, sum(layer.size for layer in parsed.layers), ANY_RATIO)
        for layer, diff_id in zip(parsed.layers, diff_ids, strict=True):
            blob = partial / "layer"
            with blob.open("wb") as file:
                copy_verified(reader, layer, file.write)
            _extract(blob, diff_id, files, left)
            blob.unlink()
        if not (files / MANIFEST_FILE).is_file():
            raise corrupt(f"image {digest}: has no {MANIFEST_FILE}")
        load_verified(files)
        if target.exists():
            shutil.rmtree(target)
        files.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_verified(reader: Reader, descriptor: Descriptor, write: Callable[[bytes], object]) -> None:
    """Pass a blob to `write`. Raises DataError (ArtifactCorrupt) where its size or digest is another."""
    found = hashlib.sha256()
    size = 0

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > descriptor.size:
            raise corrupt(f"blob {descriptor.digest}: is longer than {descriptor.size} bytes")
        found.update(piece)
        write(piece)

    reader.copy(descriptor, take)
    if size != descriptor.size or f"sha256:{found.hexdigest()}" != descriptor.digest:
        raise corrupt(
            f"blob {descriptor.digest}: the store gives {size} of {descriptor.size} bytes"
            f" with digest sha256:{found.hexdigest()}"
        )


def _document(content: bytes | bytearray) -> Any:
    """Parse an image's JSON. Raises ValueError, also for more values than an image has; RecursionError."""
    if json_values.count(content) > _MAX_DOCUMENT_VALUES:
        raise ValueError("more values than an image has")
    return json.loads(content)


def _descriptor(value: dict[str, Any], types: set[str]) -> Descriptor:
    descriptor = Descriptor(value["mediaType"], value["digest"], value["size"])
    if descriptor.media_type not in types or not DIGEST.fullmatch(descriptor.digest):
        raise ValueError("not a descriptor of an artifact")
    if isinstance(descriptor.size, bool) or not isinstance(descriptor.size, int) or descriptor.size < 0:
        raise ValueError("not a size")
    return descriptor


def _diff_ids(reader: Reader, descriptor: Descriptor) -> list[str]:
    if descriptor.size > MAX_DOCUMENT:
        raise corrupt(f"image configuration {descriptor.digest}: is longer than {MAX_DOCUMENT} bytes")
    content = bytearray()
    copy_verified(reader, descriptor, content.extend)
    try:
        diff_ids = _document(content)["rootfs"]["diff_ids"]
        if not isinstance(diff_ids, list) or not all(DIGEST.fullmatch(diff_id) for diff_id in diff_ids):
            raise ValueError("not digests")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise corrupt(f"image configuration {descriptor.digest}: has no rootfs.diff_ids") from error
    return diff_ids


class _HashingReader(io.BufferedIOBase):
    """A readable file that hashes what is read from it."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int | None = -1) -> bytes:
        piece = self._source.read(size)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Read what is left and return the digest of everything."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def _extract(blob: Path, diff_id: str, target: Path, left: room.Room) -> None:
    try:
        with gzip.open(blob, "rb") as zipped:
            plain = _HashingReader(zipped)
            for entry in tar_stream.entries(plain):
                left.take(entry.size)
                _write(entry, target)
            found = plain.digest()
    except room.TooLargeError as error:
        raise corrupt(f"image layer: {error}") from error
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, room.WrongLengthError) as error:
        raise corrupt(f"image layer with diff_id {diff_id}: is not a gzip tar: {error}") from error
    if found != diff_id:
        raise corrupt(f"image layer: its tar has digest {found}, the configuration says {diff_id}")


def _write(entry: tar_stream.Entry, target: Path) -> None:
    if not entry.plain or entry.folder or not re.fullmatch(PLAIN_PATH, entry.name):
        raise corrupt(f"image layer: {entry.name[:200]!r} is not a regular file with a plain relative name")
    path = target / entry.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room.write(entry.content, path, entry.size)
    except (FileExistsError, NotADirectoryError) as error:
        raise corrupt(f"image layer: {entry.name} comes twice, or lies below a file") from error
