"""How each quantization scheme is made: the one table of their settings, in the order of a search.

Which devices can serve a scheme, and whether it needs data, is in `api.schemes`: a new scheme is an entry in
each of the two. Only numbers that no tool writes yet need more than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from modelpress.api.schemes import TRAITS, DeviceType, Scheme
from modelpress.artifacts.manifest import ComputeDtype

StoredDtype = Literal["int8", "int4", "float16", "bfloat16"]


class Algorithm(StrEnum):
    """How ai-edge-quantizer gets the integers of the weights that have fewer than 8 bits.

    Measured with 8 bits: none is closer to float32 than the largest value of each channel.
    """

    MIN_MAX = "MinMax"  # the largest value of a channel is the largest integer
    OCTAV = "OCTAV"  # a channel is cut where that makes its mean squared error smallest: arXiv 2206.06501
    GPTQ = "GPTQ"  # weights make up for the rounding of those before them, on real rows: arXiv 2210.17323


@dataclass(frozen=True)
class ConverterSettings:
    """Settings of the TFLite converter, which makes the whole file from the model.

    Without `supported_types`, names of dtypes, weights become int8; activations are quantized in each call,
    or with fixed scales where there is data for calibration.
    """

    supported_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuantizerSettings:
    """Settings of ai-edge-quantizer, which changes single operators of a .tflite file.

    `dense_bits` are those of fully connected operators, `bits` those of all others. `dynamic`: activations
    are quantized in each call; otherwise weights become floats again. `algorithm` is that of the fully
    connected operators.
    """

    bits: int
    dense_bits: int
    dynamic: bool
    algorithm: Algorithm = Algorithm.MIN_MAX

    def of(self, *, dense: bool) -> tuple[int, bool]:
        """Return what an operator computes with: the bits of its weights, and `dynamic`."""
        return self.dense_bits if dense else self.bits, self.dynamic


@dataclass(frozen=True)
class LiteRTSettings:
    """How a .tflite file gets a scheme: by the converter, or without its settings by the quantizer.

    Where both are set, the converter makes whole files, and the quantizer the operators of a mixture. The
    tools leave tensors of fewer than `smallest` elements in float32. `repairs` are the schemes that a search
    gives the most sensitive operators of this one: the first that passes clearly by itself, or else the last.
    Of `algorithms` the one whose outputs are closest to float32 is taken; `calibrated` is another one for a
    search, because it takes seconds, and rows of data.calibration.
    """

    converter: ConverterSettings | None = None
    quantizer: QuantizerSettings | None = None
    smallest: int = 0
    repairs: tuple[Scheme, ...] = ()
    algorithms: tuple[Algorithm, ...] = ()
    calibrated: Algorithm | None = None


@dataclass(frozen=True)
class StoredSettings:
    """How the variables of a model for TensorFlow are stored, and what its layers compute in."""

    storage: StoredDtype
    compute: ComputeDtype

    @property
    def integers(self) -> bool:
        """Whether numbers are stored as integers with scales."""
        return self.storage in ("int8", "int4")


@dataclass(frozen=True)
class SchemeSettings:
    """The settings for CPU devices (LiteRT) and for GPU devices (TensorFlow), where these can serve it."""

    litert: LiteRTSettings | None = None
    tensorflow: StoredSettings | None = None


SCHEMES: dict[Scheme, SchemeSettings] = {
    Scheme.INT8_DYNAMIC: SchemeSettings(
        LiteRTSettings(
            converter=ConverterSettings(),
            quantizer=QuantizerSettings(bits=8, dense_bits=8, dynamic=True),
            smallest=1024,
            repairs=(Scheme.INT8_WEIGHTS,),
        )
    ),
    Scheme.INT8_STATIC: SchemeSettings(LiteRTSettings(converter=ConverterSettings())),
    Scheme.INT4_DYNAMIC: SchemeSettings(
        LiteRTSettings(
            # int4 convolutions fall to a reference kernel
            quantizer=QuantizerSettings(bits=8, dense_bits=4, dynamic=True),
            repairs=(Scheme.INT8_DYNAMIC, Scheme.INT8_WEIGHTS),
            algorithms=(Algorithm.MIN_MAX, Algorithm.OCTAV),
            calibrated=Algorithm.GPTQ,
        )
    ),
    Scheme.INT4_WEIGHTS: SchemeSettings(tensorflow=StoredSettings("int4", ComputeDtype.FLOAT16)),
    Scheme.INT8_WEIGHTS: SchemeSettings(
        LiteRTSettings(quantizer=QuantizerSettings(bits=8, dense_bits=8, dynamic=False)),
        StoredSettings("int8", ComputeDtype.FLOAT16),
    ),
    Scheme.FLOAT16: SchemeSettings(
        LiteRTSettings(converter=ConverterSettings(supported_types=("float16",))),
        StoredSettings("float16", ComputeDtype.FLOAT16),
    ),
    Scheme.BFLOAT16: SchemeSettings(tensorflow=StoredSettings("bfloat16", ComputeDtype.BFLOAT16)),
}


def of_device(device: DeviceType) -> tuple[Scheme, ...]:
    """Return the schemes of a type of devices, in the order in which a search tries them."""
    return tuple(scheme for scheme in SCHEMES if device in TRAITS[scheme].memory)


def litert(scheme: Scheme) -> LiteRTSettings:
    """Return the settings of a scheme that CPU devices can serve."""
    settings = SCHEMES[scheme].litert
    assert settings is not None, f"{scheme} is none of CPU devices"
    return settings


def tensorflow(scheme: Scheme) -> StoredSettings:
    """Return the settings of a scheme that GPU devices can serve."""
    settings = SCHEMES[scheme].tensorflow
    assert settings is not None, f"{scheme} is none of GPU devices"
    return settings


def mixable() -> Iterator[tuple[Scheme, LiteRTSettings]]:
    """Yield the schemes that a search improves by giving some operators another one."""
    for scheme, settings in SCHEMES.items():
        if settings.litert and settings.litert.repairs:
            yield scheme, settings.litert
