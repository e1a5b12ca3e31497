"""A real worker, called with the clients of TensorFlow Serving and of gRPC's reflection."""

import json
import subprocess
from pathlib import Path

import grpc
import numpy as np
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.servers import environments
from tests.support.serving.artifacts import Worker
from tests.support.serving.grpc_client import images

PROGRAM = Path(__file__).parents[2] / "support/serving/tfserving_program.py"


def test_the_client_of_tensorflow_serving(digits: Worker, reference: LiteRTExecutor, tmp_path: Path) -> None:
    array = images(3)
    np.save(tmp_path / "input.npy", array)
    python = environments.python("tfserving", environments.TFSERVING)
    subprocess.run([str(python), str(PROGRAM), digits.grpc, str(tmp_path)], check=True, timeout=300)
    outputs = np.load(tmp_path / "outputs.npz")
    expected = reference.run([array])[0].tobytes()
    assert outputs["content"].tobytes() == outputs["typed"].tobytes() == expected
    assert outputs["filled"].tobytes() == reference.run([np.full_like(array, 0.5)])[0].tobytes()
    assert json.loads((tmp_path / "answers.json").read_text()) == {
        "refused": ["NOT_FOUND", "no model 'other'; this worker serves 'digits'"],
        "method": "tensorflow/serving/predict",
        "inputs": {"images": ["float32", [-1, 64]]},
        "state": "AVAILABLE",
        "version": 1,
        "error": 0,
    }


def test_a_client_needs_no_proto_file(digits: Worker, reference: LiteRTExecutor) -> None:
    array = images(2)
    with grpc.insecure_channel(digits.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert services == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
        }
        pool = DescriptorPool(database)
        for service in services:
            for method in pool.FindServiceByName(service).methods:
                assert method.input_type.full_name
        method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ModelInfer")
        request = GetMessageClass(method.input_type)(model_name="digits")
        entry = request.inputs.add(name="images", datatype="FP32", shape=array.shape)
        entry.contents.fp32_contents.extend(array.ravel().tolist())
        call = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
        answer = GetMessageClass(method.output_type).FromString(call(request.SerializeToString(), timeout=30))
    found = np.array(answer.outputs[0].contents.fp32_contents, "float32")
    assert found.tobytes() == reference.run([array])[0].tobytes()
