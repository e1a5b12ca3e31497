"""Hostile data sets."""

import io
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.conditions import Reason
from tests.support.hostile.files import HostileFiles, Row
from tests.support.hostile.keras import _Payload, _touch

_X = np.zeros((4, 64), np.float32)


def _npz(files: HostileFiles, method: int = zipfile.ZIP_STORED, **entries: bytes) -> Path:
    path = files.folder / "data.npz"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


def _npy(array: Any, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def _declared(text: str, data: bytes, files: HostileFiles) -> Path:
    return _npz(files, x=_header(text, data), y=_npy(np.zeros(4)))


def _pickled(key: str, files: HostileFiles) -> Path:
    payload = _npy(np.array([_Payload(_touch(files))] * 4, dtype=object), pickled=True)
    entries = {"x": _npy(_X), "y": _npy(np.zeros(4)), key: payload}
    return _npz(files, x=entries["x"], y=entries["y"])


def _bomb(files: HostileFiles) -> Path:
    path = _npz(files, zipfile.ZIP_DEFLATED, x=_npy(_X), y=_npy(np.zeros(4)))
    data = path.read_bytes()
    size = len(_npy(_X)).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (2**31).to_bytes(4, "little")))
    return path


def _array(array: Any, files: HostileFiles) -> Path:
    return _npz(files, x=_npy(array), y=_npy(np.zeros(4)))


def _long_directory(files: HostileFiles) -> Path:
    path = _npz(files, x=_npy(_X))
    data = path.read_bytes()
    record = data[data.rindex(b"PK\x01\x02") : data.rindex(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(record) * 10**6, len(data), 0)
    path.write_bytes(data + record * 10**6 + end)
    return path


def _content(content: bytes, files: HostileFiles) -> Path:
    path = files.folder / "data.npz"
    path.write_bytes(content)
    return path


def _row(name: str, build: Callable[[HostileFiles], Path], words: str) -> Row:
    return Row(f"npz-{name}", build, words, Reason.INVALID_DATA, data=True)


def _shape(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


ROWS = [
    _row("pickle-x", partial(_pickled, "x"), "array x"),
    _row("pickle-y", partial(_pickled, "y"), "array y"),
    _row("bomb", _bomb, "unpacks to 2147483648 bytes"),
    _row("long-directory", _long_directory, "list of entries"),
    _row("shape-bomb", partial(_declared, _shape("(1099511627776, 64)"), b"0" * 64), "array x"),
    _row("shape-overflow", partial(_declared, _shape(f"({2**70}, {2**70})"), b"0" * 64), "array x"),
    _row("shape-negative", partial(_declared, _shape("(-4, 64)"), b"0" * 64), "data.npz"),
    _row("shape-of-texts", partial(_declared, _shape("('a',)"), b"0" * 64), "array x"),
    _row("deep-header", partial(_declared, "(" * 5_000, b""), "array x"),
    _row("code-in-header", partial(_declared, "__import__('os').system('id')", b""), "array x"),
    _row("unknown-dtype", partial(_declared, _shape("(4, 64)", "'O'"), b"0" * 4096), "array x"),
    _row("wide-dtype", partial(_declared, _shape("(4, 64)", "'V2147483647'"), b"0" * 64), "array x"),
    _row("records", partial(_array, np.zeros((4, 64), [("a", "f4"), ("b", "f4")])), "array x has dtype"),
    _row("texts", partial(_array, np.full((4, 64), "text")), "array x has dtype"),
    _row("number", partial(_array, np.float32(1)), "single number"),
    _row("empty", partial(_content, b""), "not a readable .npz"),
    _row("wrong-type", partial(_content, b"hello"), "not a readable .npz"),
    _row("npy", partial(_content, _npy(_X)), "not a readable .npz"),
]
