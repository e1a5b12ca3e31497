"""Program of a worker's init container: puts an artifact's verified files where the worker reads them."""

import logging
import os
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.contract import (
    ARTIFACT_DIGEST,
    MODEL_DIR,
    PLAIN_HTTP_REGISTRY,
    SECRETS,
    STORAGE_SECRET,
    STORE,
)
from modelpress.api.errors import ModelPressError, UsageError
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import MANIFEST_FILE, load_verified
from modelpress.artifacts.stores.base import open_store
from modelpress.artifacts.stores.unpack import DIGEST
from modelpress.artifacts.termination import required, run_reporting

_RECORD = ".fetched"  # "IMAGE_DIGEST SHA256_OF_MANIFEST_JSON": which artifact the files are of
_log = logging.getLogger(__name__)


def main() -> int:
    """Fetch the artifact that the environment names and return the exit code (sysexits).

    Reads MODELPRESS_STORE, MODELPRESS_ARTIFACT_DIGEST, MODELPRESS_MODEL_DIR, and where set
    MODELPRESS_SECRETS and MODELPRESS_PLAIN_HTTP_REGISTRY.
    """
    return run_reporting(_fetch)


def _fetch() -> None:
    digest = required(ARTIFACT_DIGEST)
    if not DIGEST.fullmatch(digest):
        raise UsageError(
            Reason.INVALID_SPEC, f"{ARTIFACT_DIGEST} is {digest!r}, not sha256: and 64 hexadecimal digits"
        )
    target = Path(required(MODEL_DIR))
    if holds(target, digest):
        _log.info("the artifact %s is already in %s", digest, target)
        return
    secrets = os.environ.get(SECRETS)
    store = open_store(
        required(STORE),
        plain_http_registry=os.environ.get(PLAIN_HTTP_REGISTRY),
        secrets=Path(secrets) / STORAGE_SECRET if secrets else None,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    store.pull(digest, target)
    (target / _RECORD).write_text(f"{digest} {file_sha256(target / MANIFEST_FILE)}")
    _log.info("fetched the artifact %s into %s", digest, target)


def holds(target: Path, digest: str) -> bool:
    """Whether `target` has the complete and unchanged files of the artifact: the container ran before."""
    try:
        record = (target / _RECORD).read_text()
        if record != f"{digest} {file_sha256(target / MANIFEST_FILE)}":
            return False
        load_verified(target)
    except (OSError, UnicodeDecodeError, ModelPressError):
        return False
    return True
