"""All kinds of callers at a worker at once, for as long as one likes: right ones, wrong ones, and rude ones.

Every right answer is compared with what the bare interpreter computes for the same input, which no other
request has. Callers are few and rest between requests, so that nothing is refused for being too much.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil

from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.grpc import messages as pb
from tests.support.serving.artifacts import Worker, worker
from tests.support.serving.grpc_client import SERVICE, until
from tests.support.serving.grpc_client import request as grpc_request
from tests.support.serving.mutations import INFER, PREDICT, post
from tests.support.serving.oip_requests import request

GRPC_INFER = f"{SERVICE}ModelInfer"
GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
GRPC_HEALTH = "/grpc.health.v1.Health/Check"
MAX_BATCH_SIZE = 64  # of the worker
MOST_ROWS = 40  # of a usual request
LONG_ROWS = 400  # of one of many batches, for which there is room beside others of its kind
REST_SECONDS = 0.1  # at most, between two requests of a caller
CLOSED = 499
PROTOCOLS = ("oip-rest", "tfserving-rest", "oip-grpc", "tfserving-grpc")

# Requests that are wrong, the code that they get, and the protocol that they are counted for.
WRONG_HTTP: list[tuple[str, str, bytes, int, str]] = [
    ("POST", INFER.decode(), b"{", 400, "oip-rest"),
    ("POST", INFER.decode(), b'{"inputs": [{"name": "other"}]}', 400, "oip-rest"),
    ("POST", PREDICT.decode(), b'{"instances": [[1, 2]]}', 400, "tfserving-rest"),
    ("POST", PREDICT.decode(), b'{"instances": ' + b"[" * 2000, 400, "tfserving-rest"),
    ("POST", "/v2/models/other/infer", b"{}", 404, "http"),
    ("GET", INFER.decode(), b"", 405, "http"),
    ("GET", "/nowhere", b"", 404, "http"),
    ("POST", INFER.decode(), bytes(2**20 + 1), 413, "oip-rest"),
]
WRONG_GRPC: list[tuple[str, bytes, int, str]] = [
    (GRPC_INFER, pb.ModelInferRequest(model_name="other").SerializeToString(), 404, "oip-grpc"),
    (GRPC_INFER, pb.ModelInferRequest(model_name="digits").SerializeToString(), 400, "oip-grpc"),
    (GRPC_INFER, b"\xff" * 100, 400, "oip-grpc"),
    (GRPC_PREDICT, b"", 400, "tfserving-grpc"),
    ("/no.such.Service/Method", b"", 501, "grpc"),
]
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    501: grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass
class Soaked:
    """What was seen."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # by protocol and code
    unsure: Counter[str] = field(default_factory=Counter)  # requests whose caller left, by protocol
    wrong: list[str] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, bytes


def run(artifact: Path, model: Path, folder: Path, seconds: float) -> Soaked:
    """Let all callers use a worker of `artifact` for so many seconds, and see what they leave behind.

    All answers must be those of the file `model`, and none of the worker's files and connections be left.
    """
    found = Soaked()
    with worker(artifact, folder, max_batch_size=MAX_BATCH_SIZE, drain_seconds=10) as running:
        process = psutil.Process(running.process.pid)
        running.client.close()  # its connections are those of the callers alone
        until(lambda: not _connections(process))
        before = process.num_fds()
        asyncio.run(_Callers(running, LiteRTExecutor(model), found).run(seconds))
        until(lambda: not _connections(process))
        until(lambda: process.num_fds() <= before)
        _check_counts(running, found)
        log = running.log.read_text()
    assert not found.wrong, found.wrong[:10]
    assert all(found.answers[protocol, 200] for protocol in PROTOCOLS), found.answers
    assert "Traceback" not in log, log
    assert '"level": "ERROR"' not in log, log
    return found


def resident(found: Soaked, warm: float, window: float) -> tuple[float, float, float]:
    """Return medians of the resident memory in MB, of `window` seconds: after `warm`, midway, at the end."""
    last = found.resident[-1][0]
    starts = (warm, (warm + last - window) / 2, last - window)
    early, middle, late = (
        float(np.median([size for at, size in found.resident if start <= at <= start + window])) / 1e6
        for start in starts
    )
    return early, middle, late


def _connections(process: psutil.Process) -> list[Any]:
    """Return the connections that clients have."""
    return [one for one in process.net_connections() if one.status == psutil.CONN_ESTABLISHED]


