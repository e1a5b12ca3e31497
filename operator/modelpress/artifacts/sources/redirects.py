"""Whether a web server may send a download on: not from a public address to one of the own network.

A model's URL may be a stranger's, and the pod reaches what the stranger does not: the cluster, the cloud's
metadata. A source whose own address is private was meant by whoever named it, and may send on to others.
Addresses are looked at as they are connected to, so that a name cannot have another one meanwhile. Of a host
behind a proxy the address is not known here: it counts as public; what the proxy reaches is its own affair.
"""

import ipaddress
import socket
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not private, loopback, link-local or reserved. Pure."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_global


class RedirectGuard(AbstractResolver):
    """The resolver of one download: refuses with UsageError (InvalidSpec), `shown` names the download.

    `resolver` asks for names; unset: aiohttp's own.
    """

    def __init__(self, uri: str, shown: str, resolver: AbstractResolver | None = None) -> None:
        self._shown = shown
        self._hosts = {URL(uri).host}  # those of the download, as a proxy's host is not
        self._from_public = _literal_is_public(URL(uri).host)
        self._redirected = False
        self._inner = resolver

    def trace(self) -> aiohttp.TraceConfig:
        """Return what tells this guard of redirects."""
        config = aiohttp.TraceConfig()
        config.on_request_redirect.append(self._on_redirect)
        return config

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host that is connected to."""
        self._inner = self._inner or DefaultResolver()
        found = await self._inner.resolve(host, port, family)
        if host in self._hosts:
            private = [entry["host"] for entry in found if not is_public(entry["host"])]
            if private and self._redirected:
                self._refuse_from_public(f"{host}, which is {private[0]}")
            elif not self._redirected:
                self._from_public = not private
        return found

    async def close(self) -> None:
        """End the resolver."""
        if self._inner:
            await self._inner.close()

    async def _on_redirect(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        found: aiohttp.TraceRequestRedirectParams,
    ) -> None:
        location = found.response.headers.get("Location") or found.response.headers.get("URI") or ""
        self.follow(found.url.join(URL(location)).host)

    def follow(self, host: str | None) -> None:
        """Take note of a redirect. Raises UsageError where the host is an address that is not public."""
        self._hosts.add(host)
        self._redirected = True
        if host and not _literal_is_public(host):  # aiohttp asks no resolver for an address
            self._refuse_from_public(host)

    def _refuse_from_public(self, target: str) -> None:
        if self._from_public:
            raise UsageError(
                Reason.INVALID_SPEC,
                f"{self._shown}: sends on to {target}, an address that is not public; name it itself, or let"
                " the operator allow it: downloads.allowPrivateRedirects of its defaults",
            )


def _literal_is_public(host: str | None) -> bool:
    """Whether a host is no address, or a public one; 127.1, 0x7f.1 and 2130706433 are addresses too."""
    try:
        return is_public(host or "")
    except ValueError:
        pass
    try:
        return is_public(socket.inet_ntoa(socket.inet_aton(host or "")))
    except OSError:
        return True
