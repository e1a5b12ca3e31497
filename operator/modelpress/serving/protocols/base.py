"""What a request/response protocol over HTTP is made of: pure decoding and encoding. No I/O."""

from dataclasses import dataclass
from typing import Any, Protocol

from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.signature import Signature


@dataclass(frozen=True, slots=True)
class Model:
    """The served model, as protocols show it."""

    name: str
    revision: str
    digest: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded inference request."""

    inputs: Arrays
    context: Any  # what the protocol needs to encode the answer


class InferenceProtocol(Protocol):
    """Decodes bodies into calls, and encodes outputs and errors; knows nothing of HTTP or queues."""

    name: str  # in metrics

    def decode(self, body: bytes | bytearray) -> Call:
        """Return the call in a body. Raises BadRequest."""

    def encode(self, call: Call, outputs: list[Array]) -> bytes:
        """Return the body of the answer; `outputs` are in the model's order."""
