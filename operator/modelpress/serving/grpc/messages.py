"""The messages of all gRPC services, made from messages.binpb; `make proto` writes it from the .proto files.

They live in a pool of descriptors of their own: TensorFlow, which the executor for GPUs imports into the same
process, registers messages of the same names in the default one.
"""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from modelpress.serving.errors import BadRequest


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    files = FileDescriptorSet.FromString(Path(__file__).with_name("messages.binpb").read_bytes())
    for file in files.file:  # each after those that it imports
        pool.Add(file)
    for library in (health_pb2, reflection_pb2):  # so that reflection knows them too
        pool.AddSerializedFile(library.DESCRIPTOR.serialized_pb)
    return pool


POOL = _pool()


def message(name: str) -> Any:
    """Return the class of the message with a full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def parsed(kind: Any, serialized: bytes) -> Any:
    """Return a message of a class. Raises BadRequest where it is none."""
    try:
        return kind.FromString(serialized)
    except DecodeError as error:
        raise BadRequest(f"the request is not a valid {kind.DESCRIPTOR.name}") from error


InferTensorContents = message("inference.InferTensorContents")
ModelInferRequest = message("inference.ModelInferRequest")
ModelInferResponse = message("inference.ModelInferResponse")
ModelMetadataRequest = message("inference.ModelMetadataRequest")
ModelMetadataResponse = message("inference.ModelMetadataResponse")
ModelReadyRequest = message("inference.ModelReadyRequest")
ModelReadyResponse = message("inference.ModelReadyResponse")
ServerLiveRequest = message("inference.ServerLiveRequest")
ServerLiveResponse = message("inference.ServerLiveResponse")
ServerMetadataRequest = message("inference.ServerMetadataRequest")
ServerMetadataResponse = message("inference.ServerMetadataResponse")
ServerReadyRequest = message("inference.ServerReadyRequest")
ServerReadyResponse = message("inference.ServerReadyResponse")

TensorProto = message("tensorflow.TensorProto")
TensorShapeProto = message("tensorflow.TensorShapeProto")
SignatureDef = message("tensorflow.SignatureDef")
TensorInfo = message("tensorflow.TensorInfo")
PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")
SignatureDefMap = message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = message("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = message("tensorflow.serving.GetModelStatusResponse")
ModelVersionStatus = message("tensorflow.serving.ModelVersionStatus")
