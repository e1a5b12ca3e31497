"""The operator's process: the work queue and the resync in one event loop, the watches in threads."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from urllib3.exceptions import HTTPError

from modelpress.api.defaults import Defaults
from modelpress.api.names import API_VERSION, KIND
from modelpress.controllers import handlers
from modelpress.controllers.election import Election, LeaseLost, Unopposed, candidate
from modelpress.controllers.health import endpoints
from modelpress.controllers.job_slots import JobSlots, Limits
from modelpress.controllers.kubernetes_cluster import KubernetesCluster
from modelpress.controllers.queue import WorkQueue
from modelpress.controllers.reflector import Reflectors
from modelpress.controllers.resources import MODEL_DEPLOYMENT
from modelpress.controllers.rest import ApiError, Request, Rest, load_configuration
from modelpress.controllers.resync import Resync
from modelpress.controllers.steps import Steps
from modelpress.controllers.store import Store
from modelpress.planning.types import Key, Settings

logger = logging.getLogger(__name__)

_BACKOFF = (0.5, 60.0)  # seconds
# loggers with a line for each event, probe or attempt
_CHATTY = ("kopf.objects", "kopf.activities", "aiohttp.access", "urllib3.connectionpool")
# logs what we log, with tracebacks, and that signals are left to us
_TWICE = ("kopf._core.reactor.orchestration", "kopf._core.reactor.running")
_CRD_POLL_SECONDS = 2.0
_OTHER_THREADS = 4  # of the resync and what else waits in a thread


@dataclass(frozen=True)
class OperatorOptions:
    """Options of `modelpress operator`."""

    store: str  # default of spec.storage.uri, oci://registry/repository
    compressor_image: str
    worker_image: str
    worker_gpu_image: str
    store_audience: str | None = None  # of the tokens that pods show that store; None: they show none
    plain_http_registry: str | None = None  # host:port of the registry that may speak plain HTTP
    cluster_domain: str = "cluster.local"
    namespaces: tuple[str, ...] = ()  # none: all
    resync_interval: float = 60.0  # seconds
    max_concurrent_jobs: int = 10
    max_concurrent_jobs_per_namespace: int | None = None  # None: half of them
    workers: int = 16  # ModelDeployments that are looked at at once; those of one namespace have a quarter
    liveness_port: int | None = 8080  # serves /healthz and /readyz; None: no endpoints
    leader_election: bool = True  # act only while a Lease is held; False: no Lease
    lease_namespace: str | None = None  # None: that of the pod; outside of pods there is no Lease
    lease_name: str = "modelpress-operator"
    fixed_user: bool = True  # pods name their user; False: the cluster chooses
    defaults: Defaults = field(default_factory=Defaults)  # for all ModelDeployments

    def job_limits(self) -> Limits:
        """Return how many Jobs may run."""
        total, share = self.max_concurrent_jobs, self.max_concurrent_jobs_per_namespace
        if share is None:
            share = total if len(self.namespaces) == 1 else max(1, total // 2)
        return Limits(total, share)

    def settings(self) -> Settings:
        """Return what the planner needs of them."""
        return Settings(
            compressor_image=self.compressor_image,
            worker_image=self.worker_image,
            worker_gpu_image=self.worker_gpu_image,
            store=self.store,
            store_audience=self.store_audience,
            plain_http_registry=self.plain_http_registry,
            cluster_domain=self.cluster_domain,
            fixed_user=self.fixed_user,
            defaults=self.defaults,
        )


def run(options: OperatorOptions) -> int:
    """Run until SIGTERM or SIGINT; return the exit code: 0, or 1 after an error that a restart may cure."""
    # A container's first process ignores SIGTERM unless told otherwise.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return 0


@dataclass(frozen=True)
class Parts:
    """What an operator is made of."""

    rest: Rest
    store: Store
    resync: Resync
    queue: WorkQueue[Key]
    election: Election | Unopposed

    def unready(self) -> str | None:
        """Return why the operator does not work, or None.

        A standby is ready: a rollout of the operator ends the old one, which gives its lease away, only then.
        """
        return self.resync.unready() or self.election.problem()

    def role(self) -> dict[str, Any]:
        """Return what /readyz tells of an operator that works."""
        return {"ready": True, "role": self.election.role()}

    def facts(self) -> dict[str, Any]:
        """Return what /healthz tells of a living operator."""
        requests = sorted(self.rest.requests().items())
        return {
            "requests": {f"{verb} {plural}": count for (verb, plural), count in requests},
            "resyncs": self.resync.rounds,
            "mended": self.resync.mended,
            "waiting": len(self.queue),
        }


def _parts(options: OperatorOptions) -> Parts:
    elected = options.leader_election
    election = candidate(options.lease_namespace, options.lease_name) if elected else Unopposed()
    rest, store = Rest(load_configuration(), may_write=election.active), Store()
    cluster = KubernetesCluster(rest, store, JobSlots(options.job_limits()))
    queue = WorkQueue(
        Steps(cluster, options.settings()),
        backoff=_BACKOFF,
        group=attrgetter("namespace"),
        most_of_group=max(1, options.workers // 4),
    )
    return Parts(rest, store, Resync(rest, store, options.namespaces), queue, election)


async def _run(options: OperatorOptions) -> int:
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _TWICE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(options.workers + _OTHER_THREADS))
    parts = _parts(options)
    pages = {"/healthz": (parts.resync.dead, parts.facts), "/readyz": (parts.unready, parts.role)}
    async with endpoints(options.liveness_port, pages):
        await _wait_for_crd(parts.rest, options)
        with Reflectors(parts.rest, parts.store, options.namespaces) as reflectors:
            return await _operate(options, parts, reflectors)


async def _operate(options: OperatorOptions, parts: Parts, reflectors: Reflectors) -> int:
    """Run the queue and the resync until a signal, or until one of them fails; return the exit code."""
    queue, loop, asked = parts.queue, asyncio.get_running_loop(), asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, asked.set)

    def changed(key: Key) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: a watch of another thread has not
            loop.call_soon_threadsafe(queue.add, key)

    reflectors.start(changed)
    registrations = handlers.registry(parts.store, changed)
    threading.Thread(target=handlers.watch, args=(registrations, options.namespaces), daemon=True).start()
    tasks = [
        asyncio.create_task(_work(reflectors, parts.election, partial(queue.run, options.workers))),
        asyncio.create_task(parts.resync.run(options.resync_interval, queue.add)),
        asyncio.create_task(asked.wait()),
    ]
    logger.info("operator started", extra={"namespaces": list(options.namespaces) or "all"})
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return _exit_code(done)


async def _work(
    reflectors: Reflectors, election: Election | Unopposed, process: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Process keys once the store holds all objects that plans are made from, and while this one may act.

    A standby watches, too, and its queue collects: it takes over with all that it needs.
    """
    await reflectors.listed()
    await election.hold(process)


def _exit_code(done: set[asyncio.Task[Any]]) -> int:
    """Return 0 where the operator ended as asked; log why not otherwise."""
    errors = [task.exception() for task in done if not task.cancelled()]
    for error in errors:
        if isinstance(error, LeaseLost):
            logger.error("%s: restart as a standby", error)
        elif error is not None:
            logger.error("operator failed", exc_info=error)
    return 1 if any(errors) else 0


async def _wait_for_crd(rest: Rest, options: OperatorOptions) -> None:
    """Return when the API server serves ModelDeployments: Kopf looks for kinds only when it starts."""
    namespace = options.namespaces[0] if options.namespaces else None
    request = Request("list", MODEL_DEPLOYMENT, namespace, query={"limit": "1"}, metadata_only=True)
    while True:
        try:
            await asyncio.to_thread(rest.send, request)
            return
        except (ApiError, HTTPError) as error:
            logger.warning("waiting until %s %s is served: %s", API_VERSION, KIND, error)
        await asyncio.sleep(_CRD_POLL_SECONDS)
