"""Our worker beside kserve and litserve: wrk on one loopback, interleaved rounds, ratios inside one run.

    python -m tests.benchmarks.peers [CASE ...]

A CASE is a part of a title, or `batch`: our worker alone, beside the bare call of the interpreter.

Needs wrk on PATH (`apt-get install wrk`, or https://github.com/wg/wrk); without it, it says so and ends.
Peers are installed into environments of their own in the cache folder, which takes minutes once. They compute
the same float32 models: with TensorFlow, as their users do, and for the first cases also with LiteRT, so that
what is compared there is the serving alone. Each has its defaults: one process that computes, no batching.

No two of the 512 requests of a run are alike (64 of images): each has its own numbers, id and trace. Our
worker also gets one of them over and over, which must not matter much.
"""

import base64
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from filelock import FileLock

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.benchmarks.contestants import (
    Contestant,
    Post,
    Run,
    run_wrk,
    start_peer,
    start_worker,
    write_script,
)
from tests.support.servers.binaries import cache

PEERS = {"kserve": "kserve==0.21.0", "litserve": "litserve==0.2.19"}
RUNTIMES = ["tensorflow-cpu==2.21.0", "ai-edge-litert==2.3.0"]
TARGET_CALL_SECONDS = 1.16e-3
REQUESTS, IMAGES = 512, 64  # different ones
ROUNDS = int(os.environ.get("MODELPRESS_BENCH_ROUNDS", "3"))


class Form(Protocol):
    """How a server takes an array in a request with an id."""

    def __call__(self, values: Any, identity: str) -> Post: ...


@dataclass(frozen=True)
class Case:
    """Requests for one model, as each server speaks them."""

    title: str
    model: str
    connections: tuple[int, ...]
    forms: dict[str, Form]  # by the server's name
    arrays: Callable[[], list[Any]]
    target: str
    runtime: str = "tensorflow"

    def posts(self, name: str) -> list[Post]:
        """Return the requests for a server."""
        return [self.forms[name](values, str(uuid.uuid4())) for values in self.arrays()]


def post(path: str, body: bytes, identity: str, *more: tuple[str, str]) -> Post:
    """Return a request as an observed client sends it."""
    trace = f"00-{identity.replace('-', '')}-{identity.replace('-', '')[:16]}-01"
    headers = {"Content-Type": "application/json", "X-Request-Id": identity, "traceparent": trace}
    return Post(path, body, tuple((headers | dict(more)).items()))


def oip(values: Any, identity: str) -> Post:
    entry = {"name": "x", "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
    body = json.dumps({"id": identity, "inputs": [entry]}).encode()
    return post("/v2/models/digits/infer", body, identity)


def predict(values: Any, identity: str) -> Post:
    return post("/v1/models/digits:predict", json.dumps({"instances": values.tolist()}).encode(), identity)


def binary(values: Any, identity: str) -> Post:
    parameters = {"binary_data_size": values.nbytes}
    entry = {"name": "x", "datatype": "FP32", "shape": values.shape, "parameters": parameters}
    request = {"id": identity, "inputs": [entry], "parameters": {"binary_data_output": True}}
    head = json.dumps(request).encode()
    return post(
        "/v2/models/digits/infer",
        head + values.tobytes(),
        identity,
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )


def rows_json(values: Any, identity: str) -> Post:
    return post("/predict", json.dumps({"id": identity, "rows": values.tolist()}).encode(), identity)


def rows_base64(values: Any, identity: str) -> Post:
    text = base64.b64encode(values.tobytes()).decode()
    body = json.dumps({"id": identity, "base64": text, "shape": values.shape}).encode()
    return post("/predict", body, identity)


def everyone(ours: Form, litserve: Form) -> dict[str, Form]:
    return {"modelpress": ours, "kserve": ours, "litserve": litserve}


def rows(width: int) -> Callable[[], list[Any]]:
    return lambda: list(np.random.default_rng(1).random((REQUESTS, 1, width)).round(6))


def images() -> list[Any]:
    return list(np.random.default_rng(1).random((IMAGES, 1, 224, 224, 3), np.float32))


def cases() -> list[Case]:
    found = []
    for runtime in ("tensorflow", "litert"):
        for name, form in (("OIP v2 JSON", oip), ("TF Serving JSON", predict)):
            title = f"{name}, 64 features"
            connections = (1, 16, 128) if runtime == "tensorflow" else (16,)
            target = (
                "20x at 16 connections, 10x at 1 and 128"
                if runtime == "tensorflow"
                else "none: peers on LiteRT"
            )
            forms = everyone(form, rows_json)
            found.append(Case(title, "mlp", connections, forms, rows(64), target, runtime))
    for name, form in (("OIP v2 JSON", oip), ("TF Serving JSON", predict)):
        forms = everyone(form, rows_json)
        found.append(Case(f"{name}, 784 features", "wide", (16,), forms, rows(784), "15x"))
    title = "OIP v2 binary, 224x224x3 float32 (litserve: base64)"
    found.append(Case(title, "image", (1, 8), everyone(binary, rows_base64), images, "60x"))
    return found


def main(words: list[str] | None = None) -> None:
    if not shutil.which("wrk"):
        print("peers: wrk is not on PATH; install it with `apt-get install wrk` or from github.com/wg/wrk")
        return
    print(f"\n{machine()}; wrk -t1, median of {ROUNDS} interleaved rounds")
    chosen = [case for case in cases() if not words or any(word in case.title for word in words)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.peer_models", name], check=True, capture_output=True
        )
        groups = list(dict.fromkeys((case.model, case.runtime) for case in chosen))
        for model, runtime in groups:
            side_by_side(folder, [case for case in chosen if (case.model, case.runtime) == (model, runtime)])
        if not words or "batch" in words:
            batch_of_32(folder)


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.*)", text)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    name = found[1] if found else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, load average {load}"


