"""`pruning.l0Penalty` with granularity Channel: channels go during fine-tuning, then the model is rebuilt.

As `passes.l0`, but a group of channels stays or goes as a whole (`group_threshold`). A group that is gone has
only zeros in every kernel that makes or reads its channels, so the rebuilt model computes the same: what its
bias or normalization still gives is multiplied by zero. All groups of zeros are removed, also where no round
number of channels is left: channels of zeros would only add bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modelpress.api.contract import JobRequest
from modelpress.api.spec import FineTuning, Granularity
from modelpress.api.values import parse_decimal
from modelpress.compression.passes.base import Pass, PassContext, l0_penalty
from modelpress.compression.passes.channels.pruning import check
from modelpress.compression.passes.finetune import AFTER_CHANNELS, TrainingPlan
from modelpress.compression.passes.l0 import run_epochs
from modelpress.compression.report.document import PassReport, TensorReport
from modelpress.models.types import EDITABLE, LoadedModel

NOTE = (
    "A group of n weights is kept where the sum of its w^2 / a is above 2 * lambda * n; a is the step size of"
    " a weight, learning rate / (sqrt(v) + epsilon) of Adam"
)


@dataclass(frozen=True)
class ChannelL0Penalty(Pass):
    """Trains, and removes the channels that are not worth their weights; `penalty` is lambda, a decimal."""

    penalty: str
    settings: FineTuning
    name = "pruning"
    training_use = AFTER_CHANNELS

    def check(self, model: LoadedModel) -> None:
        """Raise UnsupportedModel for a model without layers."""
        check(model)

    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Train the weights of `model` in place; return the smaller model and what was removed.

        Raises UnsupportedModel where the model has no layers or no channel that can be removed, and as
        `MaskedFineTuning.apply`.
        """
        from modelpress.compression.passes.channels import members  # noqa: PLC0415
        from modelpress.compression.passes.channels.group_threshold import GroupThreshold  # noqa: PLC0415
        from modelpress.compression.passes.channels.network import Network  # noqa: PLC0415 - imports TensorFlow
        from modelpress.compression.passes.training.trainer import Trainer, TrainerOptions  # noqa: PLC0415 - imports TensorFlow

        self.check(model)
        network, data = Network.of(model), context.training_data
        plan = TrainingPlan.of(model, data, self.settings)
        before = [weight.read() for weight in model.weights]
        layout = members.layout(
            network.graph,
            network.groups,
            [network.location(weight) for weight in model.weights],
            [weight.role in EDITABLE for weight in model.weights],
        )
        options = TrainerOptions(
            epochs=self.settings.epochs,
            batch=plan.rate.batch,
            rate=plan.rate.value,
            zeros=[False] * len(before),
            proximal=GroupThreshold(layout, model.training_graph().variables),
            penalty=parse_decimal(self.penalty),
        )
        trainer = Trainer(model, data, plan.trained, options)
        epochs = run_epochs(model, trainer, self.settings.epochs, options.penalty)
        trained = plan.tensors(model, before, trainer.unreached)
        living = members.alive(
            layout, {member.weight: model.weights[member.weight].read() for member in layout.members}
        )
        gone = layout.gone([not item for item in living])
        report = PassReport(
            name=self.name,
            parameters={
                "l0Penalty": self.penalty,
                "granularity": Granularity.CHANNEL.value,
                **plan.parameters(self.settings),
            },
            note=f"{NOTE}. {network.note(gone)}",
            tensors=_tensors(trained, network.tensors(gone)),
            training=plan.report(data, epochs),
        )
        return network.smaller(gone), report


def requested(request: JobRequest) -> ChannelL0Penalty | None:
    """Return the pass that a request asks for. Raises UsageError (InvalidSpec) without fineTuning."""
    settings = l0_penalty(request, Granularity.CHANNEL)
    return ChannelL0Penalty(*settings) if settings else None


def _tensors(trained: Sequence[TensorReport], cut: Sequence[TensorReport]) -> tuple[TensorReport, ...]:
    """Return what training changed, with the channels of the weights that became smaller."""
    return tuple(
        item
        if other.skipped
        else item.model_copy(
            update={
                "changed": max(item.changed, other.changed),
                "bytes_before": other.bytes_before,
                "bytes_after": other.bytes_after,
                "skipped": None,
                "facts": {**item.facts, **other.facts},
            }
        )
        for item, other in zip(trained, cut, strict=True)
    )
