"""Many random Jobs, for both kinds of devices: none ends with an error of ours."""

import os

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from modelpress.api.schemes import DeviceType
from tests.support.models import any_job
from tests.support.models.any_job import ACCEPTED, AnyJob, Served

FULL = bool(os.environ.get("MODELPRESS_FULL"))
SEED = int(os.environ.get("FIRST_SEED", "0"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    folder = tmp_path_factory.mktemp("models")
    return {name: any_job.make(name, folder) for name in any_job.MODELS}


@pytest.mark.parametrize(
    ("device", "count"), [(DeviceType.GPU, 1000 if FULL else 200), (DeviceType.CPU, 300 if FULL else 60)]
)
def test_no_job_ends_with_an_error_of_ours(models: dict[str, Served], device: DeviceType, count: int) -> None:
    @seed(SEED)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def play(data: st.DataObject) -> None:
        made: AnyJob = data.draw(any_job.any_jobs(models, (device,)))
        end = any_job.run(made, models)
        assert end.code in ACCEPTED, end.message

    play()
