"""Every combination of the passes: how it is asked for, and what is expected of it.

What this release does not do yet is read from `api.support`; the other expectations are declared here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.api.spec import Granularity, Spec
from modelpress.api.validation.support import unsupported
from modelpress.models.types import Kind

SCHEMES = (None, *Scheme)
PRUNINGS: dict[str, dict[str, str] | None] = {
    "none": None,
    "sparsity, Element": {"sparsity": "25%", "granularity": "Element"},
    "sparsity, Channel": {"sparsity": "25%", "granularity": "Channel"},
    "l0Penalty, Element": {"l0Penalty": "1e-3", "granularity": "Element"},
    "l0Penalty, Channel": {"l0Penalty": "1e-3", "granularity": "Channel"},
}
CPU_ONLY = (Scheme.INT8_DYNAMIC, Scheme.INT8_STATIC, Scheme.INT4_DYNAMIC)
GPU_ONLY = (Scheme.INT4_WEIGHTS, Scheme.BFLOAT16)
SCHEME, L0_PENALTY = "spec.compression.quantization.scheme", "spec.compression.pruning.l0Penalty"
CHANNELS = "granularity: Channel"  # named by the refusal of a model without layers


@dataclass(frozen=True)
class Combination:
    """One choice for each pass, the devices, and the kind of model."""

    scheme: Scheme | None
    pruning: str  # a key of PRUNINGS
    clipping: bool
    tuning: bool
    device: DeviceType
    kind: Kind

    def __str__(self) -> str:
        parts = (
            self.scheme.value if self.scheme else "float32",
            self.pruning,
            "clipped" if self.clipping else "",
            "tuned" if self.tuning else "",
            self.device.value,
            self.kind.value,
        )
        return ", ".join(part for part in parts if part)

    @property
    def of_channels(self) -> bool:
        return (PRUNINGS[self.pruning] or {}).get("granularity") == Granularity.CHANNEL

    @property
    def penalized(self) -> bool:
        return "l0Penalty" in (PRUNINGS[self.pruning] or {})

    def fields(self) -> dict[str, Any]:
        """Return what a spec and a request have in common; all data sets are given."""
        compression: dict[str, Any] = {}
        if self.scheme:
            compression["quantization"] = {"scheme": self.scheme.value}
        if pruning := PRUNINGS[self.pruning]:
            compression["pruning"] = pruning
        optimization: dict[str, Any] = {}
        if self.clipping:
            optimization["weightClipping"] = {"min": "-0.9", "max": "0.9"}
        if self.tuning:
            optimization["fineTuning"] = {"epochs": 1}
        return {
            "model": {"uri": "https://models.example.com/m"},
            "data": {
                role: {"uri": f"https://data.example.com/{role}.npz"}
                for role in ("training", "calibration", "evaluation")
            },
            "compression": compression,
            "optimization": optimization,
            "evaluation": {"minScore": "50%"},
        }

    def spec(self) -> dict[str, Any]:
        return {**self.fields(), "devices": {"type": self.device.value}}

    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "modelpress.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "digits"},
            "spec": self.spec(),
        }

    def request(self) -> JobRequest:
        names = {"name": "digits", "namespace": "default", "recipeHash": "1" * 64}
        return JobRequest.model_validate({**names, **self.fields(), "deviceType": self.device.value})


@dataclass(frozen=True)
class Refusal:
    """Why a combination is not done, and what the message names."""

    reason: Reason
    field: str


def every() -> Iterator[Combination]:
    """Yield the whole product."""
    choices = product(SCHEMES, PRUNINGS, (False, True), (False, True), DeviceType, Kind)
    yield from (Combination(*choice) for choice in choices)


def expected(one: Combination) -> Refusal | None:
    """Return the first refusal that is expected, None where the combination works."""
    if one.penalized and not one.tuning:
        return Refusal(Reason.INVALID_SPEC, L0_PENALTY)
    if one.scheme in (CPU_ONLY if one.device is DeviceType.GPU else GPU_ONLY):
        return Refusal(Reason.INVALID_SPEC, SCHEME)
    if lines := unsupported(Spec.model_validate(one.spec())):
        return Refusal(Reason.NOT_SUPPORTED_YET, field_of(lines[0]))
    if one.of_channels and one.kind is not Kind.LAYERS:
        return Refusal(Reason.UNSUPPORTED_MODEL, CHANNELS)
    return None


def field_of(line: str) -> str:
    """Return the field that a line of refusal names."""
    return line.partition(": ")[0]
