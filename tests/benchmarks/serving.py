"""Ratios of the worker, each inside one run: batching, HTTP against bare calls, data and pipeline copies.

Run with `python -m tests.benchmarks.serving` from the repository's root; it takes about a minute.
"""

import asyncio
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from modelpress.api.schemes import Scheme
from modelpress.api.spec import Parallelism
from modelpress.compression import schemes
from modelpress.compression.formats.litert import edge_quantizer
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.loading import load
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Stage
from tests.support.serving.artifacts import Worker, convert, examples, make_artifact, worker

ROUNDS = 5
BATCHES = 40  # enough that filling and draining a pipeline hardly counts


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert(folder)
        batch_sizes(folder)
        copies(folder)
        memory(folder)
        http(folder)


def best(call: Callable[[], Any], seconds: float = 0.2) -> float:
    """Return the seconds of the fastest call within some time."""
    fastest = np.inf
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return float(fastest)


def batch_sizes(folder: Path) -> None:
    print("\nexecutor, microseconds a row (cost of a row at batch 1 / at this batch)")
    print(f"{'model':14}" + "".join(f"{rows:>16}" for rows in (1, 4, 8, 32, 64)))
    for model in ("seed-int8", "skip-int8", "slow-int8", "slow-float32"):
        path = folder / f"{model}.tflite"
        executor = LiteRTExecutor(path)
        cells = []
        for rows in (1, 4, 8, 32, 64):
            inputs = examples(path, rows)
            cells.append(best(partial(executor.run, inputs)) / rows * 1e6)
        print(f"{model:14}" + "".join(f"{cell:8.2f} ({cells[0] / cell:4.1f})" for cell in cells))


def copies(folder: Path) -> None:
    """Batches of 20 ms and more, as many at a time as the worker gives; the best of interleaved rounds.

    Two interpreters on two bare threads show what the machine has left for a second thread.
    """
    print("\nexecutor, time of one thread / time of this layout; milliseconds a batch")
    path = folder / "slow-float32.tflite"
    artifact = make_artifact(path, folder / "slow")
    layouts = {(1, 1): 0.0, (2, 1): 0.0, (1, 2): 0.0}
    runs = {}
    for data, pipeline in layouts:
        chains = load(artifact, Parallelism(data=data, pipeline=pipeline)).copies
        runs[data, pipeline] = DataParallel(
            [Pipeline([Stage(executor, "stage") for executor in chain]) for chain in chains]
        )
    inputs = examples(path, 1536)
    fastest = dict.fromkeys(layouts, float("inf"))
    bare, threads = float("inf"), [LiteRTExecutor(path), LiteRTExecutor(path)]
    for _ in range(ROUNDS):
        for layout, run in runs.items():
            fastest[layout] = min(fastest[layout], batch_seconds(run, inputs, depth=layout[1]))
        bare = min(bare, bare_threads(threads, inputs))
    for (data, pipeline), seconds in fastest.items():
        print(f"data {data}, pipeline {pipeline}: {fastest[1, 1] / seconds:5.2f}   {seconds * 1e3:7.1f} ms")
    print(f"two bare threads:    {fastest[1, 1] / bare:5.2f}   {bare * 1e3:7.1f} ms")
    for run in runs.values():
        run.close()


