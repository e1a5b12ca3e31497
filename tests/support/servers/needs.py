"""What a test needs of the programs in `tests.support.servers.binaries`."""

import os

import pytest

from tests.support.servers import binaries


def program(name: str) -> None:
    """Skip the test where a program is not built; fail it with CI=true, which says that all are."""
    if binaries.present(name):
        return
    message = f"{name} is not built: `make binaries` does it once"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
