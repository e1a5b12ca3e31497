"""Every opening, reading, writing and making of files in a folder, by any process: Linux' inotify(7)."""

import ctypes
import os
import struct
from pathlib import Path

_ACCESS, _MODIFY, _OPEN, _CREATE, _DELETE = 0x1, 0x2, 0x20, 0x100, 0x200
_EVENT = struct.Struct("iIII")


class FileWatch:
    """Watches the files of one folder from when it is made."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _ACCESS | _MODIFY | _OPEN | _CREATE | _DELETE
        if self._queue < 0 or libc.inotify_add_watch(self._queue, os.fsencode(folder), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def events(self) -> list[str]:
        """Return the names of the files that something happened to since the last call."""
        names = []
        try:
            data = os.read(self._queue, 2**16)
        except BlockingIOError:
            return []
        while data:
            _, _, _, length = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            if name:  # none: the folder itself was listed, as by programs that look over the disk
                names.append(name)
            data = data[_EVENT.size + length :]
        return names

    def close(self) -> None:
        """Stop watching."""
        os.close(self._queue)
