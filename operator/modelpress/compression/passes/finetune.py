"""Fine-tuning on data.training: all weights are trained; zeros of a pruned model stay zero.

The loss follows from the data (`training_data`), the steps are Adam's (`trainer`). Imports TensorFlow only
when it is applied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelpress.api.contract import JobRequest
from modelpress.api.spec import FineTuning, Granularity
from modelpress.api.values import parse_decimal
from modelpress.compression.passes.base import Pass, PassContext, TrainingUse, fine_tuning, pruning
from modelpress.compression.passes.training import learning_rate
from modelpress.compression.passes.training.learning_rate import LearningRate
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report.document import EpochReport, PassReport, TensorReport, TrainingReport
from modelpress.models.types import EDITABLE, Array, LoadedModel, Role, Weight, unsupported

NAME = "fineTuning"
FROM_LABELS = TrainingUse()
AFTER_CHANNELS = TrainingUse(distillation=0.5)  # a smaller network learns from the original too
INFERENCE_NOTE = (
    "The layers of a SavedModel run in inference mode while it is trained: dropout is off and moving"
    " statistics stay."
)


@dataclass(frozen=True)
class MaskedFineTuning(Pass):
    """`optimization.fineTuning`. `keep_zeros`: zeros of kernels and embeddings stay, as after pruning."""

    settings: FineTuning
    keep_zeros: bool
    training_use: TrainingUse = FROM_LABELS
    name = NAME

    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Train the weights in place.

        Raises UsageError (InvalidSpec) where the loss is no number any more, UnsupportedModel where the
        weights are not float32 or an operation has no gradient.
        """
        from modelpress.compression.passes.training.trainer import Trainer, TrainerOptions  # noqa: PLC0415 - imports TensorFlow

        data = context.training_data
        plan = TrainingPlan.of(model, data, self.settings)
        before = [weight.read() for weight in model.weights]
        zeros = [self.keep_zeros and weight.role in EDITABLE for weight in model.weights]
        options = TrainerOptions(
            epochs=self.settings.epochs,
            batch=plan.rate.batch,
            rate=plan.rate.value,
            zeros=zeros,
        )
        trainer = Trainer(model, data, plan.trained, options)
        epochs = [EpochReport(epoch=0, learning_rate=0, loss=trainer.loss())]
        for number in range(1, self.settings.epochs + 1):
            trainer.epoch("fine-tune")
            epochs.append(EpochReport(epoch=number, learning_rate=trainer.rate, loss=trainer.loss()))
        kept = "Zeros of kernels and embeddings stay zero." if self.keep_zeros else None
        return model, PassReport(
            name=self.name,
            parameters=plan.parameters(self.settings),
            note=" ".join(plan.notes([kept])) or None,
            tensors=plan.tensors(model, before, trainer.unreached),
            training=plan.report(data, epochs),
        )


def requested(request: JobRequest) -> MaskedFineTuning | None:
    """Return the pass that a request asks for; with l0Penalty the training is a part of pruning."""
    settings, pruned = fine_tuning(request), pruning(request)
    if settings is None or (pruned and pruned.l0_penalty is not None):
        return None
    if pruned and pruned.granularity is Granularity.CHANNEL:  # a channel that went leaves no zeros behind
        return MaskedFineTuning(settings, keep_zeros=False, training_use=AFTER_CHANNELS)
    return MaskedFineTuning(settings, keep_zeros=pruned is not None)


