"""Fine-tuning and the L0 penalty on real models: digits, as layers and as a SavedModel without code."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import DataError, UsageError
from modelpress.api.spec import FineTuning
from modelpress.compression import pipeline, recipe
from modelpress.compression.passes.base import Pass, PassContext
from modelpress.compression.passes.finetune import INFERENCE_NOTE, MaskedFineTuning
from modelpress.compression.passes.l0 import L0Penalty, objective
from modelpress.compression.passes.prune import ElementPruning, prune
from modelpress.compression.passes.training import learning_rate, training_data
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report import document as report
from modelpress.compression.report.document import PassReport, TrainingReport
from modelpress.models.load import load
from modelpress.models.types import EDITABLE, Array, LoadedModel, Role
from tests.support.models.trained import Digits, DigitsModels

EPOCHS = FineTuning(epochs=4)


@dataclass
class Trained:
    """A model with its training data, and its accuracy on the held-out digits in percent."""

    model: LoadedModel
    data: TrainingData
    digits: Digits

    def accuracy(self) -> float:
        [spec], [output] = self.model.inputs, self.model.outputs
        rows = self.digits.test_x.reshape(-1, *spec.shape[1:])
        found = self.model.call({spec.name: rows})[output.name]
        return 100 * float((found.argmax(axis=1) == self.digits.test_y).mean())

    def kernels(self) -> list[Array]:
        return [weight.read() for weight in self.model.weights if weight.role in EDITABLE]

    def sparsity(self) -> float:
        return float((np.concatenate([kernel.ravel() for kernel in self.kernels()]) == 0).mean())


Opener = Callable[..., Trained]


@pytest.fixture
def opened(digits_models: DigitsModels, tmp_path: Path) -> Opener:
    """Load a model anew, in a folder of its own."""
    count = 0

    def open_model(path: Path, *, labels: bool = True, rows: int | None = None) -> Trained:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        model = load(path, folder)
        digits = digits_models.digits
        arrays = {"x": digits.train_x[:rows].reshape(-1, *model.inputs[0].shape[1:])}
        if labels:
            arrays["y"] = digits.train_y[:rows]  # type: ignore[assignment]
        np.savez(folder / "train.npz", **arrays)  # type: ignore[arg-type]
        data = training_data.load(folder / "train.npz", folder / "data", model)
        return Trained(model, data, digits)

    return open_model


def trained(step: Pass, found: Trained) -> PassReport:
    return step.apply(found.model, PassContext(found.data))[1]


def course(made: PassReport) -> TrainingReport:
    assert made.training is not None
    return made.training


@pytest.mark.parametrize("kind", ["saved_model", "functional", "cnn"])
def test_what_pruning_loses_comes_back_and_zeros_stay(
    digits_models: DigitsModels, opened: Opener, kind: str
) -> None:
    found = opened(getattr(digits_models, kind))
    original = found.accuracy()
    ElementPruning("60%").apply(found.model, PassContext())
    pruned = found.accuracy()
    zeros = [kernel == 0 for kernel in found.kernels()]
    made = trained(MaskedFineTuning(EPOCHS, keep_zeros=True), found)
    assert pruned < original - 4
    assert found.accuracy() > original - 1.5
    for before, kernel in zip(zeros, found.kernels(), strict=True):
        assert np.array_equal(kernel == 0, before)
    losses = [epoch.loss for epoch in course(made).epochs]
    assert len(losses) == EPOCHS.epochs + 1
    assert losses[-1] < losses[0] / 3
    assert (INFERENCE_NOTE in (made.note or "")) == (kind == "saved_model")
    assert {tensor.skipped for tensor in made.tensors} == {None}


def test_statistics_move_only_in_the_training_mode_of_layers(
    digits_models: DigitsModels, opened: Opener, tmp_path: Path
) -> None:
    import keras

    keras.saving.load_model(digits_models.cnn).export(tmp_path / "exported", verbose=False)
    for path, moves in ((digits_models.cnn, True), (tmp_path / "exported", False)):
        found = opened(path, rows=200)
        made = trained(MaskedFineTuning(FineTuning(epochs=1), keep_zeros=False), found)
        statistics = [tensor for tensor in made.tensors if tensor.role == Role.STATISTICS]
        assert len(statistics) == 2
        for tensor in statistics:
            assert (tensor.changed > 0) == moves
            assert (tensor.skipped == "a moving statistic") == (not moves)


def test_the_learning_rate_of_the_formula_is_reported_with_its_numbers(
    digits_models: DigitsModels, opened: Opener
) -> None:
    found = opened(digits_models.functional, rows=100)
    made = trained(MaskedFineTuning(FineTuning(epochs=1), keep_zeros=False), found)
    training = course(made)
    assert (training.batch, training.layers, training.parameters) == (32, 3, 6570)
    assert training.learning_rate == learning_rate.formula(32, 3, 6570)
    assert training.by_formula
    assert made.parameters["learningRate"] == "0.000557684 (by the formula)"
    given = FineTuning(epochs=1, learning_rate="1e-3", batch_size=500)
    training = course(trained(MaskedFineTuning(given, keep_zeros=False), found))
    assert (training.learning_rate, training.by_formula, training.batch) == (0.001, False, 100)
    assert training.losses == {"digit": "sparse categorical cross-entropy, against labels"}


def test_training_twice_gives_the_same_numbers_also_with_dropout(
    digits_models: DigitsModels, opened: Opener
) -> None:
    results = []
    for _ in range(2):
        found = opened(digits_models.cnn, rows=200)
        trained(MaskedFineTuning(FineTuning(epochs=2), keep_zeros=False), found)
        results.append([weight.read() for weight in found.model.weights])
    assert all(np.array_equal(first, second) for first, second in zip(*results, strict=True))


def test_without_labels_the_original_is_the_teacher(digits_models: DigitsModels, opened: Opener) -> None:
    found = opened(digits_models.functional, labels=False)
    assert found.data.targets[0].distilled
    original = found.accuracy()
    ElementPruning("60%").apply(found.model, PassContext())
    made = trained(MaskedFineTuning(EPOCHS, keep_zeros=True), found)
    assert found.accuracy() > original - 1.5
    assert "against the original's outputs" in course(made).losses["digit"]


def test_a_loss_that_is_no_number_is_one_error(digits_models: DigitsModels, opened: Opener) -> None:
    found = opened(digits_models.functional, rows=100)
    settings = FineTuning(epochs=2, learning_rate="1e38")
    with pytest.raises(UsageError, match="the loss became nan") as caught:
        trained(MaskedFineTuning(settings, keep_zeros=False), found)
    assert caught.value.reason is Reason.INVALID_SPEC
    assert "choose a smaller learningRate" in caught.value.message


def test_the_objective_falls_and_a_larger_penalty_is_sparser_at_no_more_loss_than_one_shot(
    digits_models: DigitsModels, opened: Opener
) -> None:
    sparsities = []
    for penalty in ("1e-4", "1e-2", "1"):
        found = opened(digits_models.functional)
        made = trained(L0Penalty(penalty, EPOCHS), found)
        epochs = course(made).epochs
        values = [objective(epoch) for epoch in epochs]
        assert all(after < before for before, after in pairwise(values))
        last = epochs[-1]
        assert last.nonzero is not None
        assert last.objective == pytest.approx(last.loss + float(penalty) * last.nonzero)
        assert last.nonzero == sum(int(np.count_nonzero(kernel)) for kernel in found.kernels())
        sparsities.append(found.sparsity())

        once = opened(digits_models.functional)
        editable = [weight for weight in once.model.weights if weight.role in EDITABLE]
        for weight, kernel in zip(editable, found.kernels(), strict=True):
            weight.write(prune(weight.read(), Decimal(str((kernel == 0).mean())))[0])
        same = course(trained(MaskedFineTuning(EPOCHS, keep_zeros=True), once))
        assert once.sparsity() == pytest.approx(found.sparsity(), abs=1e-3)
        assert last.loss <= same.epochs[-1].loss * 1.02
    assert sparsities == sorted(sparsities)
    assert sparsities[-1] > sparsities[0] + 0.2


def test_an_epoch_that_raises_the_objective_is_taken_back(
    digits_models: DigitsModels, opened: Opener
) -> None:
    found = opened(digits_models.functional)
    settings = FineTuning(epochs=6, learning_rate="0.2")
    epochs = course(trained(L0Penalty("1e-6", settings), found)).epochs
    values = [objective(epoch) for epoch in epochs]
    assert values == sorted(values, reverse=True)
    rejected = [epoch for epoch in epochs if epoch.rejected_objective is not None]
    assert rejected
    rates = [epoch.learning_rate for epoch in epochs[1:]]
    assert rates[-1] == 0.2 * 0.5 ** len([epoch for epoch in rejected if epoch.epoch < len(epochs) - 1])


def test_only_kernels_are_thresholded_and_a_saved_model_can_be(
    digits_models: DigitsModels, opened: Opener
) -> None:
    found = opened(digits_models.saved_model)
    original = found.accuracy()
    made = trained(L0Penalty("0.1", EPOCHS), found)
    assert found.sparsity() > 0.3
    assert found.accuracy() > original - 1.5
    for weight in found.model.weights:
        if weight.role is Role.BIAS:
            assert np.count_nonzero(weight.read()) > 0.9 * weight.read().size
    assert {tensor.role for tensor in made.tensors if "sparsity" in tensor.facts} == {"kernel"}
    assert INFERENCE_NOTE in (made.note or "")


def _saved(folder: Path, compute: Callable[..., Any]) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32), name="w")
    spec = tf.TensorSpec((None, 64), tf.float32, name="x")
    module.forward = tf.function(lambda x: {"y": compute(module.w, x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.forward)
    return folder


def test_a_trained_model_can_be_exported_and_trained_again(
    digits_models: DigitsModels, opened: Opener, tmp_path: Path
) -> None:
    found = opened(digits_models.saved_model, rows=100)
    for number in range(2):
        trained(MaskedFineTuning(FineTuning(epochs=1), keep_zeros=False), found)
        exported = found.model.export(tmp_path / f"exported{number}")
        assert len(exported.outputs) == 1
        again = load(exported.folder, tmp_path / "work")
        rows = found.digits.test_x[:4]
        assert np.allclose(
            again.call({exported.inputs[0]: rows})[exported.outputs[0]],
            found.model.call({found.model.inputs[0].name: rows})[found.model.outputs[0].name],
            atol=1e-6,
        )


def test_a_model_without_gradients_is_refused(opened: Opener, tmp_path: Path) -> None:
    import tensorflow as tf

    found = opened(_saved(tmp_path / "round", lambda w, x: tf.nn.softmax(tf.round(tf.matmul(x, w)))))
    with pytest.raises(DataError, match="no gradient of the loss reaches any weight") as caught:
        trained(MaskedFineTuning(EPOCHS, keep_zeros=False), found)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def _request(**fields: Any) -> JobRequest:
    base = {"name": "a", "namespace": "b", "recipeHash": "1" * 64, "deviceType": "CPU"}
    return JobRequest.model_validate({**base, "model": {"uri": "file:///x"}, **fields})


def test_the_pipeline_prunes_trains_clips_and_quantizes_in_this_order(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    train = tmp_path / "train.npz"
    np.savez(train, x=digits_models.digits.train_x, y=digits_models.digits.train_y)
    request = _request(
        data={"training": {"uri": train.as_uri()}},
        compression={"pruning": {"sparsity": "60%"}, "quantization": {"scheme": "Int8Dynamic"}},
        optimization={"fineTuning": {"epochs": 3}, "weightClipping": {"min": "-0.8", "max": "0.8"}},
        evaluation={"minScore": "90%"},
    )
    assert recipe.of(request).data.keys() == {"training"}
    inputs = pipeline.Inputs(
        digits_models.saved_model, digits_models.flat_data, f"sha256:{'2' * 64}", "3" * 64, training=train
    )
    made = pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    assert [step.name for step in made.passes] == [
        "pruning",
        "fineTuning",
        "weightClipping",
        "quantization",
    ]
    assert made.scores is not None
    assert made.scores.compressed > made.scores.original - 2
    told = course(report.load(tmp_path / "out").passes[1])
    assert [epoch.epoch for epoch in told.epochs] == [0, 1, 2, 3]


L0 = {"compression": {"pruning": {"l0Penalty": "0.1"}}}
EPOCH = {"fineTuning": {"epochs": 1}}


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        (L0, Reason.INVALID_SPEC, "spec.compression.pruning.l0Penalty: needs optimization.fineTuning"),
        ({"optimization": EPOCH}, Reason.INVALID_SPEC, "spec.data: fineTuning needs data.training"),
    ],
)
def test_combinations_that_cannot_work_are_refused_by_name(
    fields: dict[str, Any], reason: Reason, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        recipe.of(_request(**fields))
    assert caught.value.reason is reason
