"""The worker's program: loads an artifact, answers requests, and drains when told to end.

The health endpoints answer while the model is loaded. Must not import TensorFlow by itself.
"""

import asyncio
import gc
import io
import logging
import os
import resource
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import uvloop

from modelpress import logs, sockets
from modelpress.api.conditions import Reason
from modelpress.api.contract import ARTIFACT_DIGEST
from modelpress.api.errors import DataError, ModelPressError, UnavailableError
from modelpress.artifacts.manifest import ArtifactManifest, Form
from modelpress.artifacts.termination import run_reporting
from modelpress.serving.batching.queue import Batcher, Limits
from modelpress.serving.drain import Drain
from modelpress.serving.exchange import Budget
from modelpress.serving.http import server as http_server
from modelpress.serving.http.routes import Routes
from modelpress.serving.http.server import HttpServer
from modelpress.serving.loading import load, place
from modelpress.serving.observability.access_log import AccessLog
from modelpress.serving.observability.metrics import Metrics
from modelpress.serving.placement.parallelism import Layout
from modelpress.serving.protocols.base import Model
from modelpress.serving.service import Service

if TYPE_CHECKING:
    from modelpress.serving.grpc.server import GrpcServer

# Bodies that arrive, and rows that wait, may hold this many times maxRequestBytes.
_HELD_REQUESTS = 4
_WAITING_BATCHES = 64
_MIN_WAITING_ROWS = 1024

_GRPC_CONNECTIONS = 1024
_OTHER_FILES = 1024  # of the runtime and what is refused

# After the drain, beside the longest request: for its caller to read the answer. With the second for the last
# connections it leaves two of the five that the grace period has for the process to end.
_LAST_ANSWER_SECONDS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is told: spec.parallelism, spec.serving, and where and as what it serves."""

    model_dir: Path
    name: str
    revision: str
    host: str
    port: int
    data: int
    pipeline: int
    max_batch_size: int
    max_batch_delay_milliseconds: int
    request_timeout_seconds: int
    max_request_bytes: int
    tensor: int = 1
    access_log: bool = False
    grpc_port: int = 0  # 0: no gRPC
    drain_seconds: int = 10  # for which requests are taken after SIGTERM


def main(options: WorkerOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SystemExit where the model cannot be loaded, with the reason in the termination message and in
    the log.
    """
    logs.configure()
    _allow_files(http_server.LIMITS.connections + _GRPC_CONNECTIONS + _OTHER_FILES)
    code = run_reporting(lambda: uvloop.run(_run(options)))
    if code:
        raise SystemExit(code)


def _allow_files(count: int) -> None:
    """Raise the process's limit of open files, as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(options: WorkerOptions) -> None:
    service = Service(options.name, Metrics())
    if options.access_log:
        service.access_log = AccessLog(io.FileIO(sys.stdout.fileno(), "w", closefd=False))
    budget = Budget(
        options.max_request_bytes,
        _HELD_REQUESTS * options.max_request_bytes,
        options.request_timeout_seconds,
    )
    drain = Drain(service, options.drain_seconds)
    last_seconds = options.request_timeout_seconds + _LAST_ANSWER_SECONDS
    http = HttpServer(service, budget, _listen(options.host, options.port))
    with drain.on_signals():
        grpc = _grpc(options, service)
        await http.start()
        over = asyncio.create_task(drain.over.wait())
        loading = asyncio.create_task(_load(options, service, http.routes))
        batcher = None
        try:
            await asyncio.wait([loading, over], return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                batcher = loading.result()
                await over
        finally:
            loading.cancel()
            drain.hurry = drain.hurry or not drain.over.is_set()
            stops = [http.stop(drain, last_seconds)]
            if grpc is not None:
                stops.append(grpc.stop(last_seconds, drain.hurry))
            await asyncio.gather(*stops)  # side by side: each may take its time
            over.cancel()
            if service.access_log is not None:
                service.access_log.close()
    if batcher is None:
        _leave()
    batcher.close()


def _leave() -> NoReturn:
    """End the process at once: a thread that loads cannot be told to stop, and a usual end waits for it."""
    logging.shutdown()
    os._exit(0)


def _grpc(options: WorkerOptions, service: Service) -> "GrpcServer | None":
    """Serve gRPC where it is wanted."""
    if not options.grpc_port:
        return None
    # its messages cost memory that workers without it do not pay
    from modelpress.serving.grpc.server import GrpcOptions, GrpcServer  # noqa: PLC0415

    grpc = GrpcOptions(
        options.host,
        options.grpc_port,
        options.max_request_bytes,
        options.request_timeout_seconds,
        options.drain_seconds,
        options.max_batch_size,
    )
    try:
        server = GrpcServer(service, grpc)
    except OSError as error:
        raise _no_address(options.host, options.grpc_port, error) from error
    server.start()
    return server


async def _load(options: WorkerOptions, service: Service, routes: Routes) -> Batcher:
    """Load the model beside the loop, and serve it."""
    layout = Layout(options.data, options.pipeline, options.tensor)
    try:
        loaded = await asyncio.to_thread(load, options.model_dir, layout, options.max_batch_size)
        device = await place(loaded, options.max_batch_size)
    except ModelPressError:
        raise
    except Exception as error:
        logger.exception("The model could not be loaded.")
        raise DataError(Reason.MODEL_LOAD_FAILED, f"{options.model_dir} cannot be loaded") from error
    # what was loaded stays: collections of garbage need not look at all of it, for tens of milliseconds
    gc.collect()
    gc.freeze()
    limits = _limits(options)
    batcher = Batcher(device, limits, service.metrics)
    manifest = loaded.manifest
    platform = "litert" if manifest.form is Form.TFLITE else "tensorflow"
    model = Model(
        options.name, options.revision, _digest(manifest), loaded.signature, platform, limits.max_rows
    )
    routes.add_model(model)
    service.serve(model, batcher)
    logger.info("Serving %s, revision %s.", options.name, options.revision)
    return batcher


def _limits(options: WorkerOptions) -> Limits:
    return Limits(
        max_batch_size=options.max_batch_size,
        max_delay_seconds=options.max_batch_delay_milliseconds / 1000,
        timeout_seconds=options.request_timeout_seconds,
        max_waiting_rows=max(_MIN_WAITING_ROWS, _WAITING_BATCHES * options.max_batch_size),
        max_waiting_bytes=_HELD_REQUESTS * options.max_request_bytes,
    )


def _digest(manifest: ArtifactManifest) -> str:
    """Return the artifact's image digest where the pod knows it, else the digest of the model's file."""
    return os.environ.get(ARTIFACT_DIGEST) or f"sha256:{manifest.files[manifest.model_file]}"


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket at an address. Raises UnavailableError where the address cannot be had."""
    try:
        return sockets.bound(host, port)
    except OSError as error:
        raise _no_address(host, port, error) from error


def _no_address(host: str, port: int, error: OSError) -> UnavailableError:
    return UnavailableError(Reason.POD_CRASHED, f"cannot listen on {host} port {port}: {error.strerror}")
