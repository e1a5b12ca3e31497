"""Damaged copies of files: seeded changes of bytes, the kinds that disks, networks and attackers make."""

import random
from collections.abc import Iterator

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)


def damaged(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of `content`; the same seed gives the same ones."""
    chance = random.Random(seed)
    kinds = (_cut, _flipped, _zeroed, _overwritten, _removed, _repeated)
    for i in range(count):
        yield bytes(kinds[i % len(kinds)](bytearray(content), chance))


def _cut(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data))]


def _flipped(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 1, 3, 20))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def _zeroed(data: bytearray, chance: random.Random) -> bytearray:
    start = _place(data, chance)
    end = min(len(data), start + chance.choice((2, 8, 512)))
    data[start:end] = bytes(end - start)
    return data


def _overwritten(data: bytearray, chance: random.Random) -> bytearray:
    """Write the largest and smallest numbers where a size or an offset may be."""
    start = _place(data, chance)
    end = min(len(data), start + chance.choice((1, 2, 4, 8)))
    data[start:end] = bytes([chance.choice(_NUMBERS)]) * (end - start)
    return data


def _removed(data: bytearray, chance: random.Random) -> bytearray:
    start = _place(data, chance)
    del data[start : start + chance.choice((1, 4, 100))]
    return data


def _repeated(data: bytearray, chance: random.Random) -> bytearray:
    start = _place(data, chance)
    piece = data[start : start + chance.choice((1, 16, 300))]
    data[start:start] = piece
    return data


def _place(data: bytearray, chance: random.Random) -> int:
    """Prefer both ends, where headers and lists of entries are."""
    edge = min(len(data), 4096)
    part = chance.randrange(3)
    if part == 0:
        return chance.randrange(edge)
    return len(data) - 1 - chance.randrange(edge) if part == 1 else chance.randrange(len(data))
