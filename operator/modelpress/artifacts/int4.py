"""Signed 4-bit integers, two in a byte: the first one of a pair is in the lower half."""

from typing import Any

import numpy as np
import numpy.typing as npt

LOWEST, LARGEST = -8, 7


def pack(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Return int8 values from -8 to 7 as ceil(n / 2) bytes, in C order; after an odd count comes a 0."""
    flat = values.reshape(-1).view(np.uint8) & 15
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return np.asarray(flat[0::2] | (flat[1::2] << 4), dtype=np.uint8)


def unpack(packed: npt.NDArray[Any], size: int) -> npt.NDArray[np.int8]:
    """Return the first `size` integers of bytes (uint8) as int8, in one dimension."""
    pairs = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:size]
    return (pairs ^ 8).astype(np.int8) - np.int8(8)
