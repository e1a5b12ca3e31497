"""http:// and https:// sources: one file for each URL, streamed to disk.

A credential is sent to the URL's own origin only: aiohttp drops the Authorization header of a request, and
never one of a session, where a redirect leaves the origin.
"""

import asyncio
import logging
import socket
from typing import Any

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from modelpress.api.conditions import Reason
from modelpress.api.errors import (
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import http_authorization
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.limits import settings
from modelpress.artifacts.sources.redirects import RedirectGuard
from modelpress.artifacts.sources.transfer import Transfer

_log = logging.getLogger(__name__)
_SILENCE_SECONDS = 120  # the whole transfer has a limit of all sources


def download(transfer: Transfer) -> None:
    """Download one file to `transfer.target`."""
    if transfer.uri.endswith("/"):
        raise UsageError(
            Reason.INVALID_SPEC,
            f"{transfer.shown}: over http(s) a source is one file; pack a directory as .zip or .tar.gz",
        )
    # identity: the sha256 is of the bytes as they are stored there, never of what a proxy packed
    headers = {"Accept-Encoding": "identity"}
    authorization = http_authorization(transfer.secrets)
    if authorization:
        headers["Authorization"] = authorization
    timeout = aiohttp.ClientTimeout(sock_connect=transfer.connect_seconds, sock_read=_SILENCE_SECONDS)
    guard = None if settings().allow_private_redirects else RedirectGuard(transfer.uri, transfer.shown)
    filesystem = HTTPFileSystem(
        encoded="%" in transfer.uri,  # a signed URL must arrive as it was signed
        headers=headers,
        client_kwargs={"timeout": timeout, "guard": guard},
        get_client=_client,
        skip_instance_cache=True,  # the cache would keep the credential
    )
    meter = Meter(_log, f"download {transfer.what}")
    try:
        filesystem.get_file(
            transfer.uri, str(transfer.target), callback=MeterCallback(meter, transfer.limits)
        )
    except FileNotFoundError as error:
        raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no such object (404)") from error
    except aiohttp.ClientResponseError as error:
        raise _refusal(error, transfer, bool(authorization)) from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise _no_answer(error, transfer) from error
    meter.finish()


async def _client(
    *, loop: asyncio.AbstractEventLoop, timeout: aiohttp.ClientTimeout, guard: RedirectGuard | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        loop=loop,
        timeout=timeout,
        trust_env=True,  # HTTPS_PROXY of the pod
        auto_decompress=False,  # a server may pack what nobody asked to be packed, and small become large
        connector=aiohttp.TCPConnector(resolver=guard),
        trace_configs=[guard.trace()] if guard else [],
    )


def _refusal(error: aiohttp.ClientResponseError, transfer: Transfer, had_credential: bool) -> ModelPressError:
    if error.status == 410:
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no such object (410)")
    if error.status in (401, 403, 407):
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{transfer.shown}: {problem} ({error.status})")
    return UnavailableError(
        Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: the server answers {error.status} {error.message}"
    )


def _no_answer(error: Exception, transfer: Transfer) -> ModelPressError:
    # yarl's error, and aiohttp.InvalidURL; a certificate that is not trusted is a ValueError as well
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UsageError(Reason.INVALID_SPEC, f"{transfer.shown}: is not a URL")
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: no answer: {_cause(error)}")


def _cause(error: Exception) -> str:
    """Return what went wrong without the URL, which may carry a credential."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{error.host}:{error.port}: the certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner: Any = error.os_error
        if isinstance(inner, socket.gaierror):
            return f"the host {error.host} is not known"
        host = f"[{error.host}]" if ":" in error.host else error.host
        return f"{host}:{error.port}: {inner.strerror or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended before the whole content arrived"
    return type(error).__name__
