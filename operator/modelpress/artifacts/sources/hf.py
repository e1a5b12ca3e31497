"""hf:// sources: a file of a Hugging Face repository, or a folder of it (or all of it) as a directory.

hf://OWNER/NAME[@REVISION]/PATH for models, hf://datasets/OWNER/NAME[@REVISION]/PATH for data sets. The token
comes from the Secret; without one that of the environment is used (HF_TOKEN), and where there is none the
request is anonymous; so is that to an endpoint which a Secret names without a token. Nothing is cached on
disk, and no file is run or unpacked.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfFileSystem

from modelpress.api.conditions import Reason
from modelpress.api.errors import (
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from modelpress.artifacts.credentials import read
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.object_tree import download_tree, stream
from modelpress.artifacts.sources.transfer import Transfer


def download(transfer: Transfer) -> None:
    """Download a file, or the files of a folder, to `transfer.target`."""
    token = read(transfer.secrets, "HF_TOKEN")
    endpoint = read(transfer.secrets, "HF_ENDPOINT")
    try:
        filesystem: Any = HfFileSystem(
            endpoint=endpoint,
            token=False if endpoint and not token else token,  # None is that of the environment
            skip_instance_cache=True,  # the caches would keep credentials and listings of another download
        )

        def copy(key: str, target: Path, callback: MeterCallback) -> None:
            stream(filesystem, key, target, callback)

        download_tree(transfer, filesystem, copy)
    except ModelPressError:
        raise
    except Exception as error:  # its HTTP library's error; that is another library in each major version
        raise _explain(error, transfer, token is not None) from error


def _explain(error: Exception, transfer: Transfer, had_credential: bool) -> ModelPressError:
    shown = transfer.shown
    status = _status(error)
    if status in (401, 403):  # the Hub answers so for what does not exist, too
        problem = "the credential is refused" if had_credential else "no credential was given"
        return PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED, f"{shown}: access denied: {problem}, or there is no such repository"
        )
    if isinstance(error, FileNotFoundError) or status == 404:
        return MissingError(Reason.SOURCE_NOT_FOUND, f"{shown}: no such repository, revision, file or folder")
    text = " ".join(str(error).split())[:300]
    if isinstance(error, ValueError | NotImplementedError) and status is None:
        return UsageError(Reason.INVALID_SPEC, f"{shown}: {text}")
    return UnavailableError(Reason.SOURCE_UNAVAILABLE, f"{shown}: {text or type(error).__name__}")


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error: the Hub's own errors wrap it, and files' errors hide it."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__ or error.__context__
    return None
