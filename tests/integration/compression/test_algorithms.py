"""How int4 weights get their integers: dense networks that lose a point by the largest value of a channel."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from modelpress.api.schemes import Scheme
from modelpress.compression.evaluation import metrics
from modelpress.compression.formats.base import Format, QuantizationTask
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.compression.report.document import PassReport
from modelpress.compression.schemes import Algorithm
from modelpress.models.load import load
from modelpress.models.types import Array, original_bytes
from tests.support.models import denoiser

SEEDS = (0,)  # of training


@dataclass(frozen=True)
class Lost:
    """What an int4 format of a network lost in points of R2, and how much smaller than the weights it is."""

    drop: float
    ratio: float
    step: PassReport


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("converter")) as started:
        yield started


@pytest.fixture(scope="module", params=SEEDS)
def lost(
    request: pytest.FixtureRequest, converter: Converter, tmp_path_factory: pytest.TempPathFactory
) -> dict[Algorithm | None, Lost]:
    """The formats of each algorithm, and what the scheme takes by itself (None)."""
    folder = tmp_path_factory.mktemp("denoiser")
    files = denoiser.train(request.param, folder)
    model = load(files.path, folder / "work")
    with np.load(files.evaluation) as data:
        noisy, clean = data["x"], data["y"]
    formats = LiteRTFormats(model, converter, {"pixels": noisy[:32]}, folder / "float32")
    with np.load(files.calibration) as data:
        arrays = {"0": data["x"]}
    np.savez(folder / "rows.npz", allow_pickle=False, **arrays)
    rows = Calibration(folder / "rows.npz", denoiser.CALIBRATION, denoiser.CALIBRATION, 32)

    def score(format: Format) -> float:
        found: Array = format.model.call({"pixels": noisy})["clean"]
        return float(metrics.r2_rows(clean, found).mean())

    found = {}
    for algorithm in (None, *Algorithm):
        task = QuantizationTask(Scheme.INT4_DYNAMIC, rows if algorithm is Algorithm.GPTQ else None, algorithm)
        format, step = formats.quantized(task, folder / str(algorithm))
        drop = score(formats.float32) - score(format)
        found[algorithm] = Lost(drop, original_bytes(model) / format.bytes, step)
    return found


def test_gptq_loses_less_than_half_a_point_where_the_largest_value_loses_one(
    lost: dict[Algorithm | None, Lost],
) -> None:
    assert lost[Algorithm.MIN_MAX].drop > 0.9
    assert lost[Algorithm.GPTQ].drop <= 0.5
    assert all(item.ratio >= 7 for item in lost.values())


def test_the_scheme_takes_the_algorithm_that_is_closest_to_float32(
    lost: dict[Algorithm | None, Lost],
) -> None:
    taken = lost[None]
    algorithm = Algorithm(taken.step.parameters["algorithm"])
    assert taken.drop == pytest.approx(lost[algorithm].drop)
    assert algorithm is Algorithm.OCTAV
    assert taken.step.note
    assert "MinMax" in taken.step.note
    assert "OCTAV" in taken.step.note


def test_the_report_finds_every_tensor_and_its_formula(lost: dict[Algorithm | None, Lost]) -> None:
    for algorithm, item in lost.items():
        integers = [tensor for tensor in item.step.tensors if len(tensor.shape) == 2]
        assert [tensor.changed for tensor in integers] == [tensor.elements for tensor in integers]
        off = [tensor.formula.elements_off for tensor in integers if tensor.formula]
        assert len(off) == 4
        assert any(off) == (algorithm is Algorithm.GPTQ), "GPTQ stores other numbers than the nearest ones"