def batch_seconds(run: DataParallel, inputs: list[Any], depth: int) -> float:
    """Return the seconds of one of many batches, of which `depth` are under way at the same time."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start = time.perf_counter()
    for number in range(BATCHES + depth):
        if number >= depth:
            assert not isinstance(done.get(), Exception)
        if number < BATCHES:
            run.submit(inputs, done.put)
    return (time.perf_counter() - start) / BATCHES


def bare_threads(executors: list[LiteRTExecutor], inputs: list[Any]) -> float:
    """Return the seconds of one of many calls, half of them on each of two threads."""

    def work(executor: LiteRTExecutor) -> None:
        for _ in range(BATCHES // 2):
            executor.run(inputs)

    threads = [threading.Thread(target=work, args=(executor,)) for executor in executors]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - start) / BATCHES


def memory(folder: Path) -> None:
    """What copies and stages of a model cost: the file is mapped, XNNPACK packs weights per interpreter."""
    print("\nmemory of a worker with a large model, MB")
    path = folder / "slow-float32.tflite"  # instead of the smaller one, which was measured before
    program = Path(__file__).with_name("large_model.py")
    subprocess.run([sys.executable, str(program), str(path)], check=True, capture_output=True)
    print(f"{'layout':44}{'peak resident':>16}{'resident':>10}{'of it mapped files':>20}")
    for scheme in (None, Scheme.INT8_DYNAMIC, Scheme.INT8_WEIGHTS, Scheme.INT4_DYNAMIC):
        label = scheme.value if scheme else "float32"
        model = folder / f"slow-{label}.tflite"
        if scheme:
            edge_quantizer.quantize(path, model, schemes.litert(scheme).quantizer)
        artifact = make_artifact(model, folder / f"large-{label}")
        name = f"{label}, file {model.stat().st_size / 1e6:.0f} MB"
        for data, pipeline in ((1, 1), (2, 1), (1, 2), (2, 2)):
            with worker(artifact, folder, data=data, pipeline=pipeline) as running:
                pid = running.process.pid
                info, peak = psutil.Process(pid).memory_info(), peak_resident(pid)
                layout = f"{name}, data {data}, pipeline {pipeline}"
                print(f"{layout:44}{peak / 1e6:16.0f}{info.rss / 1e6:10.0f}{info.shared / 1e6:20.0f}")


def peak_resident(pid: int) -> int:
    """Return the bytes that a process had resident at most; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def http(folder: Path) -> None:
    print("\nHTTP, JSON, seed model as int8: one event loop of clients on the same machine")
    artifact = make_artifact(folder / "seed-int8.tflite", folder / "seed")
    executor = LiteRTExecutor(folder / "seed-int8.tflite")
    print(f"{'':40}{'requests/s':>12}{'CPU us/request':>16}{'time / bare call':>18}")
    with worker(artifact, folder) as running:
        for protocol in ("oip", "tfserving"):
            for rows, connections in ((1, 1), (1, 16), (1, 128), (32, 1)):
                body = request(protocol, rows)
                cpu = cpu_seconds(running)
                seconds, count = asyncio.run(drive(running.url, body, connections))
                cpu = cpu_seconds(running) - cpu
                inputs = [np.full((rows, 64), 0.25, "float32")]
                bare = best(partial(executor.run, inputs))
                print(
                    f"{protocol:10}{rows:3} rows, {connections:3} connections{'':8}{count / seconds:12.0f}"
                    f"{cpu / count * 1e6:16.1f}{seconds / count / bare:18.1f}"
                )
        memory = psutil.Process(running.process.pid).memory_info().rss / 1e6
        print(f"resident memory of the worker: {memory:.0f} MB")


def cpu_seconds(running: Worker) -> float:
    times = psutil.Process(running.process.pid).cpu_times()
    return float(times.user + times.system)


def request(protocol: str, rows: int) -> bytes:
    data = [[0.25] * 64] * rows
    if protocol == "oip":
        path = "/v2/models/digits/infer"
        body = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [rows, 64], "data": data}]}
    else:
        path, body = "/v1/models/digits:predict", {"instances": data}  # type: ignore[dict-item]
    content = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def drive(url: str, body: bytes, connections: int, seconds: float = 2.0) -> tuple[float, int]:
    """Send `body` over and over on each connection; returns the time and the number of answers."""
    host, port = url.removeprefix("http://").split(":")
    end = time.perf_counter() + seconds

    async def connection() -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        count = 0
        while time.perf_counter() < end:
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            count += 1
        writer.close()
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(connection() for _ in range(connections)))
    return time.perf_counter() - start, sum(counts)


if __name__ == "__main__":
    main()
