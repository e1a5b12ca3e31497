"""`pruning.sparsity` with granularity Channel: a smaller model of the same layers.

Keras is imported where it is used: a request is read without it.
"""

from dataclasses import dataclass

from modelpress.api.values import parse_percent
from modelpress.compression.passes.channels import choice
from modelpress.compression.report.document import PassReport
from modelpress.models.types import Kind, LoadedModel, unsupported

DISTILLATION = 0.5  # share of the original's outputs in the loss, where there are labels too
NEEDS_LAYERS = "granularity: Channel needs layers: bring a .keras or .h5 file"


def check(model: LoadedModel) -> None:
    """Raise UnsupportedModel for a model without layers."""
    if model.kind is not Kind.LAYERS:
        raise unsupported(NEEDS_LAYERS)


@dataclass(frozen=True)
class ChannelPruning:
    """Removes the weakest channels; `sparsity` is a percentage such as 50%."""

    sparsity: str
    name: str = "pruning"

    def check(self, model: LoadedModel) -> None:
        """Raise UnsupportedModel for a model without layers."""
        check(model)

    def rebuild(self, model: LoadedModel) -> tuple[LoadedModel, PassReport]:
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
            parameters={"sparsity": self.sparsity, "granularity": "Channel"},
            note=network.note(gone),
            tensors=network.tensors(gone),
        )
        return network.smaller(gone), report
