"""Where artifacts are kept: an OCI registry (oci://HOST/REPOSITORY) or an OCI layout directory (file:///DIR).

Raises, each with its own reason: MissingError (ArtifactLost), DataError (ArtifactCorrupt),
UnavailableError (StoreUnavailable), PermissionDenied (StoreUnauthorized).
"""

from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.artifacts.image import Image
from modelpress.artifacts.stores.layout import LayoutStore


class Store(Protocol):
    """Keeps artifacts by image digest, and finds them by artifact key."""

    def push(self, image: Image, key: str) -> str:
        """Store an image under its artifact key and return its digest. What is there already is not sent."""

    def find(self, key: str) -> str | None:
        """Return the digest of the complete artifact of this key, or None."""

    def pull(self, digest: str, target: Path) -> None:
        """Write the verified files of an artifact to the folder `target`, which replaces an earlier one."""


def open_store(uri: str, *, plain_http_registry: str | None = None, secrets: Path | None = None) -> Store:
    """Return the store of a URI.

    `plain_http_registry` (host:port) may be spoken to without TLS, as loopback always may. `secrets` is the
    folder of the mounted Secret with .dockerconfigjson, if there is one, or with the pod's token.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:  # such as [ without ]
        parts = urlsplit("")
    if parts.scheme == "oci" and parts.netloc and parts.path.strip("/"):
        from modelpress.artifacts.stores.registry import RegistryStore  # noqa: PLC0415 - local mode needs no client

        return RegistryStore(
            parts.netloc, parts.path.strip("/"), plain_http_registry=plain_http_registry, secrets=secrets
        )
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return LayoutStore(Path(unquote(parts.path)))
    raise UsageError(
        Reason.INVALID_SPEC,
        f"{uri!r} is not a store; it is oci://REGISTRY/REPOSITORY or, in local mode, file:///DIRECTORY",
    )


def unpack_layout(directory: Path, target: Path) -> str:
    """Write the files of the newest artifact of a layout directory to `target`; return its digest."""
    store = LayoutStore(directory)
    digest = store.newest()
    store.pull(digest, target)
    return digest


def renew_in_layout(directory: Path, digest: str) -> None:
    """Make an artifact the newest one of a layout directory: one that was found there and not made again."""
    LayoutStore(directory).renew(digest)
