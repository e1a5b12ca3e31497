"""The methods that answer at once: all but ModelInfer. From serialized requests to serialized answers."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from modelpress.serving.errors import BadRequest, Unavailable
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.grpc import health
from modelpress.serving.protocols.grpc import open_inference_pb2 as pb
from modelpress.serving.protocols.grpc.codec import check_model, model_metadata
from modelpress.serving.service import Service

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"

Page = Callable[[memoryview], bytes]  # raises RequestError


def pages(service: Service) -> dict[str, Page]:
    """Return them by path."""

    def model_ready(request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        if service.model is not None:
            check_model(service.model, request.name, request.version)
        return pb.ModelReadyResponse(ready=service.ready)

    def metadata(request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        model = service.model
        if model is None:
            raise Unavailable("the model is being loaded")
        check_model(model, request.name, request.version)
        return model_metadata(model)

    answers: dict[str, Callable[[Any], Any]] = {
        "ServerLive": lambda _: pb.ServerLiveResponse(live=True),
        "ServerReady": lambda _: pb.ServerReadyResponse(ready=service.ready),
        "ServerMetadata": lambda _: pb.ServerMetadataResponse(name=oip.SERVER, version=oip.server_version()),
        "ModelReady": model_ready,
        "ModelMetadata": metadata,
    }
    known = frozenset(("", SERVICE))
    return {
        f"/{SERVICE}/{name}": _page(answer, getattr(pb, f"{name}Request")) for name, answer in answers.items()
    } | {f"/{health.SERVICE}/Check": lambda request: health.check(bytes(request), known, service.ready)}


def parsed(kind: Any, message: bytes | memoryview) -> Any:
    """Return the message of `kind`. Raises BadRequest where it is none."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise BadRequest(f"the request is not a valid {kind.DESCRIPTOR.name}") from error


def _page(answer: Callable[[Any], Any], kind: Any) -> Page:
    return lambda request: answer(parsed(kind, request)).SerializeToString()
