"""litserve with its own JSON: {"rows": [[...]]}, or base64 of float32 bytes with a shape.

Usage: python litserve_peer.py STEM RUNTIME PORT
"""

import base64
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from compute import load
from fastapi import Request


class Peer(litserve.LitAPI):  # type: ignore[misc]  # the dev environment has no litserve
    def setup(self, device: str) -> None:
        self.compute = load(Path(sys.argv[1]), sys.argv[2])

    def decode_request(self, request: Request) -> Any:  # litserve reads its JSON
        if "rows" in request:
            return np.array(request["rows"], np.float32)
        return np.frombuffer(base64.b64decode(request["base64"]), np.float32).reshape(request["shape"])

    def predict(self, x: Any) -> Any:
        return self.compute(x)

    def encode_response(self, output: Any) -> Any:
        return {"rows": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Peer(), accelerator="cpu")
    server.run("127.0.0.1", int(sys.argv[3]), log_level="warning", generate_client_file=False)
