"""Makes artifacts of the converted models, examples for their inputs, and workers that serve them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from modelpress.api.contract import JobFailure, WorkerConfig
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import ArtifactManifest, Form, TensorSpec, save
from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.models import cache as model_cache

SCHEMES = ("float32", "int8", "float16", "static", "int4", "weights")
NAMES = ("seed", "skip", "two", "integers", "lengths", "slow")
_OUTPUTS = {
    "seed": ["probabilities"],
    "skip": ["probabilities"],
    "two": ["score", "label"],
    "integers": ["features", "best"],
    "lengths": ["mean"],
    "slow": ["features"],
    "table": ["doubled", "table"],
}


def convert(folder: Path) -> None:
    """Write NAME-SCHEME.tflite of every model, converted once, into `folder`."""
    model_cache.copy("tests.support.serving.convert_models", folder)


def make_artifact(
    model: Path, folder: Path, inputs: list[str] | None = None, outputs: list[str] | None = None
) -> Path:
    """Write the artifact of a .tflite file into `folder`; names not given are those of the tests' models."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "model.tflite"
    target.write_bytes(model.read_bytes())
    executor = LiteRTExecutor(target)
    inputs = inputs or [detail["name"] for detail in executor.input_details]
    outputs = outputs or _OUTPUTS.get(model.stem.partition("-")[0], ["same"])
    manifest = ArtifactManifest(
        form=Form.TFLITE,
        files={"model.tflite": file_sha256(target)},
        inputs=_specs(executor.input_details, inputs),
        outputs=_specs(executor.output_details, outputs),
        artifact_key="0" * 64,
        source_digest="sha256:" + "1" * 64,
        recipe_hash="recipe",
        compressor_version="0",
        original_bytes=1,
        compressed_bytes=1,
    )
    save(manifest, folder)
    return folder


def _specs(details: list[dict[str, Any]], names: list[str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=name,
            shape=tuple(int(size) for size in detail["shape_signature"]),
            dtype=detail["dtype"].__name__,
        )
        for detail, name in zip(details, names, strict=True)
    )


def examples(model: Path, rows: int, seed: int = 3) -> list[Any]:
    """Return random inputs of a model, half of the floats zero, as images have it."""
    random = np.random.default_rng(seed)
    arrays = []
    for detail in LiteRTExecutor(model).input_details:
        shape = (rows, *(5 if size < 0 else int(size) for size in detail["shape_signature"][1:]))
        if detail["dtype"] is np.float32:
            arrays.append((random.random(shape) * (random.random(shape) < 0.5)).astype("float32"))
        elif detail["dtype"] is np.uint8:
            arrays.append(random.integers(0, 256, shape).astype("uint8"))
        else:
            arrays.append(random.integers(0, 100, shape).astype("int32"))
    return arrays


def equal(left: list[Any], right: list[Any]) -> bool:
    """Whether two lists of arrays are equal to the last bit."""
    return len(left) == len(right) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


@dataclass
class Worker:
    """A worker process that is ready."""

    process: subprocess.Popen[bytes]
    url: str
    client: httpx.Client
    termination: Path
    log: Path
    grpc: str  # HOST:PORT

    def infer(self, body: Any, name: str = "digits") -> httpx.Response:
        return self.client.post(f"/v2/models/{name}/infer", json=body)

    def predict(self, body: Any, name: str = "digits") -> httpx.Response:
        return self.client.post(f"/v1/models/{name}:predict", json=body)

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _taken(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Take options out of others."""
    return {name: options.pop(name) for name in names if name in options}


def start(artifact: Path, folder: Path, **options: Any) -> tuple[subprocess.Popen[bytes], str, Path, Path]:
    """Start a worker process without waiting; returns it, its URL, its termination file and its log.

    `options` are fields of ProcessOptions, parallelism and serving, and stdout and program of the process.
    """
    port = free_port()
    stdout = options.pop("stdout", None)  # None inherits the test's
    program = options.pop("program", Path(__file__).with_name("run_worker.py"))
    own = {"model_dir": str(artifact), "host": "127.0.0.1", "port": port, "grpc_port": free_port()}
    own |= _taken(options, {*own, "access_log"})
    most = str(options.pop("max_request_bytes", 2**20))
    config = WorkerConfig(
        name=options.pop("name", "digits"),
        revision="digits-1",
        parallelism=Parallelism(**_taken(options, Parallelism.model_fields)),
        serving=Serving(**{"drain_seconds": 2, **options}, max_request_bytes=most),
    )
    termination, log = folder / f"termination-{port}", folder / f"log-{port}"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(program), config.to_json(), json.dumps(own)],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "MODELPRESS_TERMINATION_MESSAGE": str(termination)},
        )
    return process, f"http://127.0.0.1:{own['port']}", termination, log


@contextlib.contextmanager
def worker(artifact: Path, folder: Path, **options: Any) -> Iterator[Worker]:
    """Run a worker process until the block ends."""
    options.setdefault("grpc_port", free_port())
    process, url, termination, log = start(artifact, folder, **options)
    try:
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_ready(client, process, log)
            yield Worker(process, url, client, termination, log, f"127.0.0.1:{options['grpc_port']}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)


def failure(process: subprocess.Popen[bytes], termination: Path, code: int) -> JobFailure:
    """Return what a worker that ended with `code` left behind."""
    assert process.wait(60) == code
    return JobFailure.model_validate_json(termination.read_bytes())


def wait_ready(
    client: httpx.Client, process: subprocess.Popen[bytes], log: Path, page: str = "/v2/health/ready"
) -> None:
    """Return when a page of the worker's health says yes."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get(page).status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"not ready: {log.read_text()}")
