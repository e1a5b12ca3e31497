"""Whether a .tflite file holds only operators that the converter emits, with the settings that they need.

LiteRT checks that the file is a sound FlatBuffer, and not what is in it: operators without their settings
read memory that is not theirs. The reader that ai-edge-litert generates costs a worker 48 MB, so the few
fields are read here. Format: schema.fbs of LiteRT, and https://flatbuffers.dev/internals.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from flatbuffers import number_types
from flatbuffers.table import Table

_FILE_IDENTIFIER = b"TFL3"
_MAX_OPERATORS = 500_000  # in all subgraphs; LiteRT takes a million tables

# Operators as NAME=CODE. Not on the list: code of others (CUSTOM), state between calls, tables of texts, what
# only older converters wrote, and StableHLO.
_WITHOUT_SETTINGS = """
    DEQUANTIZE=6 EMBEDDING_LOOKUP=7 FLOOR=8 LOGISTIC=14 LSTM=16 RELU=19 RELU_N1_TO_1=20 RELU6=21
    RESHAPE=22 TANH=28 PAD=34 BATCH_TO_SPACE_ND=37 SPACE_TO_BATCH_ND=38 TRANSPOSE=39
    UNIDIRECTIONAL_SEQUENCE_LSTM=44 EXP=47 TOPK_V2=48 LOG_SOFTMAX=50 BIDIRECTIONAL_SEQUENCE_LSTM=52
    CAST=53 PRELU=54 MAXIMUM=55 MINIMUM=57 LESS=58 NEG=59 PADV2=60 GREATER=61 GREATER_EQUAL=62
    LESS_EQUAL=63 SELECT=64 SLICE=65 SIN=66 SPARSE_TO_DENSE=68 TILE=69 EXPAND_DIMS=70 EQUAL=71
    NOT_EQUAL=72 LOG=73 SQRT=75 RSQRT=76 POW=78 LOGICAL_OR=84 LOGICAL_AND=86 LOGICAL_NOT=87
    FLOOR_DIV=90 SQUARE=92 ZEROS_LIKE=93 FILL=94 FLOOR_MOD=95 RANGE=96 SQUARED_DIFFERENCE=99 ABS=101
    CEIL=104 REVERSE_V2=105 ADD_N=106 GATHER_ND=107 COS=108 WHERE=109 RANK=110 ELU=111
    MATRIX_DIAG=113 QUANTIZE=114 MATRIX_SET_DIAG=115 ROUND=116 HARD_SWISH=117
    NON_MAX_SUPPRESSION_V4=120 NON_MAX_SUPPRESSION_V5=121 SCATTER_ND=122 SELECT_V2=123
    SEGMENT_SUM=125 BROADCAST_TO=130 RFFT2D=131 IMAG=133 REAL=134 COMPLEX_ABS=135 BROADCAST_ARGS=145
    RANDOM_STANDARD_NORMAL=146 BUCKETIZE=147 RANDOM_UNIFORM=148 MULTINOMIAL=149
    DYNAMIC_UPDATE_SLICE=151 RELU_0_TO_1=152 UNSORTED_SEGMENT_PROD=153 UNSORTED_SEGMENT_MAX=154
    UNSORTED_SEGMENT_SUM=155 ATAN2=156 UNSORTED_SEGMENT_MIN=157 SIGN=158 BITCAST=159 BITWISE_XOR=160
    RIGHT_SHIFT=161
