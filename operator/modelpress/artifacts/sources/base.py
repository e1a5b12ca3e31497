"""Downloads models and data sets: s3://, gs://, az://, hf://, http(s)://, pvc:// and file://.

Archives stay as they are. A source is a file or, except over http(s)://, a directory (a SavedModel). What
arrives is complete and has the pinned content, or nothing arrives. Raises, each with its own reason:
- MissingError (SourceNotFound): no such object;
- PermissionDenied (SourceUnauthorized): no credential was given, or it is refused;
- UnavailableError (SourceUnavailable): no such host, no answer, a broken transfer, or an error of the server;
- DataError (DigestMismatch): the content differs from its pin; (InvalidModel, InvalidData): it is too large.

The protocol's module is imported when it is needed: object-store clients are slow to load.
"""

import importlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, UnavailableError, UsageError
from modelpress.api.spec import Source
from modelpress.artifacts.digests import path_sha256
from modelpress.artifacts.patience import patiently, reset, unreached
from modelpress.artifacts.sources import limits
from modelpress.artifacts.sources.transfer import Transfer, redact

_log = logging.getLogger(__name__)
_MODULES = {
    "s3": "s3",
    "gs": "gs",
    "az": "az",
    "hf": "hf",
    "http": "http",
    "https": "http",
    "pvc": "claim",
    "file": "local",
}
_URLS = ("http", "https", "file")  # in the others ? and # are part of a name


@dataclass(frozen=True)
class Fetched:
    """A downloaded file or directory."""

    path: Path
    sha256: str  # digest of the file; for a directory, of its path-sorted sha256sum lines


def fetch(source: Source, target: Path, *, secrets: Path | None, what: str) -> Fetched:
    """Download `source` into the folder `target`, under the last name of its URI.

    `secrets` is the folder of the mounted Secret, if there is one; `what` names the field in messages, such
    as `spec.model`. An earlier download of the same name is replaced.
    """
    download = _protocol(source.uri, what)
    target.mkdir(parents=True, exist_ok=True)
    final = target / _last_name(source.uri)
    partial = target / f".partial-{final.name}"
    transfer = Transfer(source.uri, secrets, partial, what, connect_seconds=0)

    def attempt(seconds: float) -> None:
        _remove(partial)
        download(replace(transfer, connect_seconds=seconds))

    try:
        with limits.deadline(limits.settings().max_seconds, transfer.shown):
            patiently(attempt, _not_there_yet)
        found = path_sha256(partial)
        if source.sha256 and source.sha256 != found:
            raise DataError(
                Reason.DIGEST_MISMATCH,
                f"{transfer.shown}: the content's sha256 is {found}, the pin says {source.sha256}",
            )
        _remove(final)
        partial.rename(final)
    except OSError as error:  # a fault of this machine: the protocols turn their own into the errors above
        raise UnavailableError(
            Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: cannot be stored: {error.strerror or error}"
        ) from error
    finally:
        _remove(partial)
    _log.info("%s: fetched %s, sha256 %s", what, redact(source.uri), found)
    return Fetched(final, found)


def _not_there_yet(error: Exception) -> bool:
    """Whether the peer may be reached soon. A download may be begun anew at any point."""
    return isinstance(error, UnavailableError) and (unreached(error) or reset(error))


def _protocol(uri: str, what: str) -> Callable[[Transfer], None]:
    if not uri.isprintable():
        raise UsageError(Reason.INVALID_SPEC, f"{what}: the URI holds a control character")
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:  # such as [ without ]
        raise UsageError(Reason.INVALID_SPEC, f"{what}: is not a URI: {error}") from error
    if scheme not in _MODULES:
        raise UsageError(
            Reason.NOT_SUPPORTED_YET,
            f"{what}: {redact(uri)}: scheme {scheme or 'none'!r}, supported are {', '.join(_MODULES)}",
        )
    module = importlib.import_module(f"modelpress.artifacts.sources.{_MODULES[scheme]}")
    download: Callable[[Transfer], None] = module.download
    return download


def _last_name(uri: str) -> str:
    """Return the file name that a URI ends with: its suffix tells the format of a model."""
    scheme, _, path = uri.partition("://")
    if scheme in _URLS:
        path = urlsplit(uri).path
    name = path.rstrip("/").rpartition("/")[2][-200:]
    return name if name.strip(".") else "source"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
