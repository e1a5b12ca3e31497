"""Which passes a request asks for, in order. A new pass is added here and in `passes`.

Must not import TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import UsageError
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.api.spec import Data, FineTuning, Granularity, Pruning, Source
from modelpress.compression.formats.litert import quantize
from modelpress.compression.formats.tensorflow import stored_weights
from modelpress.compression.passes.channels.l0 import ChannelL0Penalty
from modelpress.compression.passes.channels.pruning import DISTILLATION, ChannelPruning
from modelpress.compression.passes.clip import WeightClipping
from modelpress.compression.passes.finetune import MaskedFineTuning
from modelpress.compression.passes.l0 import L0Penalty
from modelpress.compression.passes.prune import ElementPruning
from modelpress.compression.passes.weights import TrainingPass, WeightPass
from modelpress.models.types import LoadedModel

_SCHEMES = {DeviceType.CPU: quantize.SCHEMES, DeviceType.GPU: stored_weights.SCHEMES}


@dataclass(frozen=True)
class Recipe:
    """The passes over the weights in this order, then the scheme of the serving form; None is float32."""

    pruning: WeightPass | ChannelPruning | None
    training: TrainingPass | ChannelL0Penalty | None  # prunes too, with l0Penalty
    clipping: WeightPass | None
    scheme: Scheme | None
    distillation: float  # share of the original's outputs in the loss of training where there are labels
    data: Mapping[str, Source]  # the data sets that it reads, by their role, such as evaluation

    def check(self, model: LoadedModel) -> None:
        """Refuse a model of a kind that a pass cannot work on, before any work. Raises UnsupportedModel."""
        for step in (self.pruning, self.training):
            if isinstance(step, ChannelPruning | ChannelL0Penalty):
                step.check(model)

    def describe(self) -> dict[str, str]:
        """Return what was asked for, for the report."""
        return {"scheme": self.scheme.value if self.scheme else "none (float32)"}


def of(request: JobRequest) -> Recipe:
    """Return the passes of a request. Raises UsageError (InvalidSpec) for what the CRD's rules refuse too."""
    compression, optimization = request.compression, request.optimization
    pruning = compression.pruning if compression else None
    clipping = optimization.weight_clipping if optimization else None
    scheme = compression.quantization.scheme if compression and compression.quantization else None
    if scheme and scheme is not Scheme.AUTO:
        _check_scheme(scheme, request.device_type)
    training = _training(pruning, optimization.fine_tuning if optimization else None)
    return Recipe(
        pruning=_pruning(pruning),
        training=training,
        clipping=WeightClipping(clipping.min, clipping.max) if clipping else None,
        scheme=scheme,
        distillation=DISTILLATION if _of_channels(pruning) else 0.0,
        data=_data(request, scheme, training),
    )


def _check_scheme(scheme: Scheme, device: DeviceType) -> None:
    if scheme not in _SCHEMES[device]:
        known = ", ".join(item.value for item in _SCHEMES[device])
        raise _invalid(
            f"compression.quantization.scheme: {scheme.value} is none of {device.value} devices ({known})"
        )


def _pruning(pruning: Pruning | None) -> WeightPass | ChannelPruning | None:
    if pruning is None or pruning.sparsity is None:
        return None
    if _of_channels(pruning):
        return ChannelPruning(pruning.sparsity)
    return ElementPruning(pruning.sparsity)


def _of_channels(pruning: Pruning | None) -> bool:
    return pruning is not None and pruning.granularity is Granularity.CHANNEL


def _training(pruning: Pruning | None, settings: FineTuning | None) -> TrainingPass | ChannelL0Penalty | None:
    if pruning and pruning.l0_penalty is not None:
        if settings is None:
            raise _invalid("compression.pruning.l0Penalty: needs optimization.fineTuning")
        penalized = ChannelL0Penalty if _of_channels(pruning) else L0Penalty
        return penalized(pruning.l0_penalty, settings)
    # zeros are those of element pruning; a channel that went leaves none behind
    zeros = pruning is not None and not _of_channels(pruning)
    return MaskedFineTuning(settings, keep_zeros=zeros) if settings else None


def _data(request: JobRequest, scheme: Scheme | None, training: object) -> dict[str, Source]:
    data, found = request.data or Data(), {}
    if request.evaluation and data.evaluation:
        found["evaluation"] = data.evaluation
    if scheme is Scheme.INT8_STATIC:
        if data.calibration is None:
            raise _invalid("data: scheme Int8Static needs data.calibration")
        found["calibration"] = data.calibration
    if scheme is Scheme.AUTO:
        limits = request.evaluation
        if "evaluation" not in found or limits is None or not (limits.min_score or limits.max_drop):
            raise _invalid(
                "evaluation: scheme Auto needs minScore or maxDrop, and data.evaluation to choose by them"
            )
        if data.calibration and Scheme.INT8_STATIC in _SCHEMES[request.device_type]:
            found["calibration"] = data.calibration
    if training:
        if data.training is None:
            raise _invalid("data: fineTuning needs data.training")
        found["training"] = data.training
    return found


def _invalid(what: str) -> UsageError:
    return UsageError(Reason.INVALID_SPEC, f"spec.{what}")
