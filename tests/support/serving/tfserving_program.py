"""Calls a worker with the client of TensorFlow Serving, in its own environment. Imports nothing of ours.

Usage: tfserving_program.py ADDRESS FOLDER. FOLDER/input.npy is the input `images`; FOLDER/answers.json and
outputs.npz get what came back.
"""

import json
import sys
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def main(address: str, folder: Path) -> None:
    channel = grpc.insecure_channel(address)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    array = np.load(folder / "input.npy")
    outputs = {}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.signature_name = "serving_default"
    for name, tensor in {
        "content": tf.make_tensor_proto(array),
        "typed": tf.make_tensor_proto(array.tolist(), shape=array.shape, dtype=tf.float32),
        "filled": tf.make_tensor_proto(0.5, shape=array.shape, dtype=tf.float32),
    }.items():
        request.inputs["images"].CopyFrom(tensor)
        outputs[name] = tf.make_ndarray(prediction.Predict(request, 30).outputs["probabilities"])
    np.savez(folder / "outputs.npz", **outputs)
    request.model_spec.name = "other"
    try:
        prediction.Predict(request, 30)
    except grpc.RpcError as error:
        refused = [error.code().name, error.details()]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "digits"
    metadata = prediction.GetModelMetadata(request, 30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    metadata.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "digits"
    status = models.GetModelStatus(asked, 30).model_version_status[0]
    answers = {
        "refused": refused,
        "method": signature.method_name,
        "inputs": {
            name: [tf.dtypes.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim]]
            for name, info in signature.inputs.items()
        },
        "state": get_model_status_pb2.ModelVersionStatus.State.Name(status.state),
        "version": status.version,
        "error": status.status.error_code,
    }
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
