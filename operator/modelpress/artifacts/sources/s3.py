"""s3:// sources: an object, or all objects below a prefix as a directory. Any S3-compatible server will do.

Credentials come from the Secret. Without one, those of the environment are used as every AWS client does
(role of the pod, profile), and where there are none the request is anonymous, which public buckets accept.
So is that to an endpoint which a Secret names without a credential.
"""

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
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import s3_options
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.object_tree import download_tree
from modelpress.artifacts.sources.transfer import Transfer

# the first request counts as one: patience alone asks again
_CONFIG = {"read_timeout": 120, "retries": {"mode": "standard", "total_max_attempts": 1}}


def download(transfer: Transfer) -> None:
    """Download an object, or the objects below a prefix, to `transfer.target`."""
    options = s3_options(transfer.secrets, transfer.what)
    try:
        try:
            _download(transfer, options)
        except NoCredentialsError:
            _download(transfer, {**options, "anon": True})
    except (OSError, BotoCoreError, ClientError, ValueError) as error:
        raise _explain(error, transfer, "key" in options) from error


def _download(transfer: Transfer, options: dict[str, Any]) -> None:
    # The caches would keep credentials and listings of another download.
    filesystem = S3FileSystem(
        **options,
        config_kwargs={**_CONFIG, "connect_timeout": transfer.connect_seconds},
        skip_instance_cache=True,
        use_listings_cache=False,
        default_block_size=16 * 2**20,  # bytes of one request, of which four may wait in memory
        max_concurrency=4,
    )
    filesystem.retries = 1

    def copy(key: str, target: Path, callback: MeterCallback) -> None:
        # the server has answered: a large object goes on where its connection broke
        filesystem.retries = S3FileSystem.retries
        filesystem.get_file(key, str(target), callback=callback)

    download_tree(transfer, filesystem, copy)


def _explain(error: Exception, transfer: Transfer, had_credential: bool) -> ModelPressError:
    shown = transfer.shown
    if isinstance(error, FileNotFoundError):
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{shown}: no such bucket, object or prefix")
    if isinstance(error, PermissionError | PartialCredentialsError):
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{shown}: access denied: {problem}")
    text = " ".join(str(error).split())[:300] or ("timed out" if isinstance(error, TimeoutError) else "")
    if isinstance(error, ParamValidationError | ValueError):  # a bucket's name, or AWS_ENDPOINT_URL
        return UsageError(Reason.INVALID_SPEC, f"{shown}: {text}")
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{shown}: {text or type(error).__name__}")
