"""A real worker, asked by grpcurl: JSON on the command line, and no .proto file."""

import base64
import json
import subprocess
from typing import Any

import numpy as np
import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.servers import needs
from tests.support.servers.binaries import binary
from tests.support.serving.artifacts import Worker
from tests.support.serving.grpc_client import images

INFERENCE = "inference.GRPCInferenceService"
PREDICTION = "tensorflow.serving.PredictionService"
ARRAY = images(2)


@pytest.fixture(scope="module")
def grpcurl() -> str:
    needs.program("grpcurl")
    return str(binary("grpcurl"))


def ask(program: str, address: str, *arguments: str, request: Any = None) -> str:
    """Return what grpcurl prints."""
    data = [] if request is None else ["-d", json.dumps(request)]
    command = [program, "-plaintext", *data, address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_services_are_listed_and_described(grpcurl: str, digits: Worker) -> None:
    assert ask(grpcurl, digits.grpc, "list").split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        INFERENCE,
        "tensorflow.serving.ModelService",
        PREDICTION,
    ]
    methods = ask(grpcurl, digits.grpc, "list", INFERENCE).split()
    assert {f"{INFERENCE}.ModelInfer", f"{INFERENCE}.ServerLive"} <= set(methods)
    described = ask(grpcurl, digits.grpc, "describe", "inference.ModelInferRequest")
    assert "repeated bytes raw_input_contents = 7;" in described
    assert "rpc Predict" in ask(grpcurl, digits.grpc, "describe", PREDICTION)


def test_health_and_liveness(grpcurl: str, digits: Worker) -> None:
    assert json.loads(ask(grpcurl, digits.grpc, f"{INFERENCE}/ServerLive")) == {"live": True}
    health = ask(grpcurl, digits.grpc, "grpc.health.v1.Health/Check", request={"service": INFERENCE})
    assert json.loads(health) == {"status": "SERVING"}


def test_an_inference_in_json(grpcurl: str, digits: Worker, reference: LiteRTExecutor) -> None:
    tensor = {
        "name": "images",
        "datatype": "FP32",
        "shape": ARRAY.shape,
        "contents": {"fp32_contents": ARRAY.ravel().tolist()},
    }
    request = {"model_name": "digits", "id": "7", "inputs": [tensor]}
    answer = json.loads(ask(grpcurl, digits.grpc, f"{INFERENCE}/ModelInfer", request=request))
    assert (answer["modelName"], answer["id"]) == ("digits", "7")
    found = np.array(answer["outputs"][0]["contents"]["fp32Contents"], "float32")
    assert found.tobytes() == reference.run([ARRAY])[0].tobytes()


def test_a_prediction_in_json(grpcurl: str, digits: Worker, reference: LiteRTExecutor) -> None:
    tensor = {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": size} for size in ARRAY.shape]},
        "tensor_content": base64.b64encode(ARRAY.tobytes()).decode(),
    }
    request = {"model_spec": {"name": "digits"}, "inputs": {"images": tensor}}
    answer = json.loads(ask(grpcurl, digits.grpc, f"{PREDICTION}/Predict", request=request))
    found = np.array(answer["outputs"]["probabilities"]["floatVal"], "float32")
    assert found.tobytes() == reference.run([ARRAY])[0].tobytes()


def test_a_refusal_has_a_code_and_one_line(grpcurl: str, digits: Worker) -> None:
    command = [grpcurl, "-plaintext", "-d", '{"model_name": "other"}', digits.grpc, f"{INFERENCE}/ModelInfer"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "Code: NotFound" in done.stderr
    assert "no model 'other'; this worker serves 'digits'" in done.stderr
