"""Folders of files as compression leaves them, for the tests of stores."""

import hashlib
from pathlib import Path

from modelpress.artifacts.manifest import ArtifactManifest, Form, TensorSpec, save

KEY = hashlib.sha256(b"the key of most tests").hexdigest()


def make(folder: Path, files: dict[str, bytes] | None = None, key: str = KEY) -> Path:
    """Write an artifact's files; without `files` a small model and report. Return `folder`."""
    contents = files or {"model.tflite": bytes(range(256)) * 400, "report.json": b'{"passes":[]}\n'}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    save(
        manifest({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}, key),
        folder,
    )
    return folder


def manifest(files: dict[str, str], key: str = KEY) -> ArtifactManifest:
    """Return a manifest that lists `files` (name -> sha256); the first one is the model."""
    return ArtifactManifest(
        form=Form.TFLITE,
        model_file=next(iter(files)),
        files=files,
        inputs=(TensorSpec(name="x", shape=(-1, 64), dtype="float32"),),
        outputs=(TensorSpec(name="y", shape=(-1, 10), dtype="float32"),),
        artifact_key=key,
        source_digest=f"sha256:{'0' * 64}",
        recipe_hash="1" * 64,
        compressor_version="0.1.0",
        original_bytes=4000,
        compressed_bytes=1000,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by their relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
