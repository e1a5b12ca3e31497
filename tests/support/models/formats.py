"""What works on models of which format, and what is refused and why.

`tests/matrix/compression/test_formats.py` runs every cell for real and asserts what stands here;
`tests/support/models/formats_table.py` renders the same as the table of docs/compression.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.support.models import of_formats as models


class Step(StrEnum):
    """A column of the table."""

    FLOAT32 = "float32"
    INT8_DYNAMIC = "Int8Dynamic"
    INT8_STATIC = "Int8Static"
    INT4_DYNAMIC = "Int4Dynamic"
    INT8_WEIGHTS = "Int8Weights"
    FLOAT16 = "Float16"
    ELEMENTS = "elements"
    CLIPPING = "clipping"
    FINE_TUNING = "fine-tuning"
    CHANNELS = "channels"


@dataclass(frozen=True)
class Refusal:
    """A documented reason: `reason` of the API, what the message contains, and why in words."""

    reason: str
    message: str
    why: str


@dataclass(frozen=True)
class Case:
    """A row of the table. `refused`: all other steps work."""

    name: str
    file: str
    covers: str
    make: Callable[[Path], Path]
    refused: Mapping[Step, Refusal] = field(default_factory=dict)
    lengths: tuple[int, ...] = (12,)  # of free axes; the served file is run with each

    @property
    def key(self) -> str:
        """A name for test ids."""
        return self.make.__name__


RECURRENT = Refusal(
    "UnsupportedModel",
    "recurrent layers are not pruned",
    "only recurrent and output layers have channels here, and both keep them",
)
LOOP = Refusal(
    "UnsupportedModel",
    "the converter crashed (its operators WHILE: export recurrent layers with unroll=True)",
    "the converter crashes on loops; unroll the layer",
)
NO_LAYERS = Refusal(
    "UnsupportedModel",
    "granularity: Channel needs layers: bring a .keras or .h5 file",
    "a SavedModel has no layers",
)
ANY_BATCH = Refusal(
    "UnsupportedModel",
    "no built-in operator for TensorListReserve: recurrent layers need a fixed length of at most 512",
    "a loop of a free length over a free batch needs TensorList operators",
)
HALF_VARIABLES = Refusal(
    "UnsupportedModel",
    "is float16; accepted are float32 variables, also with mixed precision",
    "float16 variables in a checkpoint; save it with float32 or mixed precision",
)
MASKED_STATIC = Refusal(
    "UnsupportedModel",
    "LiteRT cannot run the converted model",
    "the converter's file of masked steps cannot be prepared; take another scheme",
)
_SAVED = {Step.CHANNELS: NO_LAYERS}
_RECURRENT = {Step.CHANNELS: RECURRENT}
_LOOP = {Step.INT8_STATIC: LOOP, Step.CHANNELS: RECURRENT}


def nothing(refusal: Refusal) -> dict[Step, Refusal]:
    """Return the same refusal for all steps: what cannot be converted or loaded cannot be compressed."""
    return dict.fromkeys(Step, refusal)


def operator(name: str, why: str) -> dict[Step, Refusal]:
    """Return the refusal of an operation that LiteRT has no built-in operator for."""
    return nothing(Refusal("UnsupportedModel", f"LiteRT has no built-in operator for {name}", why))


CASES = (
    Case("functional", ".keras", "Dense", models.functional),
    Case("sequential", ".keras", "Conv2D, BatchNormalization, pooling, Dropout", models.sequential),
    Case("nested models", ".keras", "a functional model in a sequential one in a functional", models.nested),
    Case("shared layers", ".keras", "two inputs through the same layers", models.shared),
    Case("several inputs and outputs", ".keras", "by name; Conv2D and Dense branches", models.several),
    Case("integer inputs", ".keras", "int32 tokens, Embedding", models.embedding),
    Case(
        "dynamic length",
        ".keras",
        "int64 tokens, Embedding, Conv1D",
        models.embedding_any_length,
        lengths=(12, 20),
    ),
    Case("image bytes", ".keras", "uint8 input, Rescaling, Conv2D", models.uint8_image),
    Case("signal", ".keras", "Conv1D with strides and dilation", models.conv1d),
    Case("depthwise", ".keras", "DepthwiseConv2D, SeparableConv2D, BatchNormalization", models.depthwise),
    Case("image to image", ".keras", "Conv2DTranspose, PReLU, UpSampling2D, Add", models.transposed),
    Case("attention", ".keras", "MultiHeadAttention, LayerNormalization, Embedding, gelu", models.attention),
    Case(
        "attention, dynamic length",
        ".keras",
        "the same with a free length",
        models.attention_any_length,
        lengths=(12, 20),
    ),
    Case("LSTM, unrolled", ".keras", "free batch", models.lstm_unrolled, _RECURRENT),
    Case("GRU, unrolled", ".keras", "free batch", models.gru_unrolled, _RECURRENT),
    Case("bidirectional LSTM, unrolled", ".keras", "free batch", models.bidirectional, _RECURRENT),
    Case("LSTM as a loop", ".keras", "fixed batch", models.lstm_fixed_batch, _LOOP),
    Case("GRU as a loop", ".keras", "fixed batch", models.gru_fixed_batch, _LOOP),
    Case("LSTM", ".keras", "free batch, unrolled by the Job", models.lstm_any_batch, _RECURRENT),
    Case(
        "bidirectional GRU",
        ".keras",
        "Masking, the same",
        models.masked_any_batch,
        {**_RECURRENT, Step.INT8_STATIC: MASKED_STATIC},
    ),
    Case("GRU, dynamic length", ".keras", "free batch and length", models.gru_any_length, nothing(ANY_BATCH)),
    Case("mixed_float16", ".keras", "float32 weights, computed in float32", models.mixed_float16),
    Case("mixed_bfloat16", ".keras", "float32 weights, computed in float32", models.mixed_bfloat16),
    Case("float16", ".keras", "float16 weights and input, computed in float32", models.all_float16),
    Case("Keras 3", ".h5", "Conv2D, Dense", models.h5),
    Case("Keras 2", ".h5", "LSTM and GRU with time_major, unrolled", models.keras_2_h5, _RECURRENT),
    Case("exported", "SavedModel directory", "subclassed model, Keras' export", models.exported, _SAVED),
    Case("exported, zipped", "SavedModel .zip", "the same in a folder of the archive", models.zipped, _SAVED),
    Case("exported, packed", "SavedModel .tar.gz", "the same without a folder", models.tarred, _SAVED),
    Case("exported mixed_float16", "SavedModel directory", "Conv2D, Dense", models.exported_mixed, _SAVED),
    Case(
        "exported float16",
        "SavedModel directory",
        "float16 variables",
        models.exported_float16,
        nothing(HALF_VARIABLES),
    ),
    Case(
        "tf.Module",
        "SavedModel directory",
        "serving signature, float and int32 inputs, two outputs",
        models.module,
        _SAVED,
    ),
    Case(
        "LSTM, exported as a loop",
        "SavedModel directory",
        "free batch",
        models.exported_lstm,
        nothing(ANY_BATCH),
    ),
    Case(
        "inverse error function",
        "SavedModel directory",
        "tf.math.erfinv",
        models.erfinv,
        operator("Erfinv", "no such operator"),
    ),
    Case(
        "Cholesky decomposition",
        "SavedModel directory",
        "tf.linalg.cholesky",
        models.cholesky,
        operator("Cholesky", "no such operator"),
    ),
    Case(
        "einsum of a diagonal",
        "SavedModel directory",
        "tf.einsum('bii->bi')",
        models.diagonal_einsum,
        operator("Einsum", "only products of matrices are converted"),
    ),
    Case(
        "Fourier transform",
        "SavedModel directory",
        "tf.signal.fft",
        models.fourier,
        nothing(Refusal("UnsupportedModel", "RFFT2D", "the converter makes another transform of it")),
    ),
    Case(
        "text",
        "SavedModel directory",
        "string input, tf.strings",
        models.strings,
        nothing(
            Refusal(
                "InvalidModel",
                "operation StringToHashBucketFast",
                "operations on text are not on the list of accepted ones",
            )
        ),
    ),
    Case(
        "text without operations",
        "SavedModel directory",
        "string input",
        models.string_input,
        nothing(Refusal("UnsupportedModel", "text has dtype string", "text is no tensor of numbers")),
    ),
)
