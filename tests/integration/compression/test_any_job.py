"""Whatever is in a spec or a data set, a Job ends with an error of the user's, told in one line, or works.

Exit code 70 is a fault of ModelPress. `tests/matrix/compression/test_any_job.py` plays many more.
"""

from pathlib import Path

import pytest

from modelpress.api.schemes import DeviceType
from tests.support.models import any_job


@pytest.mark.parametrize(("device", "count"), [(DeviceType.GPU, 3), (DeviceType.CPU, 1)])
def test_no_job_ends_with_an_error_of_ours(tmp_path: Path, device: DeviceType, count: int) -> None:
    any_job.play(tmp_path, device, count, random_seed=0)
