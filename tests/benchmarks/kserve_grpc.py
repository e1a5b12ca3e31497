"""The peer of the gRPC benchmark: kserve serving a model of three layers. Runs in kserve's own environment.

Usage: kserve_grpc.py HTTP_PORT GRPC_PORT. The layers are computed by numpy, which for one row takes kserve
less time than TensorFlow would.
"""

import sys
from itertools import pairwise
from typing import Any

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer

SIZES = (64, 64, 32, 10)


class Layers(Model):  # type: ignore[misc]  # kserve is not in this environment
    def __init__(self) -> None:
        super().__init__("digits")
        random = np.random.default_rng(0)
        self.weights = [random.normal(size=pair).astype("float32") for pair in pairwise(SIZES)]
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        rows = payload.inputs[0].as_numpy()
        for weight in self.weights:
            rows = np.maximum(rows @ weight, 0)
        output = InferOutput("probabilities", list(rows.shape), "FP32")
        output.set_data_from_numpy(rows, binary_data=True)
        return InferResponse(payload.id or "1", self.name, [output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start([Layers()])
