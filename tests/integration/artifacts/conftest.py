import pytest

from modelpress.artifacts import patience
from tests.support.servers.object_stores import *  # noqa: F403 - fixtures
from tests.support.servers.servers import *  # noqa: F403 - fixtures


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once where a server is away; test_patience has patience."""
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 0.0)
