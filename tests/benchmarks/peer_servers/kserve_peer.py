"""kserve's model server. Usage: python kserve_peer.py STEM RUNTIME PORT."""

import logging
import sys
from pathlib import Path
from typing import Any

from compute import load

stem, runtime, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.argv = sys.argv[:1]  # kserve reads it

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer  # noqa: E402


class Peer(Model):  # type: ignore[misc]  # the dev environment has no kserve
    def __init__(self) -> None:
        super().__init__("digits")
        self.compute = load(stem, runtime)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        if not isinstance(payload, InferRequest):
            return {"predictions": self.compute(payload["instances"]).tolist()}
        rows = self.compute(payload.inputs[0].as_numpy())
        output = InferOutput("y", list(rows.shape), "FP32")
        output.set_data_from_numpy(rows, binary_data=bool(payload.use_binary_outputs))
        return InferResponse(payload.id or "none", "digits", [output])


if __name__ == "__main__":
    # a line for each request would be most of its work
    for name in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(name).disabled = True
    server = ModelServer(http_port=port, enable_grpc=False, enable_latency_logging=False)
    server.start([Peer()])
