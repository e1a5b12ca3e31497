"""Servers of the side-by-side run as processes, and wrk against them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
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

    def wait_ready(self, post: "Post") -> None:
        """Wait for the first answer to an inference request."""
        deadline = time.monotonic() + 180
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    answer = client.post(post.path, content=post.body, headers=dict(post.headers))
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
class Post:
    """A request of one server."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


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


def write_script(folder: Path, contestant: Contestant, posts: Sequence[Post]) -> Path:
    """Write a script for wrk that sends the requests in turn, and return its path."""
    host = contestant.url.removeprefix("http://")
    content = folder / f"{contestant.name}.requests"
    places, end = [], 0
    with content.open("wb") as stream:
        for post in posts:
            lines = [f"POST {post.path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(post.body)}"]
            lines += [f"{name}: {value}" for name, value in post.headers]
            end += stream.write("\r\n".join([*lines, "", ""]).encode() + post.body)
            places.append(str(end))
    script = folder / f"{contestant.name}.lua"
    script.write_text(
        f"local ends, file = {{{','.join(places)}}}, io.open({json.dumps(str(content))}, 'rb')\n"
        "local requests, start, turn = {}, 0, 0\n"
        "for number, stop in ipairs(ends) do requests[number] = file:read(stop - start); start = stop end\n"
        "function request() turn = turn % #requests + 1; return requests[turn] end\n"
    )
    return script


def run_wrk(contestant: Contestant, script: Path, connections: int) -> Run:
    """Send a script's requests on each connection. Raises RuntimeError where an answer is not 200."""
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
