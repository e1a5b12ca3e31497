"""pvc:// sources: a file or a directory of a PersistentVolumeClaim, which the Job's pod mounts read-only.

pvc://CLAIM/PATH. Links are followed within the claim, and never out of it. There are no credentials: whoever
may name a claim in a namespace may read it.
"""

import errno
import os
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.contract import CLAIMS
from modelpress.api.errors import DataError, MissingError, PermissionDenied, UnavailableError, UsageError
from modelpress.api.values import parse_claim
from modelpress.artifacts.sources.file_tree import copy_tree, inside, is_there
from modelpress.artifacts.sources.transfer import Transfer

_OURS = (errno.ENOSPC, errno.EDQUOT)  # faults of the folder that is written to, not of the claim


def download(transfer: Transfer) -> None:
    """Copy a file or a directory of a claim to `transfer.target`."""
    try:
        claim, path = parse_claim(transfer.uri)
    except ValueError as error:
        raise UsageError(Reason.INVALID_SPEC, f"{transfer.shown}: {error}") from error
    folder = os.environ.get(CLAIMS)
    mount = Path(folder, claim) if folder else None
    if mount is None or not mount.is_dir():
        raise UsageError(
            Reason.INVALID_SPEC,
            f"{transfer.shown}: the claim {claim} is not mounted here: only the pods of Jobs have claims",
        )
    root, source = mount.resolve(), mount / path
    try:
        if not is_there(source, follow=False):
            raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: the claim {claim} has no {path}")
        if not inside(source, root):
            raise DataError(
                Reason.INVALID_MODEL, f"{transfer.shown}: {path} is a link out of the claim {claim}"
            )
        copy_tree(source, root, transfer)
    except PermissionError as error:
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED, f"{transfer.shown}: permission denied: {error.filename}"
        ) from error
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise UnavailableError(
            Reason.SOURCE_UNAVAILABLE,
            f"{transfer.shown}: the claim {claim} cannot be read: {error.strerror or error}",
        ) from error
