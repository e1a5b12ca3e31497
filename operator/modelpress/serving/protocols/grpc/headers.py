"""Header blocks (HPACK, RFC 7541) to heads of requests, and fields to header blocks.

Clients repeat their heads: after the first request a block is a few indices into the table that both sides
keep, and the same bytes mean the same head for as long as no other block changes that table.
"""

from collections.abc import Iterable

from hpack import Decoder, HPACKError
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

from modelpress.serving.protocols.grpc.frames import Code, ConnectionFault
from modelpress.serving.protocols.grpc.head import Field, RequestHead, read_head
from modelpress.serving.protocols.grpc.limits import Http2Limits

# hpack stops there; a head between the limit and this is answered, one beyond ends the connection
_EXPANDED = 4
_CACHED_HEADS = 8
_CACHED_BYTES = 512  # of a block
_FORGET_TABLE = b"\x20"  # a size update to 0: none of our blocks uses the table
_SIZE_UPDATES = range(0x20, 0x40)  # first bytes of them
_LENGTH_BITS = 7  # of the byte that a string begins with


class _Table(HeaderTable):
    """Counts what is added to it."""

    added = 0

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field, which moves all indices."""
        self.added += 1
        super().add(name, value)


class BlockReader:
    """Reads the header blocks of one connection; each must be read, in order, for the sake of the table."""

    def __init__(self, limits: Http2Limits) -> None:
        self._limits = limits
        self._decoder = Decoder(_EXPANDED * limits.header_bytes)
        self._table = self._decoder.header_table = _Table()
        self._heads: dict[bytes, RequestHead] = {}  # by blocks that leave the table as it is

    def head(self, block: bytes) -> RequestHead:
        """Return the head of a request. Raises ConnectionFault."""
        head = self._heads.get(block)
        if head is not None:
            return head
        before = self._table.added
        head = read_head(self.fields(block), self._limits)
        if before == self._table.added and len(block) <= _CACHED_BYTES:
            if len(self._heads) >= _CACHED_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[block] = head
        return head

    def fields(self, block: bytes) -> list[Field]:
        """Return the fields of a block. Raises ConnectionFault."""
        before = self._table.added
        try:
            fields = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "the header block is not valid HPACK") from error
        if block and block[0] in _SIZE_UPDATES:
            self._table.added += 1
        if before != self._table.added:
            self._heads.clear()
        return fields


def block(fields: Iterable[Field]) -> bytes:
    """Return a header block that uses no table: literal fields without indexing (section 6.2.2)."""
    return b"".join(b"".join((b"\0", _text(name), _text(value))) for name, value in fields)


def without_table(block: bytes) -> bytes:
    """Return a block that also tells the peer that its table is of no use, which it may wait for."""
    return _FORGET_TABLE + block


def _text(text: bytes) -> bytes:
    """Return a string that is not Huffman-coded (section 5.2)."""
    return bytes(encode_integer(len(text), _LENGTH_BITS)) + text
