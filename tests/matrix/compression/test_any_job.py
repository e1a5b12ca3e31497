"""Many random Jobs, for both kinds of devices: none ends with an error of ours."""

import os
from pathlib import Path

import pytest

from modelpress.api.schemes import DeviceType
from tests.support.models import any_job

FULL = bool(os.environ.get("MODELPRESS_FULL"))
SEED = int(os.environ.get("FIRST_SEED", "0"))


@pytest.mark.timeout(4 * 3600)  # seconds: about 10 a Job
@pytest.mark.parametrize(
    ("device", "count"), [(DeviceType.GPU, 1000 if FULL else 200), (DeviceType.CPU, 300 if FULL else 60)]
)
def test_no_job_ends_with_an_error_of_ours(tmp_path: Path, device: DeviceType, count: int) -> None:
    any_job.play(tmp_path, device, count, SEED)
