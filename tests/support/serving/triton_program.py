"""Calls a worker with NVIDIA's client, in an environment of its own. Imports nothing of ours.

Usage: triton_program.py FOLDER. FOLDER/calls.json is a list of calls, each with its inputs in inputs-N.npz;
FOLDER/answers.json gets what came back, arrays in outputs-N.npz.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODULES = {"http": triton_http, "grpc": triton_grpc}


def main(folder: Path) -> None:
    calls = json.loads((folder / "calls.json").read_text())
    clients: dict[tuple[str, str], Any] = {}
    answers = []
    for number, call in enumerate(calls):
        place = (call["protocol"], call["address"])
        if place not in clients:
            clients[place] = MODULES[call["protocol"]].InferenceServerClient(call["address"])
        try:
            answer = WHAT[call["what"]](clients[place], call, folder, number)
        except InferenceServerException as error:
            answer = {"error": error.message(), "status": error.status()}
        answers.append(answer)
    (folder / "answers.json").write_text(json.dumps(answers))


def pages(client: Any, call: dict[str, Any], folder: Path, number: int) -> dict[str, Any]:
    model = call["model"]
    try:
        other = client.is_model_ready(model, "no-such-version")
    except InferenceServerException as error:  # gRPC has a code for it
        other = error.status()
    more = {} if call["protocol"] == "http" else {"as_json": True}
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(model),
        "other ready": other,
        "server": client.get_server_metadata(**more),
        "model": client.get_model_metadata(model, **more),
    }


def infer(client: Any, call: dict[str, Any], folder: Path, number: int) -> dict[str, Any]:
    module = MODULES[call["protocol"]]
    binary = {} if call["protocol"] == "grpc" else {"binary_data": call["binary"]}
    inputs = []
    for name, array in np.load(folder / f"inputs-{number}.npz").items():
        entry = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        entry.set_data_from_numpy(array, **binary)
        inputs.append(entry)
    requested = call.get("outputs")
    outputs = (
        None if requested is None else [module.InferRequestedOutput(name, **binary) for name in requested]
    )
    result = client.infer(
        call["model"], inputs, outputs=outputs, request_id=call.get("id", ""), **call.get("options", {})
    )
    response = result.get_response() if call["protocol"] == "http" else result.get_response(as_json=True)
    names = [output["name"] for output in response["outputs"]]
    np.savez(folder / f"outputs-{number}.npz", **{name: result.as_numpy(name) for name in names})
    return {"names": names, "id": response.get("id"), "version": response["model_version"]}


WHAT = {"pages": pages, "infer": infer}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
