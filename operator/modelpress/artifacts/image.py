"""An artifact as an OCI image: what a folder with manifest.json becomes in a registry or a layout directory.

The image has no base and two layers: the model's files, and manifest.json with report.json. Times, owners,
modes and the order are fixed, so that packing the same files gives the same digest (with one release of
zlib). Layers are written to a temporary folder, piece by piece: models may be larger than memory.

Formats: OCI image specification 1.1, https://github.com/opencontainers/image-spec.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts.manifest import MANIFEST_FILE, REPORT_FILE, load_verified
from modelpress.bounds.room import MAX_EXPANSION

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
KEY_ANNOTATION = "modelpress.dev/artifact-key"
ANY_RATIO = 64 * 2**20  # bytes that an image may unpack to however small it is
_PIECE = 2**20


@dataclass(frozen=True)
class Descriptor:
    """What points at a blob: media type, digest (sha256:...) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def to_wire(self) -> dict[str, Any]:
        """Return it as in OCI JSON."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Blob:
    """A blob of an image and the file that holds it."""

    descriptor: Descriptor
    path: Path


class Image:
    """A packed image. Its blobs live in a temporary folder until `close` or the end of the `with` block."""

    def __init__(
        self, manifest: bytes, blobs: tuple[Blob, ...], folder: tempfile.TemporaryDirectory[str]
    ) -> None:
        self.manifest = manifest  # the exact bytes that the digest is of
        self.blobs = blobs  # the configuration, then the layers
        self._folder = folder

    @property
    def digest(self) -> str:
        """The image's identity: sha256:... of its manifest."""
        return sha256_digest(self.manifest)

    @property
    def descriptor(self) -> Descriptor:
        """What points at the image's manifest."""
        return Descriptor(MANIFEST_TYPE, self.digest, len(self.manifest))

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    def __enter__(self) -> "Image":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pack(folder: Path) -> Image:
    """Pack the artifact in `folder`: manifest.json and the files that it lists, which are verified first.

    Raises MissingError (ArtifactLost) and DataError (ArtifactCorrupt) as `manifest.load_verified`, and
    DataError for a file that manifest.json does not list: an artifact holds nothing that no digest covers.
    """
    manifest = load_verified(folder)
    listed = {*manifest.files, MANIFEST_FILE}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in listed:
            raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: is not listed in {MANIFEST_FILE}")
    about = sorted(listed & {MANIFEST_FILE, REPORT_FILE})
    groups = [sorted(listed - set(about)), about]
    scratch = tempfile.TemporaryDirectory(prefix="modelpress-image-")
    packed = [_unpackable(folder, names, Path(scratch.name) / f"layer{i}") for i, names in enumerate(groups)]
    layers = [blob for blob, _ in packed]
    config = _config([diff_id for _, diff_id in packed], Path(scratch.name) / "config")
    text = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor.to_wire(),
        "layers": [layer.descriptor.to_wire() for layer in layers],
        "annotations": {
            "org.opencontainers.image.title": "ModelPress artifact",
            KEY_ANNOTATION: manifest.artifact_key,
        },
    }
    return Image(canonical_json(text), (config, *layers), scratch)


def sha256_digest(content: bytes) -> str:
    """Return `sha256:...` of bytes, as OCI writes digests."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """Return JSON without spaces and with sorted keys: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def key_tag(key: str) -> str:
    """Return an artifact key as a tag, which has at most 128 characters: readable in any registry's list.

    The whole key is in the image's annotations.
    """
    return f"key-{key[:40]}"


def kept_tag(digest: str) -> str:
    """Return the tag of one artifact: with it the artifact outlives a garbage collection of untagged ones.

    A key's tag goes to the newest of several. `sha256-...` is what others call things about an image.
    """
    return f"artifact-{digest.removeprefix('sha256:')}"


class _Hashing(io.BufferedIOBase):
    """A writable file that passes everything on and hashes it."""

    def __init__(self, target: io.BufferedIOBase) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # gzip and tarfile write bytes
        self._hash.update(piece)
        self.size += len(piece)
        return self._target.write(piece)

    def flush(self) -> None:
        self._target.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _unpackable(folder: Path, names: list[str], path: Path) -> tuple[Blob, str]:
    """Write a layer that whoever unpacks it accepts: weights that are all but zeros are not compressed.

    With half of both bounds for each of the two layers, their sum keeps them.
    """
    # level 4: half-pruned int8 weights 2% larger than at level 6, in a third of the time
    blob, diff_id = _layer(folder, names, path, 4)
    size = sum((folder / name).stat().st_size for name in names)
    if size > ANY_RATIO // 2 and size > MAX_EXPANSION // 2 * blob.descriptor.size:
        blob, diff_id = _layer(folder, names, path, 0)
    return blob, diff_id


def _layer(folder: Path, names: list[str], path: Path, level: int) -> tuple[Blob, str]:
    """Write the files as a gzip tar to `path`; return the blob and the digest of the tar itself."""
    with path.open("wb") as file:
        packed = _Hashing(file)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=packed, mtime=0) as zipped:
            plain = _Hashing(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as tar:
                for name in names:
                    entry = tarfile.TarInfo(name)  # regular file, owner 0, time 0
                    entry.mode = 0o644
                    entry.size = (folder / name).stat().st_size
                    with (folder / name).open("rb") as content:
                        tar.addfile(entry, content)
    return Blob(Descriptor(LAYER_TYPE, packed.digest, packed.size), path), plain.digest


def _config(diff_ids: list[str], path: Path) -> Blob:
    content = canonical_json(
        {
            "created": "1970-01-01T00:00:00Z",
            "architecture": "amd64",  # the format wants one; files run on any
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "modelpress"} for _ in diff_ids],
        }
    )
    path.write_bytes(content)
    return Blob(Descriptor(CONFIG_TYPE, sha256_digest(content), len(content)), path)
