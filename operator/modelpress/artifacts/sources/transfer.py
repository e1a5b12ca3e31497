"""What a protocol of sources is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from modelpress.artifacts.sources import limits


@dataclass(frozen=True)
class Transfer:
    """One download: from where, with which credentials, to which path, and its name in messages."""

    uri: str
    secrets: Path | None
    target: Path  # does not exist yet
    what: str
    connect_seconds: float  # that a connection may take

    @property
    def limits(self) -> limits.Limits:
        """How large it may become."""
        return limits.of(self.what, self.shown)

    @property
    def shown(self) -> str:
        """The field and its URI without credentials, for messages."""
        return f"{self.what}: {redact(self.uri)}"


def redact(uri: str) -> str:
    """Return `uri` without what may be a credential: user, password and query (signed URLs)."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
