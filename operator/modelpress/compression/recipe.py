"""Which passes a request asks for, in order. A new pass is added here and in `passes`.

Must not import TensorFlow.
"""

from dataclasses import dataclass

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import UsageError
from modelpress.api.spec import DeviceType, Granularity, Scheme
from modelpress.compression.passes import quantize
from modelpress.compression.passes.clip import WeightClipping
from modelpress.compression.passes.prune import ElementPruning
from modelpress.compression.passes.weights import WeightPass


@dataclass(frozen=True)
class Recipe:
    """The passes over the weights, then the scheme of the serving form; None is float32."""

    weight_passes: tuple[WeightPass, ...]
    scheme: Scheme | None

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
    if optimization and optimization.fine_tuning:
        raise _not_yet("optimization.fineTuning")
    passes: list[WeightPass] = []
    if pruning:
        if pruning.sparsity is None:
            raise _not_yet("compression.pruning.l0Penalty")
        if pruning.granularity is Granularity.CHANNEL:
            raise _not_yet("compression.pruning.granularity: Channel")
        passes.append(ElementPruning(pruning.sparsity))
    if clipping:
        passes.append(WeightClipping(clipping.min, clipping.max))
    return Recipe(tuple(passes), scheme)


def _not_yet(what: str) -> UsageError:
    return UsageError(
        Reason.NOT_SUPPORTED_YET, f"spec.{what} is part of the API and not implemented in this release"
    )
