"""gRPC with raw contents, one row of 64 numbers a request: our worker beside kserve, interleaved in one run.

`python -m tests.benchmarks.grpc_peers` takes half a minute once kserve is installed in an environment of
its own, and a third of it with MODELPRESS_BENCH_ROUNDS=1. Ratios are those of medians: our requests per
second over kserve's, and kserve's CPU time for a request over ours, which other load on the machine moves
less. Each call has a body, an id and a trace of its own; each connection has one call at a time. Before and
after, a client of grpcio checks that both servers answer with numbers of the model.
"""

import contextlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import psutil

from modelpress.serving.grpc import messages as pb
from tests.benchmarks.grpc_load import Load, calls, run
from tests.support.servers import environments
from tests.support.serving.artifacts import convert, free_port, make_artifact, worker

KSERVE = ("kserve==0.21.0",)
ROUNDS = int(os.environ.get("MODELPRESS_BENCH_ROUNDS", "3"))
SECONDS = 1
END_SECONDS = 10
ANSWER_BYTES = 40  # ten numbers
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, gRPC, raw contents, 1 row")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert(folder)
        artifact = make_artifact(folder / "seed-float32.tflite", folder / "artifact")
        # connections that live longer than a run
        with worker(artifact, folder, drain_seconds=3600) as ours, kserve() as theirs:
            compare({"ours": (ours.grpc, ours.process.pid), "kserve": theirs})
            for address in (ours.grpc, theirs[0]):
                wait(address)


@contextlib.contextmanager
def kserve() -> Iterator[tuple[str, int]]:
    """Run the peer; yields its address and process id."""
    port = free_port()
    program = Path(__file__).with_name("kserve_grpc.py")
    command = [str(environments.python("kserve", KSERVE)), str(program), str(free_port()), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # it waits for connections that clients keep
            process.kill()
            process.wait()


def compare(servers: dict[str, tuple[str, int]]) -> None:
    print(f"{'':24}{'requests/s':>12}{'us CPU/request':>16}{'p50 ms':>9}{'p99 ms':>9}{'MB':>6}")
    for address, _ in servers.values():
        wait(address)
    for connections in (1, 16, 64):
        found: dict[str, list[list[float]]] = {server: [] for server in servers}
        for _ in range(ROUNDS):
            for server, (address, pid) in servers.items():
                found[server].append(measure(address, pid, connections))
        medians = {
            server: [median(column) for column in zip(*runs, strict=True)] for server, runs in found.items()
        }
        for server, (rate, cpu, p50, p99, memory) in medians.items():
            title = f"{server}, {connections} connections"
            print(f"{title:24}{rate:12.0f}{cpu * 1e6:16.0f}{p50 * 1e3:9.2f}{p99 * 1e3:9.2f}{memory:6.0f}")
        ours, theirs = medians["ours"], medians["kserve"]
        print(f"{'ratio':24}{ours[0] / theirs[0]:11.1f}x{theirs[1] / ours[1]:15.1f}x", flush=True)


def wait(address: str) -> None:
    """Wait until a server answers a request."""
    deadline = time.monotonic() + 120
    while True:
        with grpc.insecure_channel(address) as channel:
            try:
                answer = pb.ModelInferResponse.FromString(channel.unary_unary(METHOD)(request(), timeout=5))
                assert len(answer.raw_output_contents[0]) == ANSWER_BYTES
                return
            except grpc.RpcError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{address} does not answer") from error
        time.sleep(0.2)


def request() -> bytes:
    row = np.random.default_rng(0).random((1, 64), dtype="float32")
    message = pb.ModelInferRequest(model_name="digits", raw_input_contents=[row.tobytes()])
    message.inputs.add(name="images", datatype="FP32", shape=row.shape)
    return bytes(message.SerializeToString())


def measure(address: str, pid: int, connections: int) -> list[float]:
    """Return requests per second, CPU seconds per request, the median and p99 in seconds, and megabytes."""
    process = psutil.Process(pid)
    load = Load(SECONDS, calls(METHOD))
    before = process.cpu_times()
    run(int(address.rpartition(":")[2]), connections, load)
    after = process.cpu_times()
    assert not load.failed
    times = sorted(load.took)
    count = len(times)
    cpu = after.user + after.system - before.user - before.system
    memory = process.memory_info().rss / 1e6
    return [count / SECONDS, cpu / count, times[count // 2], times[int(count * 0.99)], memory]


if __name__ == "__main__":
    main()
