from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local.pod_harness import Harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    found = Harness(tmp_path)
    yield found
    for pod in found.pods:
        pod.stop(0)
