"""Addresses that programs in pods listen on. Standard library only: workers and the operator use it."""

import errno
import socket

EVERY_ADDRESS = "::"  # all of the host, IPv4 and IPv6
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    `::` means every address of the host: a pod of an IPv6-only cluster has no other, and where the host has
    no IPv6 these are those of IPv4. Raises OSError.
    """
    if host != EVERY_ADDRESS:
        return _bound(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)
    try:
        return _bound(socket.AF_INET6, host, port)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - what the caller asks for


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == EVERY_ADDRESS:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # whatever sysctl bindv6only says
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
