"""Whatever is in a spec or a data set, a Job ends with an error of the user's, told in one line, or works.

Exit code 70 is a fault of ModelPress. `tests/matrix/compression/test_any_job.py` plays many more.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpress.api.schemes import DeviceType
from tests.support.models import any_job
from tests.support.models.any_job import ACCEPTED, AnyJob, Served


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    folder = tmp_path_factory.mktemp("models")
    return {name: any_job.make(name, folder) for name in any_job.MODELS}


@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_job_ends_with_an_error_of_ours(models: dict[str, Served], data: st.DataObject) -> None:
    made: AnyJob = data.draw(any_job.any_jobs(models, (DeviceType.GPU,)))
    end = any_job.run(made, models)
    assert end.code in ACCEPTED, end.message
    if end.code:
        assert end.message["message"]
