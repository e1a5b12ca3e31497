"""Scheme Auto where candidates do not work, and where operators are mixed; tests/matrix has real models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.evaluation import Evaluation, Metric
from modelpress.api.schemes import Scheme
from modelpress.compression.auto import mixtures, search, sensitivity
from modelpress.compression.auto.candidates import NO_CALIBRATION, CandidateMeasure
from modelpress.compression.auto.choice import MeasuredCandidate, ScoreLimits, exceptions_help
from modelpress.compression.evaluation import holdout, rules
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.evaluation.evaluation import reference
from modelpress.compression.evaluation.latency import Timing
from modelpress.compression.formats.base import Format, Mixture, Operator, QuantizationTask
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.report.document import PassReport
from modelpress.compression.schemes import Algorithm
from modelpress.models.types import Array, Arrays, TensorSpec, unsupported

# The search alone, with models that are arrays: named so because what is tested are failures of a converter.

SPECS = (TensorSpec("x", (-1, 4), "float32"),)
OPERATORS = tuple(Operator(f"op{i}", "FULLY_CONNECTED", (f"op{i};",), 100) for i in range(4))


@dataclass(frozen=True)
class Classes:
    """Decides by the largest input; `noise` of them wrongly, or nothing at all where that is NaN."""

    noise: float = 0.0

    def call(self, inputs: Arrays) -> dict[str, Array]:
        rows = np.array(inputs["x"])
        wrong = np.abs(np.sin(1e4 * rows.sum(axis=1))) < self.noise
        rows[wrong] = -rows[wrong]
        return {"y": rows + self.noise * np.nan if np.isnan(self.noise) else rows}


@dataclass
class ArrayFormats:
    """Formats of given sizes and noise by scheme; a text is why it cannot be converted."""

    made: Mapping[Scheme, tuple[int, float] | str]
    operators: tuple[Operator, ...] = OPERATORS
    mixtures: list[Mixture] = field(default_factory=list)
    bad: str = "op2"  # the operator whose quantization does the damage
    gptq: float = 0.0  # the noise that GPTQ leaves

    @property
    def float32(self) -> Format:
        return Format(Path(), (), Classes())

    def quantized(self, desired: QuantizationTask, folder: Path) -> tuple[Format, PassReport]:
        found = self.made[desired.scheme]
        if desired.algorithm is Algorithm.GPTQ and not isinstance(found, str):
            found = found[0], self.gptq
        if isinstance(found, str):
            raise unsupported(found)
        made, step = self._write(folder, *found)
        algorithm = {"algorithm": desired.algorithm} if desired.algorithm else {}
        return made, step.model_copy(update={"parameters": algorithm})

    def trial(self, mixture: Mixture, folder: Path) -> Format:
        bad = any(item.name == self.bad for item in mixture.exceptions)
        return self._write(folder, 400, 0.2 if bad else 0.0)[0]

    def mixed(self, mixture: Mixture, folder: Path) -> tuple[Format, PassReport]:
        self.mixtures.append(mixture)
        assert mixture.base is not None
        found = self.made[mixture.base]
        assert not isinstance(found, str)
        spared = any(item.name == self.bad for item in mixture.exceptions)
        return self._write(folder, found[0] + len(mixture.exceptions), 0.0 if spared else found[1])

    def opened(self, folder: Path) -> Format:
        return Format(folder, ("model",), Classes())

    def values(self, format: Format, quantization: PassReport) -> object:
        return iter(())

    def _write(self, folder: Path, size: int, noise: float) -> tuple[Format, PassReport]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model").write_bytes(b"0" * size)
        return Format(folder, ("model",), Classes(noise)), PassReport(name="quantization", tensors=())


SCHEMES = (Scheme.INT8_DYNAMIC, Scheme.INT8_STATIC, Scheme.INT4_DYNAMIC, Scheme.FLOAT16)


def run(
    formats: ArrayFormats,
    folder: Path,
    schemes: Sequence[Scheme] = SCHEMES,
    calibration: Calibration | None = None,
) -> search.Found:
    random = np.random.default_rng(0)
    x = random.random((1000, 4), np.float32)
    data = Dataset({"x": x}, {"y": x.argmax(axis=1)}, SPECS, len(x))
    original = reference(Classes(), SPECS, data, folder / "original")
    limits = Evaluation.model_validate({"metric": Metric.ACCURACY, "maxDrop": "0.5%"})
    measure = CandidateMeasure(
        original,
        rules.of_outputs(limits, data.labels, original.outputs),
        limits,
        Classes(),
        Timing({"x": x[:8]}, ()),  # times of arrays say nothing, and would decide
    )
    return search.run(formats, search.Task(schemes, calibration, measure, 1000), folder / "search")  # type: ignore[arg-type]


def test_a_candidate_that_does_not_work_is_a_row_with_its_reason(tmp_path: Path) -> None:
    formats = ArrayFormats(
        {
            Scheme.INT8_DYNAMIC: "the converter crashed",
            Scheme.INT4_DYNAMIC: (100, float("nan")),
            Scheme.FLOAT16: (500, 0.0),
        }
    )
    found = run(formats, tmp_path)
    reasons = {item.name: item.why_not for item in found.report.candidates}
    assert reasons["Int8Dynamic"] == "the converter crashed"
    assert reasons["Int8Static"] == NO_CALIBRATION
    assert "NaN or infinite for 1000 rows" in str(reasons["Int4Dynamic"])
    assert reasons["Float16"] is None
    assert found.format.path.read_bytes() == b"0" * 500
    assert [path.name for path in (tmp_path / "search").iterdir()] == ["4"], "nothing else is left on disk"


def test_the_job_fails_only_where_no_candidate_works(tmp_path: Path) -> None:
    formats = ArrayFormats(dict.fromkeys(SCHEMES, "no such operator"))
    with pytest.raises(DataError, match="Int8Dynamic: no such operator; Int8Static: needs data") as caught:
        run(formats, tmp_path)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_where_none_passes_the_closest_is_made_and_the_report_says_so(tmp_path: Path) -> None:
    formats = ArrayFormats(
        {Scheme.INT8_DYNAMIC: (250, 0.3), Scheme.INT4_DYNAMIC: (100, 0.5), Scheme.FLOAT16: (500, 0.1)},
        operators=(),
    )
    found = run(formats, tmp_path)
    assert not found.report.passed
    assert found.report.note == "no candidate passes the limits: Float16 comes closest to them"


def test_the_sensitive_operator_is_found_and_spared(tmp_path: Path) -> None:
    formats = ArrayFormats({Scheme.INT8_DYNAMIC: (250, 0.1)})
    found = run(formats, tmp_path, (Scheme.INT8_DYNAMIC,))
    assert found.report.sensitivity[0].operators == ("op2",)
    assert [item.name for item in found.report.candidates] == ["Int8Dynamic", "Int8Dynamic, 1 Int8Weights"]
    assert formats.mixtures[0].exceptions == {OPERATORS[2]: Scheme.INT8_WEIGHTS}
    assert found.report.candidates[1].chosen
    assert found.format.path.read_bytes() == b"0" * 251


def test_four_bits_with_the_sensitive_operator_in_eight(tmp_path: Path) -> None:
    formats = ArrayFormats({Scheme.INT8_DYNAMIC: (250, 0.0), Scheme.INT4_DYNAMIC: (130, 0.1)})
    found = run(formats, tmp_path, (Scheme.INT8_DYNAMIC, Scheme.INT4_DYNAMIC))
    assert formats.mixtures[0].exceptions == {OPERATORS[2]: Scheme.INT8_DYNAMIC}
    assert next(item.name for item in found.report.candidates if item.chosen) == "Int4Dynamic, 1 Int8Dynamic"


def test_nothing_is_mixed_where_the_plain_schemes_pass(tmp_path: Path) -> None:
    formats = ArrayFormats({Scheme.INT8_DYNAMIC: (250, 0.0), Scheme.INT4_DYNAMIC: (130, 0.0)})
    run(formats, tmp_path, (Scheme.INT8_DYNAMIC, Scheme.INT4_DYNAMIC))
    assert formats.mixtures == []


INT4 = (Scheme.INT8_DYNAMIC, Scheme.INT4_DYNAMIC)
ROWS = Calibration(Path("rows.npz"), 512, 512, 32)


def wide(*widths: int) -> tuple[Operator, ...]:
    return tuple(Operator(f"op{i}", "FULLY_CONNECTED", (), 100, width) for i, width in enumerate(widths))


def test_gptq_is_tried_where_four_bits_do_not_pass(tmp_path: Path) -> None:
    sizes: dict[Scheme, tuple[int, float] | str] = {
        Scheme.INT8_DYNAMIC: (250, 0.0),
        Scheme.INT4_DYNAMIC: (130, 0.1),
    }
    found = run(ArrayFormats(sizes, wide(64, 2048)), tmp_path, INT4, ROWS)
    names = [item.name for item in found.report.candidates]
    assert names == ["Int8Dynamic", "Int4Dynamic", "Int4Dynamic, GPTQ"], "no mixture is smaller"
    assert found.report.candidates[-1].chosen
    assert found.report.candidates[-1].parameters == {"scheme": "Int4Dynamic", "algorithm": "GPTQ"}
    assert found.report.candidates[-1].seconds is not None


@pytest.mark.parametrize(
    ("widths", "calibration", "reason"),
    [
        pytest.param((64,), None, NO_CALIBRATION, id="no data"),
        pytest.param((64, 4096), ROWS, "4,096 inputs, more than 2,048", id="too wide"),
        pytest.param((0,), ROWS, "no fully connected operator", id="nothing to do"),
    ],
)
def test_gptq_that_is_not_tried_says_why(
    widths: tuple[int, ...], calibration: Calibration | None, reason: str, tmp_path: Path
) -> None:
    formats = ArrayFormats({Scheme.INT8_DYNAMIC: (250, 0.0), Scheme.INT4_DYNAMIC: (130, 0.1)}, wide(*widths))
    found = run(formats, tmp_path, INT4, calibration)
    assert reason in str(next(item.why_not for item in found.report.candidates if "GPTQ" in item.name))


def test_a_mixture_has_the_rows_of_its_algorithm(tmp_path: Path) -> None:
    formats = ArrayFormats(
        {Scheme.INT8_DYNAMIC: (250, 0.0), Scheme.INT4_DYNAMIC: (130, 0.1)}, wide(64, 64, 64, 64), gptq=0.05
    )
    run(formats, tmp_path, INT4, ROWS)
    assert (formats.mixtures[0].algorithm, formats.mixtures[0].calibration) == (Algorithm.GPTQ, ROWS)


@pytest.mark.parametrize(("time", "spared"), [(1.3, True), (1.0, False)])
def test_depthwise_convolutions_are_spared_where_int8dynamic_is_slow(time: float, spared: bool) -> None:
    operators = (OPERATORS[0], Operator("depthwise", "DEPTHWISE_CONV_2D", ("depthwise;",), 100))
    measured = [MeasuredCandidate("Int8Dynamic", 250, 98, 0, (time,))]
    found = mixtures.without_slow_depthwise(measured, operators)
    assert found == (Mixture(Scheme.INT8_DYNAMIC, {operators[1]: Scheme.INT8_WEIGHTS}) if spared else None)
    assert mixtures.without_slow_depthwise(measured, OPERATORS) is None


@pytest.mark.parametrize(
    ("dynamic", "int4", "helps"),
    [
        pytest.param(0.0, 0.0, (False, False), id="all pass"),
        pytest.param(2.0, 0.0, (False, False), id="what is smaller passes"),
        pytest.param(0.0, 2.0, (False, True), id="four bits fail"),
        pytest.param(2.0, 2.0, (True, True), id="all fail"),
    ],
)
def test_mixtures_are_tried_where_they_can_help(
    dynamic: float, int4: float, helps: tuple[bool, bool]
) -> None:

    measured = [
        MeasuredCandidate("Int8Dynamic", 30, 98 - dynamic, dynamic, (1.0,)),
        MeasuredCandidate("Int4Dynamic", 20, 98 - int4, int4, (1.0,)),
        MeasuredCandidate("Float16", 60, 98, 0, (1.0,)),
    ]
    limits = ScoreLimits(max_drop=Decimal("0.5"))
    bases = (Scheme.INT8_DYNAMIC, Scheme.INT4_DYNAMIC)
    assert tuple(exceptions_help(base.value, measured, limits) for base in bases) == helps
    too_large = ScoreLimits(max_drop=Decimal("0.5"), max_size=10)
    assert not exceptions_help(Scheme.INT8_DYNAMIC.value, measured, too_large), (
        "exceptions make nothing smaller"
    )


def test_a_ranking_leaves_no_files(tmp_path: Path) -> None:
    formats = ArrayFormats({})
    x = np.random.default_rng(0).random((64, 4), np.float32)
    rows = holdout.sample(Dataset({"x": x}, {}, SPECS, 64), 32, tmp_path / "rows")
    trial = sensitivity.Trial(Scheme.INT8_DYNAMIC, rows, 16)
    ranking = sensitivity.ranked(formats, OPERATORS, trial, tmp_path / "trials")  # type: ignore[arg-type]
    assert [group.operators[0].name for group in ranking] == ["op2", "op0", "op1", "op3"]
    assert not (tmp_path / "trials").exists()
