"""Servers of the side-by-side run as processes, and wrk against them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.support.serving.artifacts import free_port, make_artifact, start

SECONDS = int(os.environ.get("MODELPRESS_BENCH_SECONDS", "3"))  # wrk takes whole ones
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass
class Contestant:
    """A server, from its start on."""

    name: str
    process: psutil.Process
    url: str
    started: float
    log: Path
    ready_seconds: float = 0.0

    def wait_ready(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Wait for the first answer to an inference request."""
        deadline = time.monotonic() + 180
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    answer = client.post(path, content=body, headers=headers)
                    if answer.status_code == 200:
                        self.ready_seconds = time.monotonic() - self.started
                        return
                    if answer.status_code in (400, 422, 500):
                        raise RuntimeError(f"{self.name} answers {answer.status_code}: {answer.text[:500]}")
                if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not answer: {self.log.read_text()[-2000:]}")

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._all())

    def resident_megabytes(self) -> float:
        return float(sum(process.memory_info().rss for process in self._all())) / 1e6

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def stop(self) -> None:
        """End the process and its children."""
        processes = self._all()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(processes, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@dataclass(frozen=True)
class Run:
    """What wrk measured; seconds, and answers in a second."""

    rate: float
    p50: float
    p99: float
    cpu: float  # of the server, for one request


@contextlib.contextmanager
def start_worker(model: Path, folder: Path) -> Iterator[Contestant]:
    """Run our worker as a pod would, TensorFlow refused."""
    artifact = folder / f"artifact-{model.stem}"
    make_artifact(model, artifact, ["x"], ["y"])
    started = time.monotonic()
    process, url, _, log = start(artifact, folder, max_request_bytes=2**26)
    contestant = Contestant("modelpress", psutil.Process(process.pid), url, started, log)
    try:
        yield contestant
    finally:
        contestant.stop()


@contextlib.contextmanager
def start_peer(name: str, python: Path, stem: Path, runtime: str) -> Iterator[Contestant]:
    """Run a peer's program in its environment."""
    port = free_port()
    program = Path(__file__).parent / "peer_servers" / f"{name}_peer.py"
    log = stem.with_name(f"{name}.log")
    started = time.monotonic()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(python), str(program), str(stem), runtime, str(port)],
            stdout=output,
            stderr=output,
            env=environment,
        )
    contestant = Contestant(name, psutil.Process(process.pid), f"http://127.0.0.1:{port}", started, log)
    try:
        yield contestant
    finally:
        contestant.stop()


def run_wrk(
    contestant: Contestant, folder: Path, path: str, body: bytes, headers: dict[str, str], connections: int
) -> Run:
    """Post `body` over and over on each connection. Raises RuntimeError where an answer is not 200."""
    content = folder / "body"
    content.write_bytes(body)
    script = folder / "post.lua"
    lines = [f'wrk.method = "POST"; wrk.path = {json.dumps(path)}']
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    lines += [f'wrk.body = io.open({json.dumps(str(content))}, "rb"):read("*a")']
    script.write_text("\n".join(lines))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script)]
    cpu = contestant.cpu_seconds()
    text = subprocess.run([*command, contestant.url], check=True, capture_output=True, text=True).stdout
    cpu = contestant.cpu_seconds() - cpu
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{contestant.name}: {text}")
    count = int(re.findall(r"(\d+) requests in", text)[0])
    return Run(
        rate=float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0]),
        p50=_percentile(text, 50),
        p99=_percentile(text, 99),
        cpu=cpu / count,
    )


def _percentile(text: str, percent: int) -> float:
    value, unit = re.findall(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", text)[0]
    return float(value) * _UNITS[unit]