"""
# Those that read their settings, as NAME=CODE:TABLE with the number of the settings' table in BuiltinOptions.
_WITH_SETTINGS = """
    ADD=0:11 CONCATENATION=2:10 CONV_2D=3:1 DEPTHWISE_CONV_2D=4:2 DEPTH_TO_SPACE=5:94
    FULLY_CONNECTED=9:8 LOCAL_RESPONSE_NORMALIZATION=13:13 MUL=18:21 RESIZE_BILINEAR=23:15
    SOFTMAX=25:9 SPACE_TO_DEPTH=26:19 GATHER=36:23 SUB=41:28 DIV=42:29 SQUEEZE=43:30
    STRIDED_SLICE=45:32 SPLIT=49:35 ARG_MAX=56:40 ARG_MIN=79:57 TRANSPOSE_CONV=67:49 SHAPE=77:55
    FAKE_QUANT=80:58 PACK=83:59 UNPACK=88:64 ONE_HOT=85:61 RESIZE_NEAREST_NEIGHBOR=97:74
    LEAKY_RELU=98:75 MIRROR_PAD=100:77 SPLIT_V=102:79 UNIQUE=103:80 REVERSE_SEQUENCE=112:87
    IF=118:92 WHILE=119:93 BATCH_MATMUL=126:101 CUMSUM=128:102 CONV_3D=132:106
    CONV_3D_TRANSPOSE=141:106 GELU=150:116 AVERAGE_POOL_2D=1:5 MAX_POOL_2D=17:5 L2_POOL_2D=12:5
    L2_NORMALIZATION=11:12 MEAN=40:27 SUM=74:27 REDUCE_PROD=81:27 REDUCE_MAX=82:27 REDUCE_MIN=89:27
    REDUCE_ANY=91:27 REDUCE_ALL=140:27
"""


def _numbers(text: str) -> Iterator[tuple[str, int, int | None]]:
    for word in text.split():
        name, _, value = word.partition("=")
        code, _, table = value.partition(":")
        yield name, int(code), int(table) if table else None


# name, and the table of its settings, by code
ACCEPTED = {code: (name, table) for name, code, table in _numbers(_WITHOUT_SETTINGS + _WITH_SETTINGS)}


def recognised(path: Path) -> bool:
    """Return whether a file says that it is a .tflite file."""
    with path.open("rb") as file:
        return file.read(8)[4:] == _FILE_IDENTIFIER


def problem(path: Path) -> str | None:
    """Return what is wrong with the operators of a model; None for nothing, and for what is no FlatBuffer.

    LiteRT says of the latter that it is none.
    """
    if not recognised(path):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _problem(content)
        except (struct.error, ValueError, IndexError, TypeError, OverflowError) as error:
            return f"is no whole model of LiteRT: {error}"


def _problem(model: mmap.mmap) -> str | None:
    for count, (code, table) in enumerate(_operators(model)):
        kind, needed = ACCEPTED.get(code, (None, None))
        if kind is None:
            return f"has operator {code}, which the converter does not emit"
        if needed is not None and table != needed:
            return f"has an operator {kind} without its settings"
        if count == _MAX_OPERATORS:
            return f"has more than {_MAX_OPERATORS} operators"
    return None


def _operators(model: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield code and number of the settings' table of each operator in all subgraphs."""
    root = Table(model, _unsigned(Table(model, 0), 0))
    codes = [_code(entry) for entry in _tables(root, 1)]
    for graph in _tables(root, 2):
        for operator in _tables(graph, 3):
            yield (
                codes[_field(operator, 0, number_types.Uint32Flags)],
                _field(operator, 3, number_types.Uint8Flags),
            )


def _code(entry: Table) -> int:
    """Return an operator's code: in a byte, and for later ones in a field of its own."""
    return max(_field(entry, 0, number_types.Int8Flags), _field(entry, 3, number_types.Int32Flags))


def _tables(parent: Table, field: int) -> Iterator[Table]:
    """Yield the tables of a vector."""
    offset = parent.Offset(4 + 2 * field)
    if offset:
        start = parent.Vector(offset)
        for index in range(parent.VectorLen(offset)):
            yield Table(parent.Bytes, parent.Indirect(start + 4 * index))


def _field(table: Table, field: int, kind: type) -> int:
    offset = table.Offset(4 + 2 * field)
    return int(table.Get(kind, table.Pos + offset)) if offset else 0


def _unsigned(table: Table, position: int) -> int:
    return int(table.Get(number_types.UOffsetTFlags, position))
