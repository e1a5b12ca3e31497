"""Every format and layer kind that is promised, with every step: what works, and what is refused and why.

The expectations are `tests.support.models.formats`, from which the table in docs/compression.md comes too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.errors import DataError
from modelpress.api.schemes import Scheme
from modelpress.api.spec import FineTuning
from modelpress.compression.evaluation import dataset
from modelpress.compression.formats import calibration
from modelpress.compression.formats.base import Format, QuantizationTask
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.channels.pruning import ChannelPruning
from modelpress.compression.passes.clip import ValueClipping
from modelpress.compression.passes.finetune import MaskedFineTuning
from modelpress.compression.passes.prune import ElementPruning
from modelpress.compression.passes.training import training_data
from modelpress.models.load import load
from modelpress.models.types import EDITABLE, Array, Arrays, LoadedModel
from tests.support.models import of_formats as format_models
from tests.support.models.formats import CASES, Case, Step

ROWS = 64
EQUAL = 1e-4  # of the largest output, at least of 1: float32 sums in another order
# Cosine similarity to the original, at least. Uniform weights in k bits have a relative error of
# 1 / (2^(k-1) - 1) / 2, which is 0.4 % for int8 and 7 % for int4, in each of up to six layers in a row.
COSINES = {
    Step.INT8_DYNAMIC: 0.998,
    Step.INT8_STATIC: 0.998,
    Step.INT4_DYNAMIC: 0.97,
    Step.INT8_WEIGHTS: 0.998,
    Step.FLOAT16: 0.9999,
}
BOUND = 0.05  # clipping
SPARSITY = "80%"


class Opened:
    """A model of one case: loaded once, converted once; steps that change weights put them back."""

    def __init__(self, case: Case, converter: Converter, folder: Path) -> None:
        folder.mkdir()
        (folder / "file").mkdir()
        self.case = case
        self.folder = folder
        self.converter = converter
        self.model: LoadedModel = load(case.make(folder / "file"), folder / "model")
        self.rows = [inputs(self.model, length) for length in case.lengths]
        self.outputs = [self.model.call(rows) for rows in self.rows]
        self.formats = self.convert("float32")

    def convert(self, name: str, model: LoadedModel | None = None) -> LiteRTFormats:
        return LiteRTFormats(model or self.model, self.converter, self.rows[0], self.folder / name)

    @contextmanager
    def borrowed(self) -> Iterator[LoadedModel]:
        before = [weight.read() for weight in self.model.weights]
        yield self.model
        for weight, values in zip(self.model.weights, before, strict=True):
            weight.write(values)

    def data(self) -> Path:
        path = self.folder / "data.npz"
        if not path.exists():
            parts = [inputs(self.model, self.case.lengths[0], seed) for seed in range(64)]
            count = -(-ROWS // len(next(iter(parts[0].values()))))
            arrays = {name: np.concatenate([part[name] for part in parts[:count]]) for name in parts[0]}
            np.savez(path, **arrays)  # type: ignore[arg-type]
        return path


def inputs(model: LoadedModel, length: int, seed: int = 0) -> Arrays:
    """Return a batch of the model's own size, else of 32 rows; free axes have `length`."""
    drawn = np.random.default_rng(seed)
    fixed = max(spec.shape[0] for spec in model.inputs)
    batch = fixed if fixed > 0 else 32
    arrays: dict[str, Array] = {}
    for spec in model.inputs:
        shape = (batch, *(length if size < 0 else size for size in spec.shape[1:]))
        if np.dtype(spec.dtype).kind == "f":
            arrays[spec.name] = drawn.standard_normal(shape).astype(spec.dtype)
        else:
            top = 256 if spec.dtype == "uint8" else format_models.WORDS
            arrays[spec.name] = drawn.integers(0, top, shape).astype(spec.dtype)
    return arrays


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Opened]]:
    """Open a case, or return the one of the test before; cases come one after the other."""
    folder = tmp_path_factory.mktemp("formats")
    current: list[Opened] = []
    with Converter(folder) as converter:

        def open_case(case: Case) -> Opened:
            if not current or current[0].case is not case:
                current.clear()
                current.append(Opened(case, converter, folder / case.key))
            return current[0]

        yield open_case


def cells() -> list[tuple[Case, Step]]:
    """Return the cells of the table to try: of a model that is refused whole, the first one is all."""
    return [
        (case, step)
        for case in CASES
        for step in (Step if len(case.refused) < len(Step) else (Step.FLOAT32,))
    ]


