"""s3:// sources: an object, or all objects below a prefix as a directory. Any S3-compatible server will do.

Credentials come from the Secret. Without one, those of the environment are used as every AWS client does
(role of the pod, profile), and where there are none the request is anonymous, which public buckets accept.
"""

import logging
import re
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from s3fs import S3FileSystem

from modelpress.api.conditions import Reason
from modelpress.api.errors import (
    DataError,
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import s3_options
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.meter_callback import MeterCallback
from modelpress.artifacts.transfer import Transfer

_log = logging.getLogger(__name__)
_CONFIG = {"connect_timeout": 30, "read_timeout": 120, "retries": {"mode": "standard", "max_attempts": 3}}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_MAX_FILES = 10_000


def download(transfer: Transfer) -> None:
    """Download an object, or the objects below a prefix, to `transfer.target`."""
    options = s3_options(transfer.secrets, transfer.what)
    try:
        try:
            _download(transfer, _filesystem(options))
        except NoCredentialsError:
            _download(transfer, _filesystem({**options, "anon": True}))
    except (OSError, BotoCoreError, ClientError, ValueError) as error:
        raise _explain(error, transfer, "key" in options) from error


def _filesystem(options: dict[str, Any]) -> S3FileSystem:
    # The caches would keep credentials and listings of another download.
    return S3FileSystem(
        **options,
        config_kwargs=_CONFIG,
        skip_instance_cache=True,
        use_listings_cache=False,
        default_block_size=16 * 2**20,  # bytes of one request, of which four may wait in memory
        max_concurrency=4,
    )


def _download(transfer: Transfer, filesystem: S3FileSystem) -> None:
    root = transfer.uri.removeprefix("s3://").rstrip("/")
    if not transfer.uri.endswith("/") and (info := filesystem.info(root))["type"] == "file":
        pairs = [(root, transfer.target, int(info["size"]))]
    else:
        pairs = [
            (f"{root}/{path}", transfer.target / path, size)
            for path, size in _list(filesystem, root, transfer)
        ]
    meter = Meter(_log, f"download {transfer.what}", sum(size for _, _, size in pairs))
    callback = MeterCallback(meter)
    for key, target, size in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(key, str(target), callback=callback)
        if target.stat().st_size != size:
            raise UnavailableError(
                Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: changed during the download"
            )
    meter.finish()


def _list(filesystem: S3FileSystem, root: str, transfer: Transfer) -> list[tuple[str, int]]:
    """Return (path below the prefix, bytes) of its objects; the markers of empty directories are left out."""
    found = filesystem.find(root, detail=True)
    prefix = f"{root}/"
    files = [
        (key.removeprefix(prefix), int(info["size"]))
        for key, info in sorted(found.items())
        if key.startswith(prefix) and not key.endswith("/") and info["type"] == "file"
    ]
    if not files:
        raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no object has this prefix")
    if len(files) > _MAX_FILES:
        raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: has more than {_MAX_FILES} objects")
    for path, _ in files:
        parts = path.split("/")
        if _UNSAFE.search(path) or any(part in ("", ".", "..") for part in parts):
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: the key {path!r} is no file name")
    names = {path for path, _ in files}
    for path in sorted(names):
        if any(str(parent) in names for parent in Path(path).parents):
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: {path!r} lies below another object")
    return files


def _explain(error: Exception, transfer: Transfer, had_credential: bool) -> ModelPressError:
    shown = transfer.shown
    if isinstance(error, FileNotFoundError):
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{shown}: no such bucket, object or prefix")
    if isinstance(error, PermissionError | PartialCredentialsError):
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{shown}: access denied: {problem}")
    text = " ".join(str(error).split())[:300]
    if isinstance(error, ParamValidationError | ValueError):  # a bucket's name, or AWS_ENDPOINT_URL
        return UsageError(Reason.INVALID_SPEC, f"{shown}: {text}")
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{shown}: {text or type(error).__name__}")