def _check_counts(running: Worker, found: Soaked) -> None:
    """Compare the worker's metrics with what was sent; a caller that left may be counted as either."""
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    assert {"modelpress_in_flight 0.0", "modelpress_queue_rows 0.0"} <= set(lines)
    counted: Counter[tuple[str, int]] = Counter()
    for line in lines:
        if line.startswith("modelpress_requests_total{"):
            _, label, _, protocol, count = line.split('"')
            counted[protocol, int(label)] = int(float(count.removeprefix("} ")))
    for protocol, code in counted | found.answers:
        more = counted[protocol, code] - found.answers[protocol, code]
        most = found.unsure[protocol] if code in (200, CLOSED) else 0
        assert 0 <= more <= most, f"{protocol} {code}: {more} more than the answers, {dict(counted)}"


class _Callers:
    def __init__(self, running: Worker, reference: LiteRTExecutor, found: Soaked) -> None:
        self.worker, self.reference, self.found = running, reference, found
        self.random = np.random.default_rng(0)
        self.chance = random.Random(0)
        host, port = running.url.removeprefix("http://").split(":")
        self.address = host, int(port)

    async def run(self, seconds: float) -> None:
        self.start, self.end = time.monotonic(), time.monotonic() + seconds
        kinds: list[Callable[[], Awaitable[None]]] = [
            *(self.oip_json, self.oip_raw, self.rows, self.columns) * 2,
            *(self.grpc_oip, self.grpc_typed, self.grpc_predict) * 2,
            *(self.wrong_http, self.wrong_grpc, self.leaves_early, self.leaves_late),
            *(self.leaves_grpc, self.sends_slowly, self.reads_slowly),
        ]
        async with (
            httpx.AsyncClient(base_url=self.worker.url, timeout=60) as self.client,
            grpc.aio.insecure_channel(self.worker.grpc) as self.channel,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self.watch())
            for kind in kinds:
                group.create_task(self.repeat(kind))

    async def repeat(self, kind: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.end:
            await kind()
            await asyncio.sleep(self.chance.uniform(0, REST_SECONDS))

    async def watch(self) -> None:
        """Ask for health, and note the memory, once a second."""
        process = psutil.Process(self.worker.process.pid)
        async with httpx.AsyncClient(base_url=self.worker.url, timeout=60) as client:
            while time.monotonic() < self.end:
                for page in ("/v2/health/live", "/v2/health/ready", "/metrics"):
                    assert (await client.get(page)).status_code == 200
                assert await self.channel.unary_unary(GRPC_HEALTH)(b"", timeout=60) == b"\x08\x01"
                self.found.answers["grpc", 200] += 1
                self.found.resident.append((time.monotonic() - self.start, process.memory_info().rss))
                await asyncio.sleep(1)

    def images(self, rows: int | None = None) -> Any:
        count = rows or self.chance.randint(1, MOST_ROWS)
        return self.random.random((count, 64), dtype="float32")

    def compare(self, protocol: str, images: Any, answer: Any) -> None:
        """Note an answer, and whether it is that of the bare interpreter, to the last bit."""
        self.found.answers[protocol, 200] += 1
        given = np.asarray(answer, "float32").reshape(len(images), -1)
        if given.tobytes() != self.reference.run([images])[0].tobytes():
            self.found.wrong.append(f"{protocol}: {len(images)} rows")

    async def post(self, path: bytes, **request: Any) -> httpx.Response:
        answer = await self.client.post(path.decode(), **request)
        assert answer.status_code == 200, answer.text
        return answer

    async def oip_json(self) -> None:
        images = self.images()
        answer = await self.post(INFER, json=request(images, id=str(self.chance.random())))
        self.compare("oip-rest", images, answer.json()["outputs"][0]["data"])

    async def oip_raw(self) -> None:
        images = self.images()
        entry = {
            "name": "images",
            "datatype": "FP32",
            "shape": images.shape,
            "parameters": {"binary_data_size": images.nbytes},
        }
        head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = await self.post(INFER, content=head + images.tobytes(), headers=headers)
        tail = answer.content[int(answer.headers["Inference-Header-Content-Length"]) :]
        self.compare("oip-rest", images, np.frombuffer(tail, "float32"))

    async def rows(self) -> None:
        images = self.images()
        answer = await self.post(PREDICT, json={"instances": images.tolist()})
        self.compare("tfserving-rest", images, answer.json()["predictions"])

    async def columns(self) -> None:
        images = self.images()
        answer = await self.post(PREDICT, json={"inputs": {"images": images.tolist()}})
        self.compare("tfserving-rest", images, answer.json()["outputs"])

    async def call(self, path: str, message: Any) -> bytes:
        answer = await self.channel.unary_unary(path)(message.SerializeToString(), timeout=60)
        return bytes(answer)

    async def grpc_oip(self) -> None:
        images = self.images()
        answer = pb.ModelInferResponse.FromString(await self.call(GRPC_INFER, grpc_request(images)))
        self.compare("oip-grpc", images, np.frombuffer(answer.raw_output_contents[0], "float32"))

    async def grpc_typed(self) -> None:
        images = self.images()
        message = pb.ModelInferRequest(model_name="digits")
        entry = message.inputs.add(name="images", datatype="FP32", shape=images.shape)
        entry.contents.fp32_contents.extend(images.ravel().tolist())
        answer = pb.ModelInferResponse.FromString(await self.call(GRPC_INFER, message))
        self.compare("oip-grpc", images, answer.outputs[0].contents.fp32_contents)

    async def grpc_predict(self) -> None:
        images = self.images()
        message = pb.PredictRequest()
        message.model_spec.name = "digits"
        tensor = message.inputs["images"]
        tensor.dtype, tensor.tensor_content = 1, images.tobytes()
        for size in images.shape:
            tensor.tensor_shape.dim.add(size=size)
        answer = pb.PredictResponse.FromString(await self.call(GRPC_PREDICT, message))
        self.compare("tfserving-grpc", images, answer.outputs["probabilities"].float_val)

    async def wrong_http(self) -> None:
        method, path, body, code, protocol = self.chance.choice(WRONG_HTTP)
        answer = await self.client.request(method, path, content=body)
        assert answer.status_code == code, (method, path, answer.text)
        assert answer.json()["error"]
        self.found.answers[protocol, code] += 1

    async def wrong_grpc(self) -> None:
        path, message, code, protocol = self.chance.choice(WRONG_GRPC)
        call = self.channel.unary_unary(path)(message, timeout=60)
        assert await call.code() is CODES[code], await call.details()
        self.found.answers[protocol, code] += 1

    async def leaves_early(self) -> None:
        """Send a part of a request, and leave."""
        sent = post(INFER, json.dumps(request(self.images())).encode())
        self.found.unsure["oip-rest"] += 1
        _, writer = await asyncio.open_connection(*self.address)
        writer.write(sent[: self.chance.randrange(len(sent))])
        await asyncio.sleep(self.chance.uniform(0, REST_SECONDS))
        writer.transport.abort()

    async def leaves_late(self) -> None:
        """Leave while the answer comes, or before."""
        body = json.dumps({"instances": self.images(LONG_ROWS).round(1).tolist()}).encode()
        self.found.unsure["tfserving-rest"] += 1
        reader, writer = await asyncio.open_connection(*self.address, limit=1024)
        writer.write(post(PREDICT, body))
        if self.chance.random() < 0.5:
            await reader.read(100)
        writer.transport.abort()

    async def leaves_grpc(self) -> None:
        """Cancel a call at any time."""
        self.found.unsure["oip-grpc"] += 1
        call = self.channel.unary_unary(GRPC_INFER)(grpc_request(self.images()).SerializeToString())
        await asyncio.sleep(self.chance.uniform(0, 0.01))
        call.cancel()

    async def sends_slowly(self) -> None:
        images = self.images(4)
        body = json.dumps(request(images)).encode()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 500):
                yield body[start : start + 500]
                await asyncio.sleep(REST_SECONDS)

        answer = await self.post(INFER, content=pieces())
        self.compare("oip-rest", images, answer.json()["outputs"][0]["data"])

    async def reads_slowly(self) -> None:
        images = self.images(LONG_ROWS).round(1)
        data = b""
        async with self.client.stream(
            "POST", PREDICT.decode(), json={"instances": images.tolist()}
        ) as answer:
            async for chunk in answer.aiter_bytes():
                data += chunk
                await asyncio.sleep(REST_SECONDS / 10)
        assert answer.status_code == 200, data
        self.compare("tfserving-rest", images, json.loads(data)["predictions"])