@pytest.mark.parametrize(("case", "step"), cells(), ids=lambda item: getattr(item, "key", item))
def test_what_the_table_says_is_so(opener: Callable[[Case], Opened], case: Case, step: Step) -> None:
    refusal = case.refused.get(step)
    if refusal is None:
        STEPS[step](opener(case), step)
        return
    with pytest.raises(DataError) as caught:
        STEPS[step](opener(case), step)
    assert caught.value.reason.value == refusal.reason
    assert refusal.message in caught.value.message
    assert "\n" not in caught.value.message


def converts(opened: Opened, step: Step) -> None:
    computes_the_same(opened, opened.formats.float32)


def quantizes(opened: Opened, step: Step) -> None:
    model, scheme = opened.model, Scheme(step)
    ranges = None
    if scheme is Scheme.INT8_STATIC:
        specs = model.inputs, model.outputs
        data = dataset.load(opened.data(), opened.folder / "calibration", *specs, labels=False)
        ranges = calibration.prepare(data, model, opened.folder / "calibration.npz")
    format, report = opened.formats.quantized(QuantizationTask(scheme, ranges), opened.folder / step)
    stored = tflite_file.read(format.path).constants
    assert [item for item in stored if item.scale.size or item.dtype == "float16"]
    assert [tensor for tensor in report.tensors if tensor.bytes_after and tensor.changed]
    for rows, expected in zip(opened.rows, opened.outputs, strict=True):
        found = format.model.call(rows)
        for name, values in expected.items():
            assert found[name].shape == values.shape
            assert found[name].dtype == values.dtype
            assert cosine(values, found[name]) >= COSINES[step]


def prunes_elements(opened: Opened, step: Step) -> None:
    with opened.borrowed() as model:
        ElementPruning(SPARSITY).apply(model, PassContext())
        assert np.mean([zeros(values) for values in editable(model)]) >= 0.79
        computes_the_same(opened, opened.convert(step).float32)


def clips(opened: Opened, step: Step) -> None:
    with opened.borrowed() as model:
        assert max(np.abs(values).max() for values in editable(model)) > BOUND
        ValueClipping(str(-BOUND), str(BOUND)).apply(model, PassContext())
        assert max(np.abs(values).max() for values in editable(model)) <= np.float32(BOUND)
        computes_the_same(opened, opened.convert(step).float32)


def trains(opened: Opened, step: Step) -> None:
    with opened.borrowed() as model:
        data = training_data.load(opened.data(), opened.folder / "training", model)
        ElementPruning(SPARSITY).apply(model, PassContext())
        before = [values == 0 for values in editable(model)]
        settings = FineTuning(epochs=4, batch_size=16, learning_rate="0.001")
        _, report = MaskedFineTuning(settings, keep_zeros=True).apply(model, PassContext(data))
        assert report.training is not None
        losses = [epoch.loss for epoch in report.training.epochs]
        assert losses[-1] < losses[0]
        for was, values in zip(before, editable(model), strict=True):
            assert (values[was] == 0).all()
        computes_the_same(opened, opened.convert(step).float32)


def removes_channels(opened: Opened, step: Step) -> None:
    pruning = ChannelPruning("50%")
    pruning.check(opened.model)
    smaller, _ = pruning.apply(opened.model, PassContext())
    sizes = [sum(weight.read().size for weight in model.weights) for model in (opened.model, smaller)]
    assert sizes[1] < 0.9 * sizes[0]
    format = opened.convert(step, smaller).float32
    for rows, expected in zip(opened.rows, opened.outputs, strict=True):
        found = format.model.call(rows)
        assert {name: values.shape for name, values in found.items()} == {
            name: values.shape for name, values in expected.items()
        }


STEPS: dict[Step, Callable[[Opened, Step], None]] = {
    **dict.fromkeys(COSINES, quantizes),
    Step.FLOAT32: converts,
    Step.ELEMENTS: prunes_elements,
    Step.CLIPPING: clips,
    Step.FINE_TUNING: trains,
    Step.CHANNELS: removes_channels,
}


def computes_the_same(opened: Opened, format: Format) -> None:
    """Compare a format with TensorFlow for each length: the file must be good for all of them."""
    for rows in opened.rows:
        found = format.model.call(rows)
        for name, values in opened.model.call(rows).items():
            assert np.abs(values - found[name]).max() <= EQUAL * max(1.0, float(np.abs(values).max()))


def editable(model: LoadedModel) -> list[Array]:
    return [weight.read() for weight in model.weights if weight.role in EDITABLE]


def zeros(values: Array) -> float:
    return float((values == 0).mean())


def cosine(first: Array, second: Array) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
