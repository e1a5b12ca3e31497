"""How much may be unpacked of a model or artifact that somebody else packed: counted before it is written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_PIECE = 2**20

MAX_ENTRIES = 10_000  # files and folders
MAX_EXPANSION = 200  # unpacked size / packed size; trained weights reach about 1.1, very sparse ones 20


class TooLargeError(Exception):
    """What is packed has more in it than is accepted; the message says what and how much."""


class WrongLengthError(Exception):
    """A file is not as long as its archive declares."""


class Reader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


@dataclass
class Room:
    """What may still be unpacked.

    `max_bytes` is the most that all entries have together; `packed` the bytes that they are unpacked from, of
    which they have at most MAX_EXPANSION times as many, and at least `any_ratio`.
    """

    max_bytes: int
    packed: int
    any_ratio: int
    _entries: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def take(self, size: int) -> None:
        """Count an entry of `size` bytes. Raises TooLargeError."""
        self._entries += 1
        self._bytes += size
        if self._entries > MAX_ENTRIES:
            raise TooLargeError(f"more than {MAX_ENTRIES} entries")
        if self._bytes > self.max_bytes:
            raise TooLargeError(f"unpacks to more than {self.max_bytes} bytes")
        if self._bytes > max(self.any_ratio, MAX_EXPANSION * self.packed):
            raise TooLargeError(f"unpacks to more than {MAX_EXPANSION} times its size")


def write(content: Reader, path: Path, size: int) -> None:
    """Copy exactly `size` bytes to a new file.

    Raises WrongLengthError, FileExistsError, and what reading raises.
    """
    with path.open("xb") as file:
        left = size
        while piece := content.read(_PIECE):
            left -= len(piece)
            if left < 0:
                break
            file.write(piece)
    if left:
        raise WrongLengthError(f"{path.name} is not as long as the archive declares")
