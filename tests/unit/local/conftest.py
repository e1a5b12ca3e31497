from pathlib import Path
from typing import Any

import pytest

from tests.unit.local.pod_harness import Harness


@pytest.fixture
def pods(tmp_path: Path) -> Any:
    harness = Harness(tmp_path)
    yield harness
    for pod in harness.pods:
        pod.stop(0)
