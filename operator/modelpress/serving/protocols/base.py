"""What a request/response protocol over HTTP is made of: pure decoding and encoding. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.signature import Signature

Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Model:
    """The served model, as protocols show it."""

    name: str
    revision: str
    digest: str
    signature: Signature
    platform: str = "litert"  # what computes it
    max_rows: int = 2**13  # the most that one request may have


@dataclass(slots=True)  # made for each request: frozen ones take three times as long
class DecodedRequest:
    """A decoded inference request."""

    inputs: Arrays
    context: Any  # what the protocol needs to encode the answer
    id: str | None = None  # the client's own name for it, for logs


@dataclass(slots=True)
class Encoded:
    """The body of an answer, in parts that need not be joined before they are sent."""

    parts: Sequence[bytes | memoryview]
    json_length: int | None = None  # where raw tensors follow the JSON: its length, for the header


class InferenceProtocol(Protocol):
    """Decodes bodies into calls, and encodes outputs; knows nothing of HTTP or queues."""

    name: str  # the protocol's label in the metrics

    def decode(self, body: Body, json_length: int | None = None) -> DecodedRequest:
        """Return the call in a body, of which raw tensors follow the first `json_length` bytes if given.

        Raises BadRequest.
        """

    def encode(self, call: DecodedRequest, outputs: list[Array]) -> Encoded:
        """Return the answer; `outputs` are in the model's order."""
