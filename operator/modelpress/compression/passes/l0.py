"""`pruning.l0Penalty`: the weights that make L(W) + lambda * (number of weights that are not zero) small.

Iterative hard thresholding during fine-tuning, a proximal gradient method: after each step of size a the
penalty's proximal operator keeps a weight w where w^2 > 2 * a * lambda, and makes it zero otherwise. The
steps are Adam's, so a is the step size of the single weight: learning rate / (sqrt(v) + epsilon), with v
Adam's mean square of its gradient. A weight that hardly moves the loss has a large step and goes first. A
zero comes back where a step takes it beyond the threshold.

Sources: Blumensath and Davies, "Iterative thresholding for sparse approximations", 2008; for steps of
adaptive methods: Yun, Lozano and Yang, "A general family of stochastic proximal gradient methods for deep
learning", 2020.

The penalty rises over the first 70 % of the steps (`learning_rate.ramp`). An epoch after which the objective
is higher than before is taken back, and the next ones are done at half the rate: it never rises.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from modelpress.api.contract import JobRequest
from modelpress.api.spec import FineTuning, Granularity
from modelpress.api.values import parse_decimal
from modelpress.compression.passes.base import Pass, PassContext, l0_penalty
from modelpress.compression.passes.finetune import FROM_LABELS, TrainingPlan
from modelpress.compression.report.document import EpochReport, PassReport
from modelpress.models.types import EDITABLE, LoadedModel, unsupported

if TYPE_CHECKING:
    from modelpress.compression.passes.training.trainer import Tensors, Trainer

NOTE = (
    "A weight w is kept where w^2 > 2*a*lambda; a is its own step size, learning rate / (sqrt(v) + epsilon)"
    " of Adam. Zeros of single elements save stored bytes only: the served size and latency stay."
)


@dataclass(frozen=True)
class L0Penalty(Pass):
    """`pruning.l0Penalty` with granularity Element; `penalty` is lambda, a decimal."""

    penalty: str
    settings: FineTuning
    name = "pruning"
    training_use = FROM_LABELS

    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Train and threshold the weights in place. Raises as `MaskedFineTuning.apply`."""
        from modelpress.compression.passes.training.trainer import Trainer, TrainerOptions  # noqa: PLC0415 - imports TensorFlow

        editable = [weight.role in EDITABLE for weight in model.weights]
        if not any(editable):
            raise unsupported("pruning: the model has no variables that are kernels or embeddings")
        data = context.training_data
        plan = TrainingPlan.of(model, data, self.settings)
        before = [weight.read() for weight in model.weights]
        options = TrainerOptions(
            epochs=self.settings.epochs,
            batch=plan.rate.batch,
            rate=plan.rate.value,
            zeros=[False] * len(editable),
            proximal=partial(_proximal, frozenset(i for i, chosen in enumerate(editable) if chosen)),
            penalty=parse_decimal(self.penalty),
        )
        trainer = Trainer(model, data, plan.trained, options)
        epochs = run_epochs(model, trainer, self.settings.epochs, options.penalty)
        return model, PassReport(
            name=self.name,
            parameters={
                "l0Penalty": self.penalty,
                "granularity": Granularity.ELEMENT.value,
                **plan.parameters(self.settings),
            },
            note=" ".join(plan.notes([NOTE])),
            tensors=plan.tensors(model, before, trainer.unreached),
            training=plan.report(data, epochs),
        )


def requested(request: JobRequest) -> L0Penalty | None:
    """Return the pass that a request asks for. Raises UsageError (InvalidSpec) without fineTuning."""
    settings = l0_penalty(request, Granularity.ELEMENT)
    return L0Penalty(*settings) if settings else None


def run_epochs(
    model: LoadedModel, trainer: "Trainer", epochs: int, penalty: float
) -> tuple[EpochReport, ...]:
    """Train; return the objective before the first epoch and after each, which never rises.

    The objective is measured on all rows in inference mode, with the whole penalty.
    """
    reports = [_measured(model, trainer, 0, penalty)]
    for number in range(1, epochs + 1):
        kept, rate = trainer.state(), trainer.rate
        trainer.epoch("fine-tune with the L0 penalty")
        found = _measured(model, trainer, number, penalty).model_copy(update={"learning_rate": rate})
        if objective(found) > objective(reports[-1]):
            trainer.restore(kept)
            trainer.slow_down()
            again = {"epoch": number, "learning_rate": rate, "rejected_objective": found.objective}
            found = reports[-1].model_copy(update=again)
        reports.append(found)
    return tuple(reports)


def objective(report: EpochReport) -> float:
    """Return L + lambda * norm0 of an epoch with the penalty."""
    return np.inf if report.objective is None else report.objective


def _proximal(editable: frozenset[int], values: "Tensors", sizes: "Tensors", penalty: Any) -> dict[int, Any]:
    """A `trainer.Proximal`, with the numbers of the kernels and embeddings."""
    return {
        i: hard_threshold(value, sizes[i], penalty) if i in editable else value for i, value in values.items()
    }


def hard_threshold(value: Any, size: Any, penalty: Any) -> Any:
    """Return the proximal point of `penalty` * norm0 for steps of `size`: w where w^2 > 2 * size * penalty.

    `value` and `size` are tensors of one shape, `penalty` is a scalar.
    """
    import tensorflow as tf  # noqa: PLC0415 - the recipe is made without it

    return tf.where(tf.square(value) > 2.0 * size * penalty, value, tf.zeros_like(value))


def _measured(model: LoadedModel, trainer: "Trainer", number: int, penalty: float) -> EpochReport:
    count = sum(int(np.count_nonzero(weight.read())) for weight in model.weights if weight.role in EDITABLE)
    loss = trainer.loss()
    return EpochReport(
        epoch=number, learning_rate=0, loss=loss, nonzero=count, objective=loss + penalty * count
    )
