"""file:// sources: copies a file or a directory, and never follows a link out of the directory."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.artifacts.sources.file_tree import copy_tree
from modelpress.artifacts.sources.transfer import Transfer


def download(transfer: Transfer) -> None:
    """Copy the file or directory of a file:// URI to `transfer.target`."""
    source = _path(transfer)
    copy_tree(source, source.resolve(), transfer)


def _path(transfer: Transfer) -> Path:
    parts = urlsplit(transfer.uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(
            Reason.INVALID_SPEC, f"{transfer.shown}: a file URI is file:// followed by an absolute path"
        )
    return Path(unquote(parts.path))
