"""Which passes a request asks for, in order. A new pass is added here and in `passes`.

Must not import TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import UsageError
from modelpress.api.spec import Data, DeviceType, FineTuning, Granularity, Pruning, Scheme, Source
from modelpress.compression.channels.pruning import ChannelPruning
from modelpress.compression.passes import quantize
from modelpress.compression.passes.clip import WeightClipping
from modelpress.compression.passes.finetune import MaskedFineTuning
from modelpress.compression.passes.l0 import L0Penalty
from modelpress.compression.passes.prune import ElementPruning
from modelpress.compression.passes.weights import TrainingPass, WeightPass
from modelpress.models.types import LoadedModel


@dataclass(frozen=True)
class Recipe:
    """The passes over the weights in this order, then the scheme of the serving form; None is float32."""

    pruning: WeightPass | ChannelPruning | None
    training: TrainingPass | None  # prunes too, with l0Penalty
    clipping: WeightPass | None
    scheme: Scheme | None
    data: Mapping[str, Source]  # the data sets that it reads, by their role, such as evaluation

    def check(self, model: LoadedModel) -> None:
        """Refuse a model of a kind that a pass cannot work on, before any work. Raises UnsupportedModel."""
        if isinstance(self.pruning, ChannelPruning):
            self.pruning.check(model)

    def describe(self) -> dict[str, str]:
        """Return what was asked for, for the report."""
        return {"scheme": self.scheme.value if self.scheme else "none (float32)"}


def of(request: JobRequest) -> Recipe:
    """Return the passes of a request. Raises UsageError (NotSupportedYet) for what is not implemented."""
    compression, optimization = request.compression, request.optimization
    pruning = compression.pruning if compression else None
    clipping = optimization.weight_clipping if optimization else None
    scheme = compression.quantization.scheme if compression and compression.quantization else None
    if request.device_type is DeviceType.GPU:
        raise _not_yet("devices.type: GPU")
    if scheme is not None and scheme not in quantize.SCHEMES:
        raise _not_yet(f"compression.quantization.scheme: {scheme.value}")
    if pruning and pruning.granularity is Granularity.CHANNEL and pruning.sparsity is None:
        raise _not_yet("compression.pruning.l0Penalty with granularity: Channel")
    training = _training(pruning, optimization.fine_tuning if optimization else None)
    return Recipe(
        pruning=_pruning(pruning),
        training=training,
        clipping=WeightClipping(clipping.min, clipping.max) if clipping else None,
        scheme=scheme,
        data=_data(request, scheme, training),
    )


def _pruning(pruning: Pruning | None) -> WeightPass | ChannelPruning | None:
    if pruning is None or pruning.sparsity is None:
        return None
    if pruning.granularity is Granularity.CHANNEL:
        return ChannelPruning(pruning.sparsity)
    return ElementPruning(pruning.sparsity)


def _keeps_zeros(pruning: Pruning | None) -> bool:
    """Zeros are those of element pruning; a channel that went leaves none behind."""
    return pruning is not None and pruning.granularity is Granularity.ELEMENT


def _training(pruning: Pruning | None, settings: FineTuning | None) -> TrainingPass | None:
    if pruning and pruning.l0_penalty is not None:
        if settings is None:
            raise _invalid("compression.pruning.l0Penalty needs optimization.fineTuning")
        return L0Penalty(pruning.l0_penalty, settings)
    return MaskedFineTuning(settings, keep_zeros=_keeps_zeros(pruning)) if settings else None


def _data(request: JobRequest, scheme: Scheme | None, training: TrainingPass | None) -> dict[str, Source]:
    data, found = request.data or Data(), {}
    if request.evaluation and data.evaluation:
        found["evaluation"] = data.evaluation
    if scheme is Scheme.INT8_STATIC:
        if data.calibration is None:
            raise _invalid("data: scheme Int8Static needs data.calibration")
        found["calibration"] = data.calibration
    if training:
        if data.training is None:
            raise _invalid("data: fineTuning needs data.training")
        found["training"] = data.training
    return found


def _invalid(what: str) -> UsageError:
    return UsageError(Reason.INVALID_SPEC, f"spec.{what}")


def _not_yet(what: str) -> UsageError:
    return UsageError(
        Reason.NOT_SUPPORTED_YET, f"spec.{what} is part of the API and not implemented in this release"
    )
