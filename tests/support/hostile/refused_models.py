"""Model files that must be refused, in one line that names the file."""

from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.models.load import load


def refused(path: Path, work_dir: Path, reason: Reason = Reason.INVALID_MODEL) -> str:
    """Load a model that is refused for a reason; return the message."""
    with pytest.raises(DataError) as caught:
        load(path, work_dir)
    assert caught.value.reason is reason
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(path.name)
    return caught.value.message
