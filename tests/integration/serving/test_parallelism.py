"""Models spread over several devices give what one device gives."""

from pathlib import Path

import pytest

from modelpress.api.spec import Parallelism
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.loading import load
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Stage
from tests.support.serving.artifacts import equal, examples


def parallel(artifact: Path, data: int, pipeline: int) -> DataParallel:
    copies = load(artifact, Parallelism(data=data, pipeline=pipeline)).copies
    return DataParallel([Pipeline([Stage(executor, "stage") for executor in copy]) for copy in copies])


@pytest.mark.parametrize(("data", "pipeline"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (2, 2), (2, 3)])
@pytest.mark.parametrize("name", ["seed-int8", "seed-float32", "skip-int8", "skip-float32", "two-int8"])
def test_outputs_are_those_of_one_device_to_the_last_bit(
    models: Path, artifacts: Path, name: str, data: int, pipeline: int
) -> None:
    path = models / f"{name}.tflite"
    spread = parallel(artifacts / name, data, pipeline)
    single = LiteRTExecutor(path)
    inputs = examples(path, 65)
    for rows in range(1, 66):
        batch = [array[:rows] for array in inputs]
        assert equal(spread.run(batch), single.run(batch)), f"{rows} rows"
    spread.close()
