"""Recorded notes of instruments from a SoundFont 2 file (its Technical Specification 2.04, section 7.10)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelpress.models.types import Array

_HEADER = struct.Struct("<20sIIIIIBbHH")
_SECONDS = 0.25  # a shorter recording is a click or a drum
_PITCHES = range(40, 90)


def notes(path: Path, rate: int, length: int) -> tuple[Array, Array]:
    """Return float32 (notes, length, 1) from -1 to 1 at `rate` samples a second, and MIDI pitches.

    Notes are prolonged by their loops; drums and other sounds without a pitch have none.
    """
    from scipy.signal import resample_poly

    content = path.read_bytes()
    samples = np.frombuffer(_chunk(content, b"smpl"), "<i2").astype(np.float32) / 32768
    sounds, pitches = [], []
    for start, end, first, last, recorded, pitch in _headers(_chunk(content, b"shdr")):
        if end - start < _SECONDS * recorded or pitch not in _PITCHES or last - first < 64:
            continue
        times = 1 + int(2.5 * recorded) // (last - first)
        whole = np.concatenate([samples[start:last], np.tile(samples[first:last], times)])
        sounds.append(resample_poly(whole[: int(2.2 * recorded)], rate, recorded)[:length])
        pitches.append(pitch)
    return np.stack(sounds).astype(np.float32)[:, :, None], np.array(pitches)


def _headers(table: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    for row in _HEADER.iter_unpack(table[: len(table) - len(table) % _HEADER.size]):
        yield row[1], row[2], row[3], row[4], row[5], row[6]


def _chunk(content: bytes, name: bytes) -> bytes:
    place = content.index(name)
    (size,) = struct.unpack_from("<I", content, place + 4)
    return content[place + 8 : place + 8 + size]
