"""`pruning.sparsity` with granularity Channel: a smaller model of the same layers.

Keras is imported where it is used: a request is read without it.
"""

from dataclasses import dataclass

from modelpress.api.contract import JobRequest
from modelpress.api.spec import Granularity
from modelpress.api.values import parse_percent
from modelpress.compression.passes.base import Pass, PassContext, pruning
from modelpress.compression.passes.channels import choice
from modelpress.compression.report.document import PassReport
from modelpress.models.types import Kind, LoadedModel, unsupported

NEEDS_LAYERS = "granularity: Channel needs layers: bring a .keras or .h5 file"


def check(model: LoadedModel) -> None:
    """Raise UnsupportedModel for a model without layers."""
    if model.kind is not Kind.LAYERS:
        raise unsupported(NEEDS_LAYERS)


@dataclass(frozen=True)
class ChannelPruning(Pass):
    """Removes the weakest channels; `sparsity` is a percentage such as 50%."""

    sparsity: str
    name = "pruning"

    def check(self, model: LoadedModel) -> None:
        """Raise UnsupportedModel for a model without layers."""
        check(model)

    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Return the smaller model and what was removed; `model` is not changed.

        Raises UnsupportedModel where the model has no layers or no channel that can be removed.
        """
        from modelpress.compression.passes.channels.network import Network  # noqa: PLC0415

        self.check(model)
        network = Network.of(model)
        norms = choice.importance(network.graph, network.groups, network.variables.measured())
        share = float(parse_percent(self.sparsity)) / 100
        gone = choice.removed(network.graph, network.groups, norms, share)
        report = PassReport(
            name=self.name,
            parameters={"sparsity": self.sparsity, "granularity": Granularity.CHANNEL.value},
            note=network.note(gone),
            tensors=network.tensors(gone),
        )
        return network.smaller(gone), report


def requested(request: JobRequest) -> ChannelPruning | None:
    """Return the pass that a request asks for."""
    settings = pruning(request, Granularity.CHANNEL)
    return ChannelPruning(settings.sparsity) if settings and settings.sparsity else None
