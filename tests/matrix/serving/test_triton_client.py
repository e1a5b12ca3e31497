"""A real worker, called with NVIDIA's tritonclient over HTTP and gRPC."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.signature import SERVED_DTYPES
from tests.support.servers import environments
from tests.support.serving.artifacts import Worker, equal, examples, worker

PROGRAM = Path(__file__).parents[2] / "support/serving/triton_program.py"
PROTOCOLS = ("http", "grpc")


class Calls:
    """Calls that one process of the client makes together."""

    def __init__(self, running: Worker, folder: Path) -> None:
        self._addresses = {"http": running.url.removeprefix("http://"), "grpc": running.grpc}
        self._folder = folder
        self._calls: list[dict[str, Any]] = []

    def add(self, what: str, protocol: str, arrays: dict[str, Any] | None = None, **options: Any) -> None:
        np.savez(self._folder / f"inputs-{len(self._calls)}.npz", **(arrays or {}))
        call = {"what": what, "protocol": protocol, "address": self._addresses[protocol]}
        self._calls.append({**call, "model": "digits", "binary": True, **options})

    def answers(self) -> list[dict[str, Any]]:
        (self._folder / "calls.json").write_text(json.dumps(self._calls))
        python = environments.python("triton", environments.TRITON)
        subprocess.run([str(python), str(PROGRAM), str(self._folder)], check=True, timeout=300)
        found: list[dict[str, Any]] = json.loads((self._folder / "answers.json").read_text())
        return found

    def outputs(self, number: int) -> dict[str, Any]:
        return dict(np.load(self._folder / f"outputs-{number}.npz"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_health_and_metadata(digits: Worker, tmp_path: Path, protocol: str) -> None:
    calls = Calls(digits, tmp_path)
    calls.add("pages", protocol)
    (answer,) = calls.answers()
    assert answer["live"] is answer["ready"] is answer["model ready"] is True
    assert answer["other ready"] == (False if protocol == "http" else "StatusCode.NOT_FOUND")
    assert answer["server"]["name"] == "modelpress"
    extensions = answer["server"].get("extensions", [])
    assert extensions == (["binary_tensor_data"] if protocol == "http" else [])
    model = answer["model"]
    assert (model["name"], model["versions"], model["platform"]) == ("digits", ["digits-1"], "litert")
    for which, name, size in (("inputs", "images", 64), ("outputs", "probabilities", 10)):
        (described,) = model[which]
        assert (described["name"], described["datatype"]) == (name, "FP32")
        assert [int(value) for value in described["shape"]] == [-1, size]


@pytest.mark.parametrize("dtype", sorted(SERVED_DTYPES))
def test_every_datatype(artifacts: Path, tmp_path: Path, dtype: str) -> None:
    values = np.frombuffer(np.random.default_rng(4).bytes(12 * 8), np.dtype(dtype))[:12].reshape(3, 4)
    if dtype == "bool":
        values = np.random.default_rng(4).random((3, 4)) < 0.5
    elif np.dtype(dtype).kind == "f":
        values = np.random.default_rng(4).normal(size=(3, 4)).astype(dtype)
    with worker(artifacts / f"{dtype}-float32", tmp_path) as running:
        calls = Calls(running, tmp_path)
        calls.add("infer", "http", {"values": values})
        calls.add("infer", "grpc", {"values": values})
        as_json = dtype != "float16"  # the client itself refuses it
        if as_json:
            calls.add("infer", "http", {"values": values}, binary=False, outputs=["same"])
        answers = calls.answers()
        for number, answer in enumerate(answers):
            assert answer.get("names") == ["same"], answer
            (output,) = calls.outputs(number).values()
            assert output.dtype == values.dtype
            assert output.shape == (3, 2, 2)
            assert output.tobytes() == values.tobytes()


@pytest.mark.parametrize("model", ["two-float32", "integers-int8"])
def test_several_inputs_and_outputs(artifacts: Path, models: Path, tmp_path: Path, model: str) -> None:
    executor = LiteRTExecutor(models / f"{model}.tflite")
    arrays = examples(models / f"{model}.tflite", 3)
    expected = executor.run(arrays)
    inputs = dict(zip((detail["name"] for detail in executor.input_details), arrays, strict=True))
    with worker(artifacts / model, tmp_path) as running:
        metadata = running.client.get("/v2/models/digits").json()
        names = [output["name"] for output in metadata["outputs"]]
        calls = Calls(running, tmp_path)
        options: list[dict[str, Any]] = [
            {},
            {"id": "a-7"},
            {"outputs": names[::-1]},
            {"outputs": names[1:], "options": {"model_version": "digits-1"}},
            {"binary": False, "outputs": names},
            {"options": {"parameters": {"unknown": "ignored"}}},
        ]
        for protocol in PROTOCOLS:
            for chosen in options:
                calls.add("infer", protocol, inputs, **chosen)
        answers = calls.answers()
        for number, answer in enumerate(answers):
            chosen = options[number % len(options)]
            assert answer.get("names") == chosen.get("outputs", names), answer
            assert (answer["id"] or None) == chosen.get("id")
            assert answer["version"] == "digits-1"
            found = calls.outputs(number)
            by_name = dict(zip(names, expected, strict=True))
            assert equal([found[name] for name in found], [by_name[name] for name in found])


def test_compression_both_ways(digits: Worker, models: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((300, 64), dtype="float32")
    expected = LiteRTExecutor(models / "seed-int8.tflite").run([array])
    calls = Calls(digits, tmp_path)
    for encoding in ("gzip", "deflate"):
        for binary in (True, False):
            options = {"request_compression_algorithm": encoding, "response_compression_algorithm": encoding}
            outputs = ["probabilities"]
            calls.add("infer", "http", {"images": array}, binary=binary, outputs=outputs, options=options)
        calls.add("infer", "grpc", {"images": array}, options={"compression_algorithm": encoding})
    for number, answer in enumerate(calls.answers()):
        assert answer.get("names") == ["probabilities"], answer
        assert equal(list(calls.outputs(number).values()), expected)


def test_errors(digits: Worker, tmp_path: Path) -> None:
    array = np.zeros((2, 63), "float32")
    calls = Calls(digits, tmp_path)
    for protocol in PROTOCOLS:
        calls.add("infer", protocol, {"images": array})
        calls.add("infer", protocol, {"images": array}, model="other")
    answers = calls.answers()
    for number, code in ((0, "400"), (2, "StatusCode.INVALID_ARGUMENT")):
        assert answers[number]["error"] == "inputs[0] 'images': shape [2,63] does not fit [-1,64]"
        assert code in answers[number]["status"]
    for number, code in ((1, "404"), (3, "StatusCode.NOT_FOUND")):
        assert answers[number]["error"] == "no model 'other'; this worker serves 'digits'"
        assert code in answers[number]["status"]
