"""The quantization schemes as the API knows them: which devices can serve each one, and what it needs.

Rules and descriptions of the CRD and the memory of pods follow from this table. How a scheme is made is in
`compression.schemes`: a new one is an entry in each of the two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class DeviceType(StrEnum):
    """Where workers run."""

    GPU = "GPU"
    CPU = "CPU"


class Scheme(StrEnum):
    """How weights and activations are quantized."""

    AUTO = "Auto"
    INT8_DYNAMIC = "Int8Dynamic"
    INT8_STATIC = "Int8Static"
    INT4_DYNAMIC = "Int4Dynamic"
    INT8_WEIGHTS = "Int8Weights"
    INT4_WEIGHTS = "Int4Weights"
    FLOAT16 = "Float16"
    BFLOAT16 = "BFloat16"


@dataclass(frozen=True)
class SchemeTraits:
    """What validation and planning must know of a scheme.

    `memory` has the types of devices that can serve it. The number says how many times the size of the file
    one copy of the model takes in memory beside it: LiteRT makes floats of some schemes' weights, TensorFlow
    of all that are not in layers of Keras.
    """

    memory: Mapping[DeviceType, int]
    needs_calibration: bool = False  # data.calibration


TRAITS: dict[Scheme, SchemeTraits] = {
    Scheme.INT8_DYNAMIC: SchemeTraits({DeviceType.CPU: 1}),
    Scheme.INT8_STATIC: SchemeTraits({DeviceType.CPU: 1}, needs_calibration=True),
    Scheme.INT4_DYNAMIC: SchemeTraits({DeviceType.CPU: 1}),
    Scheme.INT8_WEIGHTS: SchemeTraits({DeviceType.CPU: 8, DeviceType.GPU: 4}),
    Scheme.INT4_WEIGHTS: SchemeTraits({DeviceType.GPU: 8}),
    Scheme.FLOAT16: SchemeTraits({DeviceType.CPU: 3, DeviceType.GPU: 2}),
    Scheme.BFLOAT16: SchemeTraits({DeviceType.GPU: 2}),
}  # all but Auto, which picks one of them


def only_on(device: DeviceType) -> list[Scheme]:
    """Return the schemes that no other type of devices can serve."""
    return [scheme for scheme, traits in TRAITS.items() if set(traits.memory) == {device}]


def needing_calibration() -> list[Scheme]:
    """Return the schemes that need data.calibration."""
    return [scheme for scheme, traits in TRAITS.items() if traits.needs_calibration]


def memory_factor(scheme: Scheme, device: DeviceType) -> int:
    """Return how many times the file one copy takes in memory; what Auto will choose is not known here."""
    if scheme is Scheme.AUTO:
        return max(traits.memory.get(device, 1) for traits in TRAITS.values())
    return TRAITS[scheme].memory.get(device, 1)


def names(schemes: Iterable[Scheme]) -> str:
    """Return the names in a sentence: A, B and C."""
    *others, last = (scheme.value for scheme in schemes)
    return f"{', '.join(others)} and {last}" if others else last
