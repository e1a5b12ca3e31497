"""Run while an image is built: cuts symbol and section tables off shared libraries, which no run reads.

A library is loaded by its segments; what stands behind the last one serves linkers and debuggers. In
TensorFlow that is 205 MB. Base images have no `strip`.

    python strip.py FOLDER
"""

import struct
import sys
from pathlib import Path

_ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_SEGMENTS, _SECTIONS, _SEGMENT_COUNTS, _SECTION_COUNTS = 32, 40, 54, 58  # offsets in the header of a file


def cut(file: Path) -> int:
    """Cut one library; return by how many bytes."""
    with file.open("r+b") as library:
        header = library.read(64)
        if not header.startswith(_ELF_64_LITTLE_ENDIAN):
            return 0
        (start,) = struct.unpack_from("<Q", header, _SEGMENTS)
        length, count = struct.unpack_from("<HH", header, _SEGMENT_COUNTS)
        end = start + length * count
        for place in range(start, end, length):
            library.seek(place)
            _type, _flags, offset, _address, _physical, size = struct.unpack("<IIQQQQ", library.read(40))
            end = max(end, offset + size)
        library.seek(_SECTIONS)
        library.write(bytes(8))
        library.seek(_SECTION_COUNTS)
        library.write(bytes(6))
        before = file.stat().st_size
        library.truncate(end)
        return before - end


if __name__ == "__main__":
    for path in Path(sys.argv[1]).rglob("*.so*"):
        if path.is_file() and not path.is_symlink():
            cut(path)
