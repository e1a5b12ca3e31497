"""JSON files of artifacts and layouts, which may come from anybody. Workers import it while they start."""

from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError

# What a parser makes of a file takes some ten times its bytes.
MAX_MANIFEST = 8 * 2**20
MAX_REPORT = 64 * 2**20  # lists scale and bias of every channel
MAX_INDEX = 16 * 2**20  # some 50,000 artifacts


def read(path: Path, limit: int) -> str:
    """Return the text of a file, of which no more than `limit` bytes are read.

    Raises DataError (ArtifactCorrupt) where it is longer; OSError and UnicodeDecodeError are the caller's.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: longer than {limit} bytes")
    return content.decode("utf-8")
