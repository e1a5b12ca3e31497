"""What a pass is: one change of a model on its way, such as pruning.

A pass is a frozen dataclass of its settings in a module of its own. Beside it stands `requested(request)`,
which returns the pass that a request asks for, or None; `recipe.PASSES` has these functions in their order.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import UsageError
from modelpress.api.spec import FineTuning, Granularity, Pruning
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report.document import PassReport
from modelpress.models.types import LoadedModel


@dataclass(frozen=True)
class TrainingUse:
    """How a pass uses data.training."""

    distillation: float = 0.0  # from 0 to 1: share of the original's outputs in the loss, beside labels


@dataclass(frozen=True)
class PassContext:
    """What passes can read beside the model. It was read while the model was the original."""

    training: TrainingData | None = None  # set where a pass has a `training_use`

    @property
    def training_data(self) -> TrainingData:
        """The data of a pass that trains."""
        assert self.training is not None
        return self.training


class Pass(Protocol):
    """One change of a model. Subclasses inherit what most passes have in common: no training, no check."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in reports: that of its field of the spec."""
        ...

    @property
    def training_use(self) -> TrainingUse | None:
        """How it uses data.training; None: not at all."""
        return None

    def check(self, model: LoadedModel) -> None:
        """Refuse a kind of model that it cannot work on, before any work. Raises UnsupportedModel."""
        return

    @abstractmethod
    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Return the changed model, which may be the same one, and what was done to every tensor.

        Raises UnsupportedModel where nothing can be changed, and UsageError (InvalidSpec) for settings that
        do not work on this model.
        """
        ...


def pruning(request: JobRequest, granularity: Granularity | None = None) -> Pruning | None:
    """Return what a request asks of pruning; None where that is of another granularity."""
    found = request.compression.pruning if request.compression else None
    return found if found and granularity in (None, found.granularity) else None


def fine_tuning(request: JobRequest) -> FineTuning | None:
    """Return what a request asks of fine-tuning."""
    return request.optimization.fine_tuning if request.optimization else None


def l0_penalty(request: JobRequest, granularity: Granularity) -> tuple[str, FineTuning] | None:
    """Return lambda, and the fine-tuning during which it works; None where there is no such penalty.

    Raises UsageError (InvalidSpec) without fineTuning.
    """
    found = pruning(request, granularity)
    if found is None or found.l0_penalty is None:
        return None
    if (settings := fine_tuning(request)) is None:
        raise invalid("compression.pruning.l0Penalty: needs optimization.fineTuning")
    return found.l0_penalty, settings


def invalid(what: str) -> UsageError:
    """Return the error for a request that the rules of the CRD refuse too; `what` starts below spec."""
    return UsageError(Reason.INVALID_SPEC, f"spec.{what}")
