"""gs:// sources: an object of Google Cloud Storage, or all objects below a prefix as a directory.

Credentials come from the Secret: `key.json` or `token`. Without one, those of the environment are used as
every Google client does (workload identity, GOOGLE_APPLICATION_CREDENTIALS), and where there are none the
request is anonymous, which public buckets accept. Never used: gcsfs' own search, which reads a pickle.
"""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import google.auth
import requests
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.oauth2 import credentials as tokens
from google.oauth2 import service_account

from modelpress.api.conditions import Reason
from modelpress.api.errors import (
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import GS_KEY, gs_service_account, read
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.object_tree import download_tree
from modelpress.artifacts.sources.transfer import Transfer

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_GOOGLE = "https://storage.googleapis.com"
_SILENCE_SECONDS = 120  # the whole transfer has a limit of all sources
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs a traceback of each error reported here


class _FileSystem(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """Asks once: gcsfs repeats for 45 seconds and has no setting for that; patience alone asks again."""

    _request = GCSFileSystem._request.__wrapped__
    _get_file_request = GCSFileSystem._get_file_request.__wrapped__


def download(transfer: Transfer) -> None:
    """Download an object, or the objects below a prefix, to `transfer.target`."""
    endpoint = read(transfer.secrets, "STORAGE_EMULATOR_HOST")
    token = _credentials(transfer, endpoint is not None)
    timeout = aiohttp.ClientTimeout(sock_connect=transfer.connect_seconds, sock_read=_SILENCE_SECONDS)
    try:
        filesystem = _FileSystem(
            token=token or "anon",
            access="read_only",
            endpoint_url=endpoint,
            requests_timeout=timeout,
            session_kwargs={"trust_env": True},  # HTTPS_PROXY of the pod
            skip_instance_cache=True,  # the caches would keep credentials and listings of another download
            use_listings_cache=False,
        )

        def copy(key: str, target: Path, callback: MeterCallback) -> None:
            # with headers gcsfs streams the object to the file; without, it keeps up to 128 MB in memory
            filesystem.get_file(key, str(target), callback=callback, headers={})

        download_tree(transfer, filesystem, copy)
    except (
        OSError,  # also of requests
        ValueError,
        HttpError,
        GoogleAuthError,
        aiohttp.ClientError,
    ) as error:
        if isinstance(error, TimeoutError) and not str(error):  # fsspec's, which says nothing
            host = urlsplit(endpoint or _GOOGLE).netloc or endpoint
            raise UnavailableError(
                Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: {host}: timed out"
            ) from error
        raise _explain(error, transfer, token is not None) from error


def _credentials(transfer: Transfer, emulator: bool) -> Any:
    """Return Google credentials, or None for an anonymous request."""
    account = gs_service_account(transfer.secrets)
    if account is not None:
        try:
            make: Any = service_account.Credentials.from_service_account_info
            return make(account, scopes=[_SCOPE])
        except (ValueError, GoogleAuthError) as error:
            raise PermissionDenied(
                Reason.SOURCE_UNAUTHORIZED, f"{transfer.shown}: the Secret's {GS_KEY} holds no usable key"
            ) from error
    if token := read(transfer.secrets, "token"):
        return tokens.Credentials(token)  # type: ignore[no-untyped-call]
    if emulator:
        return None  # which takes none, and must not be given those of the environment
    try:
        return google.auth.default(scopes=[_SCOPE])[0]
    except DefaultCredentialsError:
        return None


def _explain(error: Exception, transfer: Transfer, had_credential: bool) -> ModelPressError:
    shown = transfer.shown
    if isinstance(error, FileNotFoundError):
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{shown}: no such bucket, object or prefix")
    code = str(getattr(error, "code", None))
    text = " ".join(str(error).split())[:300]
    refused = code in ("401", "403") or (type(error) is OSError and text.startswith("Forbidden"))
    if refused or (isinstance(error, GoogleAuthError) and not isinstance(error.__cause__, OSError)):
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{shown}: access denied: {problem}")
    # errors of the network can be ValueErrors as well: a certificate that is not trusted is one
    network = requests.RequestException | aiohttp.ClientConnectorCertificateError
    if isinstance(error, ValueError) and not isinstance(error, network):
        return UsageError(Reason.INVALID_SPEC, f"{shown}: {text}")  # a bucket's name, or the endpoint
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{shown}: {text or type(error).__name__}")
