"""Images of artifacts that somebody made to do harm: their digests fit, whatever is in them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modelpress.artifacts.image import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    canonical_json,
    sha256_digest,
)
from tests.support.artifact_folders import manifest


@dataclass
class HostileImages:
    """Writes an image of any content into a layout directory, with digests that fit."""

    folder: Path

    def put(self, content: bytes, media_type: str, size: int | None = None) -> dict[str, object]:
        digest = sha256_digest(content)
        path = self.folder / "blobs/sha256" / digest.removeprefix("sha256:")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Descriptor(media_type, digest, len(content) if size is None else size).to_wire()

    def image(self, layer: bytes, diff_id: str, **changes: object) -> str:
        config = canonical_json({"rootfs": {"type": "layers", "diff_ids": [diff_id]}})
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.put(config, CONFIG_TYPE),
            "layers": [self.put(layer, LAYER_TYPE)],
        }
        return str(self.put(canonical_json(document | changes), MANIFEST_TYPE)["digest"])

    def of_tar(self, tar: bytes) -> str:
        return self.image(gzip.compress(tar), sha256_digest(tar))

    def of_pieces(self, pieces: Iterable[bytes]) -> str:
        """Write an image of a tar that is larger than it should be in memory."""
        packed, found = io.BytesIO(), hashlib.sha256()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
            for piece in (*pieces, bytes(1024)):
                file.write(piece)
                found.update(piece)
        return self.image(packed.getvalue(), f"sha256:{found.hexdigest()}")


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = link
    return entry


@dataclass(frozen=True)
class ImageRow:
    """One hostile image: `build` returns its digest, `words` are in the message of its refusal."""

    name: str
    build: Callable[[HostileImages], str]
    words: str


def _header(kind: bytes, name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _sparse(images: HostileImages) -> str:
    """Declare a file of 3 GiB whose map has one byte of data: some hundred bytes write all of it."""
    block = bytearray(_header(tarfile.GNUTYPE_SPARSE, "model.tflite", 512))
    block[386:410] = b"%011o\0%011o\0" % (3 * 2**30 - 1, 1)
    block[483:495] = b"%011o\0" % (3 * 2**30)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return images.of_tar(bytes(block) + bytes(512) + bytes(1024))


def _sparse_pax(images: HostileImages) -> str:
    entry = tarfile.TarInfo("model.tflite")
    entry.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(3 * 2**30)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO())
    return images.of_tar(buffer.getvalue())


def _long_header(kind: bytes, images: HostileImages) -> str:
    """Put an extended header of 256 MiB before an entry: 261 KB as gzip."""
    return images.of_pieces([_header(kind, "x", 2**28), *[bytes(2**20)] * 2**8])


def _zeros(images: HostileImages) -> str:
    """Write 1 GiB of zeros: 1 MB as gzip."""
    return images.of_pieces([_header(tarfile.REGTYPE, "model.tflite", 2**30), *[bytes(2**20)] * 2**10])


def _small_files(images: HostileImages) -> str:
    """Write 128 MiB of zeros as 128 files, none of which is large."""
    header = [_header(tarfile.REGTYPE, f"f{number}", 2**20) for number in range(128)]
    return images.of_pieces([piece for entry in header for piece in (entry, bytes(2**20))])


def _of_manifest(change: Callable[[dict[str, Any]], object], images: HostileImages) -> str:
    """Write an artifact whose manifest.json is another one."""
    document = json.loads(manifest({"model.tflite": sha256_digest(b"model")[7:]}).to_json())
    change(document)
    text = json.dumps(document, separators=(",", ":")).encode()
    return images.of_tar(
        tar_of((tarfile.TarInfo("model.tflite"), b"model"), (tarfile.TarInfo("manifest.json"), text))
    )


def _set(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(fields)


def _dtype(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["inputs"][0].update(dtype=name)


def _values(text: bytes, images: HostileImages) -> str:
    """Write an image manifest or configuration of very many values."""
    return str(images.put(text, MANIFEST_TYPE)["digest"])


def _config_values(images: HostileImages) -> str:
    config = images.put(b'{"rootfs":{"diff_ids":[' + b"[]," * 10**6 + b"0]}}", CONFIG_TYPE)
    layer = gzip.compress(b"")
    return images.image(layer, sha256_digest(b""), config=config)


def rows() -> Iterator[ImageRow]:
    """Return all hostile images whose cost is memory, disk or time."""
    cost = {"index": 0, "name": "ADD", "microseconds": 1, "bytes": 1}
    yield ImageRow("sparse", _sparse, "is not a regular file")
    yield ImageRow("sparse-pax", _sparse_pax, "is not a regular file")
    for name, kind in (
        ("pax", tarfile.XHDTYPE),
        ("global-pax", tarfile.XGLTYPE),
        ("long-name", tarfile.GNUTYPE_LONGNAME),
    ):
        yield ImageRow(f"{name}-header-of-256-MiB", partial(_long_header, kind), "header is longer")
    yield ImageRow("zeros", _zeros, "times its size")
    yield ImageRow("zeros-in-small-files", _small_files, "times its size")
    documents = {
        "400,000-layer-costs": (_set(layerCosts=[cost] * 400_000), "longer than"),
        "90,000-layer-costs": (_set(layerCosts=[cost] * 90_000), "more than 150000 values"),
        "16,000-layer-costs": (_set(layerCosts=[cost] * 16_000), "layerCosts"),
        "70,000-empty-layer-costs": (_set(layerCosts=[{}] * 70_000), "layerCosts.0.index"),
        "140,000-wrong-sizes": (_set(inputSizes={"known": [["x"] * 140_000], "memory": []}), "inputSizes"),
        "70,000-files": (_set(files={f"f{number}": "x" for number in range(70_000)}), "files: "),
        "48,000-settings": (
            _set(passes=[{"name": "x", "parameters": {str(number): [] for number in range(48_000)}}]),
            "parameters: ",
        ),
        "a-text-of-8-MB": (_set(recipeHash="x" * 8_000_000), "recipeHash"),
        "dtype-of-100,000-commas": (_dtype("," * 100_000), "dtype"),
        "dtype-of-a-long-text": (_dtype("U100000000"), "dtype"),
    }
    for name, (change, words) in documents.items():
        yield ImageRow(name, partial(_of_manifest, change), words)
    yield ImageRow(
        "manifest-of-lists", partial(_values, b"[" + b"[]," * 10**6 + b"0]"), "is not a ModelPress"
    )
    yield ImageRow("configuration-of-lists", _config_values, "has no rootfs.diff_ids")