@contextmanager
def servers(folder: Path, model: str, runtime: str) -> Iterator[list[Contestant]]:
    """Run our worker and the peers until the block ends."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(start_worker(folder / f"{model}.tflite", folder)),
            *(
                stack.enter_context(start_peer(name, environment(name), folder / model, runtime))
                for name in PEERS
            ),
        ]


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, made if need be."""
    target = cache() / f"peer-{PEERS[name]}"
    with FileLock(f"{target}.lock"):
        if not (target / "installed").exists():
            print(f"installing {PEERS[name]} and {', '.join(RUNTIMES)} into {target}, only once", flush=True)
            uv = shutil.which(
                "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            )
            assert uv, "uv is not installed: run `make setup`"
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(target)], check=True)
            install = [uv, "pip", "install", "--quiet", "--python", str(target / "bin" / "python")]
            subprocess.run([*install, PEERS[name], *RUNTIMES], check=True)
            (target / "installed").touch()
    return target / "bin" / "python"


def side_by_side(folder: Path, group: list[Case]) -> None:
    with servers(folder, group[0].model, group[0].runtime) as contestants:
        for contestant in contestants:
            contestant.wait_ready(group[0].posts(contestant.name)[0])
        for case in group:
            print(f"\n{case.title}; peers compute with {case.runtime}; target: {case.target}")
            scripts = [write_script(folder, one, case.posts(one.name)) for one in contestants]
            for connections in case.connections:
                compare(list(zip(contestants, scripts, strict=True)), connections)
                repeated(contestants[0], folder, case, connections)
        for contestant in contestants:
            print(
                f"{contestant.name:12}{contestant.resident_megabytes():6.0f} MB resident,"
                f" first answer {contestant.ready_seconds:.1f} s after the start"
            )


def compare(contestants: list[tuple[Contestant, Path]], connections: int) -> None:
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant, _ in contestants}
    for _ in range(ROUNDS):
        for contestant, script in contestants:
            runs[contestant.name].append(run_wrk(contestant, script, connections))
    rates = {name: median(run.rate for run in found) for name, found in runs.items()}
    better = max(rates[name] for name in PEERS)
    for name, found in runs.items():
        show(
            name, found, connections, f"{rates['modelpress'] / better:6.1f}x" if name == "modelpress" else ""
        )


def show(name: str, found: list[Run], connections: int, ratio: str) -> None:
    print(
        f"{connections:4} connections  {name:12}{median(run.rate for run in found):9.0f}/s {ratio:7}"
        f"   p50 {median(run.p50 for run in found) * 1e3:8.2f} ms"
        f"   p99 {median(run.p99 for run in found) * 1e3:8.2f} ms"
        f"   CPU {median(run.cpu for run in found) * 1e6:7.0f} us/request"
    )


def repeated(ours: Contestant, folder: Path, case: Case, connections: int) -> None:
    """Print what our worker does where a client repeats one request to the byte."""
    own = folder / "repeated"
    own.mkdir(exist_ok=True)
    script = write_script(own, ours, case.posts(ours.name)[:1])
    show("  repeated", [run_wrk(ours, script, connections) for _ in range(ROUNDS)], connections, "")


def batch_of_32(folder: Path) -> None:
    """The time of a request of 32 rows over that of the bare interpreter call with them.

    Reading takes as long for every model, so the ratio says something only beside the length of the call. The
    targets come from where that was 1.16 ms: wider models follow each other until a call takes as long here.
    """
    values = np.random.default_rng(1).random((32, 784)).round(6)
    inputs = [values.astype("float32")]
    posts = {
        "binary": binary(inputs[0], "32"),
        "OIP v2 JSON": oip(values, "32"),
        "TF Serving JSON": predict(values, "32"),
    }
    print(
        "\n32 rows of 784 features: p50 at 1 connection, and time per request at 4, over the bare call;"
        f"\ntarget where that takes {TARGET_CALL_SECONDS * 1e3} ms or more: 1.2 in binary, 1.6 in JSON"
    )
    for model in sorted(folder.glob("heavy-*.tflite"), key=lambda path: path.stat().st_size):
        executor = LiteRTExecutor(model)
        bare_seconds(executor, inputs)
        with start_worker(model, folder) as ours:
            ours.wait_ready(posts["binary"])
            bare = partial(bare_seconds, executor, inputs)
            calls = [over_bare(ours, folder, post, name, bare) for name, post in posts.items()]
        if min(calls) >= TARGET_CALL_SECONDS:
            return


def over_bare(ours: Contestant, folder: Path, post: Post, name: str, bare: Callable[[], float]) -> float:
    """Print how long a request takes beside the bare call, whose time is returned."""
    alone: list[float] = []
    shared: list[float] = []
    calls = []
    for _ in range(ROUNDS):
        for connections, found in ((1, alone), (4, shared)):
            before = bare()
            run = run_wrk(ours, write_script(folder, ours, [post]), connections)
            calls.append((before + bare()) / 2)
            found.append((run.p50 if connections == 1 else 1 / run.rate) / calls[-1])
    call = median(calls)
    print(
        f"{name:16} bare call {call * 1e3:5.2f} ms: {median(alone):5.2f} times it at 1 connection,"
        f" {median(shared):5.2f} at 4"
    )
    return call


def bare_seconds(executor: LiteRTExecutor, inputs: list[Any]) -> float:
    """Return the median time of bare calls."""
    times = []
    for _ in range(300):
        start = time.perf_counter()
        executor.run(inputs)
        times.append(time.perf_counter() - start)
    return median(times)


if __name__ == "__main__":
    main(sys.argv[1:])
