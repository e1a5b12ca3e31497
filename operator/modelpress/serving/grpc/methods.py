"""The methods that answer without the model's computation, from serialized requests to serialized answers."""

from collections.abc import Callable
from typing import Any

from modelpress.serving.errors import BadRequest, TooLarge, Unavailable
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc import oip as oip_grpc
from modelpress.serving.grpc import predict
from modelpress.serving.grpc.calls import Handler
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.tfserving_rest import VERSION
from modelpress.serving.service import Phase, Service

INFERENCE = "inference.GRPCInferenceService"
PREDICTION = "tensorflow.serving.PredictionService"
MODELS = "tensorflow.serving.ModelService"
SERVICES = (INFERENCE, PREDICTION, MODELS)

_MAX_BYTES = 2**16  # a request holds names, and no tensor
_STATES = {Phase.LOADING: "LOADING", Phase.READY: "AVAILABLE", Phase.DRAINING: "UNLOADING"}


def pages(service: Service) -> dict[str, Handler]:
    """Return them by path."""

    def loaded() -> Model:
        if service.model is None:
            raise Unavailable("the model is being loaded")
        return service.model

    def model_ready(request: Any) -> Any:
        if service.model is not None:
            oip_grpc.check_model(service.model, request.name, request.version)
        return pb.ModelReadyResponse(ready=service.ready)

    def metadata(request: Any) -> Any:
        oip_grpc.check_model(loaded(), request.name, request.version)
        return oip_grpc.model_metadata(loaded())

    def signature(request: Any) -> Any:
        predict.check_spec(loaded(), predict.spec_of(request.model_spec))
        if list(request.metadata_field) != ["signature_def"]:
            raise BadRequest("metadata_field must be signature_def, which is all that there is")
        return predict.model_metadata(loaded())

    def status(request: Any) -> Any:
        if service.model is not None:
            predict.check_spec(service.model, predict.spec_of(request.model_spec))
        response = pb.GetModelStatusResponse()
        state = pb.ModelVersionStatus.State.Value(_STATES[service.phase])
        response.model_version_status.add(version=int(VERSION), state=state).status.SetInParent()
        return response

    answers: dict[str, dict[str, Callable[[Any], Any]]] = {
        INFERENCE: {
            "ServerLive": lambda _: pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _: pb.ServerReadyResponse(ready=service.ready),
            "ServerMetadata": lambda _: pb.ServerMetadataResponse(
                name=oip.SERVER, version=oip.server_version()
            ),
            "ModelReady": model_ready,
            "ModelMetadata": metadata,
        },
        PREDICTION: {"GetModelMetadata": signature},
        MODELS: {"GetModelStatus": status},
    }
    return {
        f"/{name}/{method}": _page(answer, getattr(pb, f"{method}Request"))
        for name, methods in answers.items()
        for method, answer in methods.items()
    }


def _page(answer: Callable[[Any], Any], kind: Any) -> Handler:
    def page(message: bytes) -> bytes:
        if len(message) > _MAX_BYTES:
            raise TooLarge(f"a {kind.DESCRIPTOR.name} may have {_MAX_BYTES} bytes; this has {len(message)}")
        return bytes(answer(pb.parsed(kind, message)).SerializeToString())

    return page
