"""From what a socket gives to whole frames of HTTP/2."""

from collections.abc import Iterator

from modelpress.serving.protocols.grpc.frames import (
    DEFAULT_FRAME_BYTES,
    HEADER,
    HEADER_BYTES,
    MAX_STREAM,
    PREFACE,
    Code,
    ConnectionFault,
)

Frame = tuple[int, int, int, bytes]  # kind, flags, stream, payload


class FrameReader:
    """Keeps what is incomplete: at most one frame."""

    def __init__(self) -> None:
        self._preface = PREFACE  # what is missing of it
        self._rest = bytearray()
        self._needed = 0  # bytes of the rest that make it worth a look

    @property
    def partial(self) -> bool:
        """Whether a part of a frame has come."""
        return bool(self._rest)

    def frames(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`. Raises ConnectionFault."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at = self._greeted(data) if self._preface else 0
        end = len(data)
        while end - at >= HEADER_BYTES:
            high, low, kind, flags, stream = HEADER.unpack_from(data, at)
            size = high << 8 | low
            if size > DEFAULT_FRAME_BYTES:
                raise ConnectionFault(
                    Code.FRAME_SIZE_ERROR, f"the frame is larger than {DEFAULT_FRAME_BYTES} bytes"
                )
            start = at + HEADER_BYTES
            if start + size > end:
                break
            at = start + size
            yield kind, flags, stream & MAX_STREAM, data[start:at]
        if at < end:
            self._rest += data[at:]
            whole = len(self._rest) >= HEADER_BYTES
            self._needed = HEADER_BYTES + (int.from_bytes(self._rest[:3], "big") if whole else 0)

    def _greeted(self, data: bytes) -> int:
        """Take the preface, or a part of it, from the start of `data`; returns its size there."""
        size = min(len(data), len(self._preface))
        if data[:size] != self._preface[:size]:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface = self._preface[size:]
        return size