@dataclass(frozen=True)
class TrainingPlan:
    """What follows from a model, its data and the spec before the first step."""

    trained: tuple[bool, ...]  # whether it is trained, for each weight of the model
    rate: LearningRate
    training_mode: bool

    @classmethod
    def of(cls, model: LoadedModel, data: TrainingData, settings: FineTuning) -> "TrainingPlan":
        """Choose what is trained, the batch and the learning rate. Raises UnsupportedModel."""
        graph = model.training_graph()
        flags = tuple(
            _is_trained(weight, variable.trainable)
            for weight, variable in zip(model.weights, graph.variables, strict=True)
        )
        chosen = [weight for weight, trained in zip(model.weights, flags, strict=True) if trained]
        if not chosen:
            raise unsupported(f"{NAME}: the model has no weights that can be trained")
        fixed = max(spec.shape[0] for spec in model.inputs)
        rate = learning_rate.choose(
            None if settings.learning_rate is None else parse_decimal(settings.learning_rate),
            batch=fixed if fixed > 0 else min(settings.batch_size, data.data.rows),
            layers=max(1, sum(weight.role in EDITABLE for weight in chosen)),
            parameters=sum(int(np.prod(weight.shape, dtype=np.int64)) for weight in chosen),
        )
        return cls(flags, rate, graph.training_mode)

    def parameters(self, settings: FineTuning) -> dict[str, str]:
        """Return the settings for the report."""
        source = "" if self.rate.given else " (by the formula)"
        return {
            "epochs": str(settings.epochs),
            "batchSize": str(settings.batch_size),
            "learningRate": f"{self.rate.value:.6g}{source}",
        }

    def notes(self, notes: Sequence[str | None]) -> list[str]:
        """Return the notes, with that on inference mode where it holds."""
        found = [note for note in notes if note]
        return found if self.training_mode else [*found, INFERENCE_NOTE]

    def report(self, data: TrainingData, epochs: Sequence[EpochReport]) -> TrainingReport:
        """Return the numbers behind the learning rate, and the course of the loss."""
        rate = self.rate
        return TrainingReport(
            learning_rate=rate.value,
            by_formula=not rate.given,
            batch=rate.batch,
            layers=rate.layers,
            parameters=rate.parameters,
            rows=data.data.rows,
            losses={
                name: "; ".join(t.describe() for t in data.targets if t.output == name)
                for name in dict.fromkeys(target.output for target in data.targets)
            },
            epochs=tuple(epochs),
        )

    def tensors(
        self, model: LoadedModel, before: Sequence[Array], unreached: set[str]
    ) -> tuple[TensorReport, ...]:
        """Compare the weights with those before, tensor by tensor."""
        return tuple(
            _tensor(weight, value, self._why_not(trained, weight, unreached))
            for weight, value, trained in zip(model.weights, before, self.trained, strict=True)
        )

    def _why_not(self, trained: bool, weight: Weight, unreached: set[str]) -> str | None:
        if weight.name in unreached:
            return "the loss does not depend on it"
        if trained:
            return None
        return "a moving statistic" if weight.role is Role.STATISTICS else "not trainable"


def _is_trained(weight: Weight, trainable: bool) -> bool:
    """Return whether a weight is trained: all but statistics and what only the author's code may change.

    Kernels, biases and the like of layers that the author froze are trained too: pruning changes them, so
    they must be able to recover.
    """
    if weight.role is Role.STATISTICS or np.dtype(weight.dtype).kind != "f":
        return False
    if weight.role is Role.OTHER and not trainable:
        return False
    if weight.dtype != "float32":
        raise unsupported(f"{NAME}: {weight.name} has dtype {weight.dtype}; accepted is float32")
    return True


def _tensor(weight: Weight, before: Array, skipped: str | None) -> TensorReport:
    after = weight.read()
    changed = int((before != after).sum())
    facts: Mapping[str, float] = {}
    if weight.role in EDITABLE and skipped is None:
        facts = {"sparsityBefore": sparsity(before), "sparsity": sparsity(after)}
    return TensorReport(
        name=weight.name,
        role=weight.role.value,
        shape=weight.shape,
        elements=before.size,
        changed=changed,
        skipped=None if changed else skipped,  # statistics move in training mode
        facts=dict(facts),
    )


def sparsity(values: Array) -> float:
    """Return the share of zeros."""
    return float((values == 0).mean()) if values.size else 0.0
