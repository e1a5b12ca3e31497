"""Our worker beside kserve and litserve: wrk on one loopback, interleaved rounds, ratios inside one run.

    python -m tests.benchmarks.peers [CASE ...]

A CASE is a part of a title, or `batch`: our worker alone, beside the bare call of the interpreter.

Needs wrk on PATH (`apt-get install wrk`, or https://github.com/wg/wrk); without it, it says so and ends.
Peers are installed into environments of their own in the cache folder, which takes minutes once. They compute
the same float32 models: with TensorFlow, as their users do, and for the first cases also with LiteRT, so that
what is compared there is the serving alone. Each has its defaults: one process that computes, no batching.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from filelock import FileLock

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.benchmarks.contestants import Contestant, Run, run_wrk, start_peer, start_worker
from tests.support.binaries import cache

PEERS = {"kserve": "kserve==0.21.0", "litserve": "litserve==0.2.19"}
RUNTIMES = ["tensorflow-cpu==2.21.0", "ai-edge-litert==2.3.0"]
TARGET_CALL_SECONDS = 1.16e-3
ROUNDS = int(os.environ.get("MODELPRESS_BENCH_ROUNDS", "3"))


@dataclass(frozen=True)
class Post:
    """A request of one server."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass(frozen=True)
class Case:
    """One request, as each server speaks it."""

    title: str
    model: str
    connections: tuple[int, ...]
    posts: dict[str, Post]  # by the server's name
    target: str
    runtime: str = "tensorflow"


def oip(values: Any) -> Post:
    entry = {"name": "x", "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
    return Post("/v2/models/digits/infer", json.dumps({"inputs": [entry]}).encode())


def predict(values: Any) -> Post:
    return Post("/v1/models/digits:predict", json.dumps({"instances": values.tolist()}).encode())


def binary(values: Any) -> Post:
    parameters = {"binary_data_size": values.nbytes}
    entry = {"name": "x", "datatype": "FP32", "shape": values.shape, "parameters": parameters}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )
    return Post("/v2/models/digits/infer", head + values.tobytes(), headers)


def rows_json(values: Any) -> Post:
    return Post("/predict", json.dumps({"rows": values.tolist()}).encode())


def rows_base64(values: Any) -> Post:
    text = base64.b64encode(values.tobytes()).decode()
    return Post("/predict", json.dumps({"base64": text, "shape": values.shape}).encode())


def everyone(ours: Post, litserve: Post) -> dict[str, Post]:
    return {"modelpress": ours, "kserve": ours, "litserve": litserve}


def cases() -> list[Case]:
    random = np.random.default_rng(1)
    row = random.random((1, 64)).round(6)
    wide = random.random((1, 784)).round(6)
    image = random.random((1, 224, 224, 3), np.float32)
    found = []
    for runtime in ("tensorflow", "litert"):
        for name, make in (("OIP v2 JSON", oip), ("TF Serving JSON", predict)):
            posts = everyone(make(row), rows_json(row))
            title = f"{name}, 64 features"
            connections = (1, 16, 128) if runtime == "tensorflow" else (16,)
            target = (
                "20x at 16 connections, 10x at 1 and 128"
                if runtime == "tensorflow"
                else "none: peers on LiteRT"
            )
            found.append(Case(title, "mlp", connections, posts, target, runtime))
    for name, make in (("OIP v2 JSON", oip), ("TF Serving JSON", predict)):
        posts = everyone(make(wide), rows_json(wide))
        found.append(Case(f"{name}, 784 features", "wide", (16,), posts, "15x"))
    posts = everyone(binary(image), rows_base64(image))
    found.append(Case("OIP v2 binary, 224x224x3 float32 (litserve: base64)", "image", (1, 8), posts, "60x"))
    return found


def main(wanted: list[str] | None = None) -> None:
    if not shutil.which("wrk"):
        print("peers: wrk is not on PATH; install it with `apt-get install wrk` or from github.com/wg/wrk")
        return
    print(f"\n{machine()}; wrk -t1, median of {ROUNDS} interleaved rounds")
    chosen = [case for case in cases() if not wanted or any(word in case.title for word in wanted)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.peer_models", name], check=True, capture_output=True
        )
        groups = list(dict.fromkeys((case.model, case.runtime) for case in chosen))
        for model, runtime in groups:
            side_by_side(folder, [case for case in chosen if (case.model, case.runtime) == (model, runtime)])
        if not wanted or "batch" in wanted:
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
            post = group[0].posts[contestant.name]
            contestant.wait_ready(post.path, post.body, dict(post.headers))
        for case in group:
            print(f"\n{case.title}; peers compute with {case.runtime}; target: {case.target}")
            for connections in case.connections:
                compare(folder, contestants, case, connections)
        for contestant in contestants:
            print(
                f"{contestant.name:12}{contestant.resident_megabytes():6.0f} MB resident,"
                f" first answer {contestant.ready_seconds:.1f} s after the start"
            )


def compare(folder: Path, contestants: list[Contestant], case: Case, connections: int) -> None:
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for _ in range(ROUNDS):
        for contestant in contestants:
            post = case.posts[contestant.name]
            runs[contestant.name].append(
                run_wrk(contestant, folder, post.path, post.body, dict(post.headers), connections)
            )
    rates = {name: median(run.rate for run in found) for name, found in runs.items()}
    better = max(rates[name] for name in PEERS)
    for name, found in runs.items():
        ratio = f"{rates['modelpress'] / better:6.1f}x" if name == "modelpress" else " " * 7
        print(
            f"{connections:4} connections  {name:12}{rates[name]:9.0f}/s {ratio}"
            f"   p50 {median(run.p50 for run in found) * 1e3:8.2f} ms"
            f"   p99 {median(run.p99 for run in found) * 1e3:8.2f} ms"
            f"   CPU {median(run.cpu for run in found) * 1e6:7.0f} us/request"
        )


def batch_of_32(folder: Path) -> None:
    """The time of a request of 32 rows over that of the bare interpreter call with them.

    Reading takes as long for every model, so the ratio says something only beside the length of the call. The
    targets come from where that was 1.16 ms: wider models follow each other until a call takes as long here.
    """
    values = np.random.default_rng(1).random((32, 784)).round(6)
    inputs = [values.astype("float32")]
    posts = {"binary": binary(inputs[0]), "OIP v2 JSON": oip(values), "TF Serving JSON": predict(values)}
    print(
        "\n32 rows of 784 features: p50 at 1 connection, and time per request at 4, over the bare call;"
        f"\ntarget where that takes {TARGET_CALL_SECONDS * 1e3} ms or more: 1.2 in binary, 1.6 in JSON"
    )
    for model in sorted(folder.glob("heavy-*.tflite"), key=lambda path: path.stat().st_size):
        executor = LiteRTExecutor(model)
        bare_seconds(executor, inputs)
        with start_worker(model, folder) as ours:
            post = posts["binary"]
            ours.wait_ready(post.path, post.body, dict(post.headers))
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
            run = run_wrk(ours, folder, post.path, post.body, dict(post.headers), connections)
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
