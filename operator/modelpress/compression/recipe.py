"""What a request asks for: the passes in their order, the scheme, and the data that they need.

A new pass is a line of `PASSES`; its own module says when a request asks for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelpress.api.contract import JobRequest
from modelpress.api.schemes import TRAITS, DeviceType, Scheme
from modelpress.api.spec import Data, Source
from modelpress.compression import schemes
from modelpress.compression.passes import clip, finetune, l0, prune
from modelpress.compression.passes.base import Pass, TrainingUse, invalid
from modelpress.compression.passes.channels import l0 as channel_l0
from modelpress.compression.passes.channels import pruning as channel_pruning
from modelpress.models.types import LoadedModel

PASSES: tuple[Callable[[JobRequest], Pass | None], ...] = (
    prune.requested,
    channel_pruning.requested,
    l0.requested,
    channel_l0.requested,
    finetune.requested,
    clip.requested,
)  # in the order in which they are applied


@dataclass(frozen=True)
class Recipe:
    """The passes in this order, then the scheme of the serving format; None is float32."""

    steps: tuple[Pass, ...]
    scheme: Scheme | None
    data: Mapping[str, Source]  # the data sets that it reads, by their role, such as evaluation

    @property
    def training_use(self) -> TrainingUse | None:
        """How its passes use data.training; at most one of them does."""
        return next((step.training_use for step in self.steps if step.training_use), None)

    def check(self, model: LoadedModel) -> None:
        """Refuse a model of a kind that a pass cannot work on, before any work. Raises UnsupportedModel."""
        for step in self.steps:
            step.check(model)

    def describe(self) -> dict[str, str]:
        """Return what was asked for, for the report."""
        return {"scheme": self.scheme.value if self.scheme else "none (float32)"}


def of(request: JobRequest) -> Recipe:
    """Return the recipe of a request. Raises UsageError (InvalidSpec) for what the CRD's rules refuse too."""
    scheme = _scheme(request)
    found = (requested(request) for requested in PASSES)
    steps = tuple(step for step in found if step)
    data = {**_evaluation(request, scheme), **_calibration(request, scheme), **_training(request, steps)}
    return Recipe(steps, scheme, data)


def _scheme(request: JobRequest) -> Scheme | None:
    quantization = request.compression.quantization if request.compression else None
    if quantization is None:
        return None
    scheme, device = quantization.scheme, request.device_type
    if scheme is not Scheme.AUTO and scheme not in (accepted := schemes.of_device(device)):
        known = ", ".join(item.value for item in accepted)
        raise invalid(
            f"compression.quantization.scheme: {scheme.value} is none of {device.value} devices ({known})"
        )
    return scheme


def _evaluation(request: JobRequest, scheme: Scheme | None) -> dict[str, Source]:
    data, limits = _data(request).evaluation, request.evaluation
    if scheme is Scheme.AUTO and not (data and limits and (limits.min_score or limits.max_drop)):
        raise invalid(
            "evaluation: scheme Auto needs minScore or maxDrop, and data.evaluation to choose by them"
        )
    if scheme is Scheme.AUTO and limits and limits.outputs:
        raise invalid("evaluation.outputs: scheme Auto needs one metric and limits for all outputs")
    return {"evaluation": data} if data and limits else {}


def _calibration(request: JobRequest, scheme: Scheme | None) -> dict[str, Source]:
    data = _data(request).calibration
    if scheme is None or not _can_calibrate(scheme, request.device_type):
        return {}
    if data is None and scheme is not Scheme.AUTO:  # Auto does without the schemes that need it
        raise invalid(f"data: scheme {scheme.value} needs data.calibration")
    return {"calibration": data} if data else {}


def _can_calibrate(scheme: Scheme, device: DeviceType) -> bool:
    """Return whether a scheme needs data.calibration, or one that Auto can choose does."""
    tried = schemes.of_device(device) if scheme is Scheme.AUTO else (scheme,)
    return any(TRAITS[item].needs_calibration for item in tried)


def _training(request: JobRequest, steps: tuple[Pass, ...]) -> dict[str, Source]:
    if not any(step.training_use for step in steps):
        return {}
    if (data := _data(request).training) is None:
        raise invalid("data: fineTuning needs data.training")
    return {"training": data}


def _data(request: JobRequest) -> Data:
    return request.data or Data()
