"""az:// sources: a blob of Azure Blob Storage, or all blobs below a prefix as a directory.

az://CONTAINER/PATH; the account and its credential come from the Secret. An account without a credential is
read anonymously. Without a Secret the variables AZURE_STORAGE_* of the environment name the account, and
the credential is that of every Azure client (workload identity, managed identity).
"""

import logging
import os
from pathlib import Path

from adlfs import AzureBlobFileSystem
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)

from modelpress.api.conditions import Reason
from modelpress.api.errors import (
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import az_connection
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.object_tree import download_tree
from modelpress.artifacts.sources.transfer import Transfer

_DENIED = (401, 403)
_PARTS = 4  # parts of 4 MB that may wait in memory
_NAMES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING")
logging.getLogger("azure").setLevel(logging.WARNING)  # it tells every request with its headers


def download(transfer: Transfer) -> None:
    """Download a blob, or the blobs below a prefix, to `transfer.target`."""
    connection = az_connection(transfer.secrets, transfer.what)
    if connection is None and not any(os.environ.get(name) for name in _NAMES):
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED,
            f"{transfer.shown}: no credential was given: no Secret names the account",
        )
    try:
        filesystem = AzureBlobFileSystem(
            connection_string=connection,
            max_concurrency=_PARTS,
            connection_timeout=transfer.connect_seconds,
            read_timeout=120,
            skip_instance_cache=True,  # the caches would keep credentials and listings of another download
            use_listings_cache=False,
        )
        # the library's own retries begin after 15 seconds, and patience knows better
        filesystem.service_client._config.retry_policy.connect_retries = 0

        def copy(key: str, target: Path, callback: MeterCallback) -> None:
            filesystem.get_file(key, str(target), callback=callback)

        download_tree(transfer, filesystem, copy)
    except (OSError, ValueError, AzureError) as error:
        raise _explain(error, transfer, _has_credential(connection)) from error


def _has_credential(connection: str | None) -> bool:
    return connection is None or any(part in connection for part in ("AccountKey=", "SharedAccessSignature="))


def _explain(error: Exception, transfer: Transfer, had_credential: bool) -> ModelPressError:
    shown = transfer.shown
    if isinstance(error, FileNotFoundError | ResourceNotFoundError):
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{shown}: no such container, blob or prefix")
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if isinstance(error, PermissionError | ClientAuthenticationError) or status in _DENIED:
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{shown}: access denied: {problem}")
    text = " ".join(str(error).split())[:300]
    if isinstance(error, ValueError) or status == 400:  # a container's name, or the connection string
        return UsageError(Reason.INVALID_SPEC, f"{shown}: {text}")
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{shown}: {text or type(error).__name__}")
