"""The worker's program: loads an artifact, answers requests, and drains on a signal to end.

The health endpoints answer while the model is loaded.
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
from modelpress.api.contract import WorkerConfig
from modelpress.api.errors import DataError, ModelPressError, UnavailableError
from modelpress.api.spec import Serving
from modelpress.artifacts.termination import run_reporting
from modelpress.serving import input_limits
from modelpress.serving.batching.queue import HELD_REQUESTS, Batcher, Limits
from modelpress.serving.drain import Drain
from modelpress.serving.exchange import Budget
from modelpress.serving.executors.runtimes import runtime_of
from modelpress.serving.http import server as http_server
from modelpress.serving.http.routes import Routes
from modelpress.serving.http.server import HttpServer
from modelpress.serving.loading import Loaded, load, place
from modelpress.serving.observability.access_log import AccessLog
from modelpress.serving.observability.metrics import Metrics
from modelpress.serving.protocols.base import Model
from modelpress.serving.service import Service
from modelpress.serving.signature import Signature

if TYPE_CHECKING:
    from modelpress.serving.grpc.server import GrpcServer

_GRPC_CONNECTIONS = 1024  # grpc.max_allowed_incoming_connections of its server
_OTHER_FILES = 1024  # files of the runtime, and connections that are refused

# After the drain, beside the longest request: for its caller to read the answer. With the second for the last
# connections it leaves two of the five that the grace period has for the process to end.
_LAST_ANSWER_SECONDS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProcessOptions:
    """Where a worker finds its files and listens; what it serves, and how, is its WorkerConfig."""

    model_dir: Path
    host: str
    port: int
    grpc_port: int = 0  # 0: no gRPC
    access_log: bool = False


def main(config: WorkerConfig, options: ProcessOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SystemExit where the model cannot be loaded, with the reason in the termination message and in
    the log.
    """
    logs.configure()
    _allow_files(http_server.LIMITS.connections + _GRPC_CONNECTIONS + _OTHER_FILES)
    code = run_reporting(lambda: uvloop.run(_run(config, options)))
    if code:
        raise SystemExit(code)


def _allow_files(count: int) -> None:
    """Raise the process's limit of open files, as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    desired = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < desired:
        resource.setrlimit(resource.RLIMIT_NOFILE, (desired, hard))


async def _run(config: WorkerConfig, options: ProcessOptions) -> None:
    serving = config.serving
    service = Service(config.name, Metrics(), serving)
    if options.access_log:
        service.access_log = AccessLog(io.FileIO(sys.stdout.fileno(), "w", closefd=False))
    budget = Budget(
        serving.request_bytes, HELD_REQUESTS * serving.request_bytes, serving.request_timeout_seconds
    )
    drain = Drain(service, serving.drain_seconds)
    last_seconds = serving.request_timeout_seconds + _LAST_ANSWER_SECONDS
    http = HttpServer(service, budget, _listen(options.host, options.port))
    with drain.on_signals():
        grpc = _grpc(service, options)
        await http.start()
        over = asyncio.create_task(drain.over.wait())
        loading = asyncio.create_task(_load(config, options.model_dir, service, http.routes))
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
    """End the process at once: a thread that loads cannot be stopped, and a usual end waits for it."""
    logging.shutdown()
    os._exit(0)


def _grpc(service: Service, options: ProcessOptions) -> "GrpcServer | None":
    """Serve gRPC where it has a port."""
    if not options.grpc_port:
        return None
    # its messages cost memory that workers without it do not pay
    from modelpress.serving.grpc.server import GrpcOptions, GrpcServer  # noqa: PLC0415

    serving = service.serving
    grpc = GrpcOptions(
        options.host,
        options.grpc_port,
        serving.request_bytes,
        serving.request_timeout_seconds,
        serving.drain_seconds,
        serving.max_batch_size,
    )
    try:
        server = GrpcServer(service, grpc)
    except OSError as error:
        raise _no_address(options.host, options.grpc_port, error) from error
    server.start()
    return server


async def _load(config: WorkerConfig, folder: Path, service: Service, routes: Routes) -> Batcher:
    """Load the model beside the loop, and serve it."""
    try:
        loaded = await asyncio.to_thread(load, folder, config.parallelism, config.serving)
        device = await place(loaded, config.serving)
    except ModelPressError:
        raise
    except Exception as error:
        logger.exception("The model could not be loaded.")
        raise DataError(Reason.MODEL_LOAD_FAILED, f"{folder} cannot be loaded") from error
    # what was loaded stays: collections of garbage need not look at all of it, for tens of milliseconds
    gc.collect()
    gc.freeze()
    limits = Limits.of(config.serving)
    batcher = Batcher(device, limits, service.metrics)
    digest = config.artifact_digest or loaded.file_digest
    platform = runtime_of(loaded.manifest.form).platform
    signature = _limited(loaded, config.serving)
    model = Model(config.name, config.revision, digest, signature, platform, limits.max_rows)
    routes.add_model(model)
    service.serve(model, batcher)
    logger.info("Serving %s, revision %s.", config.name, config.revision)
    return batcher


def _limited(loaded: Loaded, serving: Serving) -> Signature:
    """Return the signature with the greatest sizes of inputs that are taken."""
    stated = loaded.manifest.input_sizes
    greatest = input_limits.greatest(stated, serving.max_batch_size) if stated else None
    signature = input_limits.limited(loaded.signature, greatest, serving.max_input_length)
    for tensor in signature.inputs:
        if tensor.most is not None:
            logger.info("Input %s takes shapes up to %s.", tensor.name, list(tensor.most))
    return signature


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket at an address. Raises UnavailableError where the address cannot be had."""
    try:
        return sockets.bound(host, port)
    except OSError as error:
        raise _no_address(host, port, error) from error


def _no_address(host: str, port: int, error: OSError) -> UnavailableError:
    return UnavailableError(Reason.POD_CRASHED, f"cannot listen on {host} port {port}: {error.strerror}")
