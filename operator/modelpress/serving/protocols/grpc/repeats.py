"""Requests and answers with raw contents that differ from earlier ones in their numbers only.

A client sends the same names, datatypes and shapes over and over. Where a request has the bytes of an earlier
one before its numbers, it means what that one meant, and only the numbers are looked at. Answers begin alike,
too. Everything else goes the long way: typed contents, several inputs, ids, parameters.
"""

from dataclasses import dataclass

from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.grpc.codec import Context, OipGrpc, varint
from modelpress.serving.protocols.grpc.methods import parsed
from modelpress.serving.protocols.grpc.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from modelpress.serving.protocols.raw_tensors import array_of_raw, raw_of

_KEPT = 256  # requests, and answers; then they are learnt anew
_RAW_TAG = bytes((ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number << 3 | 2,))


@dataclass(frozen=True, slots=True)
class _Learnt:
    head: bytes  # all bytes of a request before its numbers
    shape: list[int]
    context: Context
    where: str


class RepeatingCodec:
    """From serialized requests to calls, and from outputs to serialized answers; does what OipGrpc does."""

    def __init__(self, model: Model) -> None:
        self._codec = OipGrpc(model)
        self._inputs = model.signature.inputs
        self._requests: dict[int, _Learnt] = {}  # by size
        self._answers: dict[tuple[object, ...], bytes] = {}

    def decode(self, message: memoryview) -> Call:
        """Return the call in a request. Raises BadRequest or NotFound."""
        learnt = self._requests.get(len(message))
        if learnt is not None:
            size = len(learnt.head)
            if bytes(message[:size]) == learnt.head:
                array = array_of_raw(message[size:], learnt.shape, self._inputs[0], learnt.where)
                return Call([array], learnt.context)
        request = parsed(ModelInferRequest, message)
        call = self._codec.decode(request)
        if len(request.raw_input_contents) == 1 and not request.id and not request.parameters:
            self._learn(request, message, call.context)
        return call

    def encode(self, call: Call, outputs: list[Array]) -> bytes:
        """Return the answer; `outputs` are in the model's order."""
        context: Context = call.context
        if not context.raw or call.id is not None:
            return bytes(self._codec.encode(call, outputs).SerializeToString())
        key = (context.outputs, *[outputs[place].shape for place in context.outputs])
        parts: list[bytes | memoryview] = [self._answers.get(key) or self._begin(key, call, outputs)]
        for place in context.outputs:
            values = raw_of(outputs[place])
            parts += (_RAW_TAG, varint(len(values)), values)
        return b"".join(parts)

    def _learn(self, request: ModelInferRequest, message: memoryview, context: Context) -> None:
        """Keep what comes before the numbers, where nothing can come after them.

        Serializers write fields in the order of their numbers, raw contents last. A request that they would
        write otherwise, or that has unknown fields, is not learnt.
        """
        entry, size = request.inputs[0], len(message) - len(request.raw_input_contents[0])
        known = ModelInferRequest()
        known.CopyFrom(request)
        known.DiscardUnknownFields()
        if known.SerializeToString() == message:
            if len(self._requests) >= _KEPT:
                self._requests.clear()
            where = f"inputs[0] {entry.name!r}"
            self._requests[len(message)] = _Learnt(bytes(message[:size]), list(entry.shape), context, where)

    def _begin(self, key: tuple[object, ...], call: Call, outputs: list[Array]) -> bytes:
        """Return and keep an answer without its numbers."""
        response = self._codec.encode(call, outputs)
        response.ClearField("raw_output_contents")
        if len(self._answers) >= _KEPT:
            self._answers.clear()
        begin = self._answers[key] = bytes(response.SerializeToString())
        return begin
