"""What longer inputs take: measured with the runtimes that serve, and true of a worker."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelpress.api import batch_memory
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.manifest import InputSizes
from modelpress.compression import memory
from modelpress.compression.evaluation import input_sizes
from modelpress.compression.formats.base import Format, example
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.compression.formats.tensorflow.backend import TensorFlowFormats
from modelpress.models.load import load
from modelpress.models.types import LoadedModel
from modelpress.serving.input_limits import greatest
from tests.support.models import positions
from tests.support.serving.artifacts import Worker, make_artifact, worker

ROWS = 32


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("converter")) as running:
        yield running


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Four heads over a text of any length: memory grows with its square."""
    import keras

    folder = tmp_path_factory.mktemp("attention")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    seen = keras.layers.Embedding(50, 16)(tokens)
    mixed = keras.layers.MultiHeadAttention(4, 4)(seen, seen)
    label = keras.layers.Dense(3, name="label")(keras.layers.GlobalAveragePooling1D()(mixed))
    keras.Model(tokens, label).save(folder / "attention.keras")
    return load(folder / "attention.keras", folder / "model")


def measured(form: Format, model: LoadedModel, folder: Path) -> InputSizes:
    found = input_sizes.measure(form, model, example(model.inputs), folder)
    assert found is not None
    return found


def longest(sizes: InputSizes) -> int:
    return max(step.shapes[0][0] for step in sizes.memory)


def test_a_full_batch_of_the_greatest_inputs_fits_into_a_worker(
    converter: Converter, attention: LoadedModel, tmp_path: Path
) -> None:
    form = LiteRTFormats(attention, converter, example(attention.inputs), tmp_path / "form").float32
    sizes = measured(form, attention, tmp_path / "sizes")
    taken = [step.bytes for step in sizes.memory]
    assert taken == sorted(taken)
    folder = make_artifact(form.path, tmp_path / "artifact", outputs=["label"])
    manifest = manifests.load(folder)
    manifests.save(manifest.model_copy(update={"input_sizes": sizes}), folder)
    ((most,),) = greatest(sizes, ROWS)
    assert most > 100
    with worker(folder, tmp_path, max_request_bytes=2**26, request_timeout_seconds=120) as running:
        assert ask(running, ROWS, 1) == 200
        before = peak(running)
        assert ask(running, ROWS, most) == 200
        # beside the batch there is the body, which is much smaller
        assert peak(running) - before <= 1.1 * batch_memory.of(ROWS)
        assert ask(running, 1, most + 1) == 400


def ask(running: Worker, rows: int, length: int) -> int:
    tokens = np.zeros((rows, length), "int32")
    return running.client.post(
        "/v1/models/digits:predict", json={"instances": tokens.tolist()}, timeout=120
    ).status_code


def peak(running: Worker) -> int:
    """Return the largest resident memory of a worker so far, in bytes."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return 1024 * int(found[1])


def test_the_positions_of_a_model_are_found_exactly_on_both_runtimes(
    converter: Converter, tmp_path: Path
) -> None:
    model = load(positions.save(tmp_path / "saved"), tmp_path / "model")
    sample = example(model.inputs)
    for name, forms in (
        ("litert", LiteRTFormats(model, converter, sample, tmp_path / "litert")),
        ("tensorflow", TensorFlowFormats(model, sample, tmp_path / "tensorflow")),
    ):
        assert longest(measured(forms.float32, model, tmp_path / f"{name} sizes")) == positions.POSITIONS


def test_calls_end_within_the_memory_that_they_may_take(
    converter: Converter, attention: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = LiteRTFormats(attention, converter, example(attention.inputs), tmp_path / "form").float32
    monkeypatch.setattr(input_sizes, "_CALL_BYTES", 20 * 2**20)
    sizes = measured(form, attention, tmp_path / "sizes")
    assert sizes.memory[-1].bytes <= 20 * 2**20


def test_nothing_is_measured_where_there_is_no_memory_for_it(
    converter: Converter, attention: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = LiteRTFormats(attention, converter, example(attention.inputs), tmp_path / "form").float32
    monkeypatch.setattr(memory, "available", lambda: 2**30)
    assert input_sizes.measure(form, attention, example(attention.inputs), tmp_path / "sizes") is None
