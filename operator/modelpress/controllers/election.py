"""Holds the Lease of the active operator, in a thread of its own.

The event loop may be busy for seconds with the objects of a large cluster; that must not cost the lease.
The leader election of the kubernetes client is not used: it reads wall clocks, so that setting one ends
or prolongs a lease, never gives the lease back, and cannot be stopped.
"""

import asyncio
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError

from modelpress.controllers import lease
from modelpress.controllers.lease import Action, Sighting
from modelpress.controllers.resources import LEASE
from modelpress.controllers.rest import ApiError, Request, Rest, load_configuration
from modelpress.planning.types import Body

logger = logging.getLogger(__name__)

_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class LeaseLost(Exception):
    """Another operator may be active from now on."""


@dataclass(frozen=True)
class LeaseName:
    """Where the Lease is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Unopposed:
    """In place of an Election where there is no lease: always active."""

    def active(self) -> bool:
        """Return True."""
        return True

    def role(self) -> str:
        """Return what this process is."""
        return "active"

    def problem(self) -> None:
        """Return None: nothing is asked for."""

    async def hold(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work`."""
        await work()


class Election:
    """One candidate. `active`, `role` and `problem` may be called from any thread."""

    def __init__(
        self, rest: Rest, where: LeaseName, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`rest` is for the lease alone: its requests must neither wait for others nor for long."""
        self._rest = rest
        self._where = where
        self._me = identity
        self._clock = clock
        self._seen = Sighting(None, clock())
        self._renewed: float | None = None  # when the last renewal that succeeded was sent
        self._problem: str | None = f"the lease {where} has not been read yet"
        self._stopped = threading.Event()

    def active(self) -> bool:
        """Return whether this process may write: nobody else can hold the lease yet."""
        renewed = self._renewed
        return renewed is not None and self._clock() < renewed + lease.RENEW_SECONDS

    def role(self) -> str:
        """Return what this process is."""
        return "active" if self.active() else "standby"

    def problem(self) -> str | None:
        """Return why the lease could not be read or written when that was last tried, or None."""
        return self._problem

    async def hold(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` once the lease is ours, and give it back at the end. Raises LeaseLost."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "lease") as thread:
            try:
                await loop.run_in_executor(thread, self.acquire)
                logger.info("active: %s holds the lease %s", self._me, self._where)
                renewals = loop.run_in_executor(thread, self.keep)
                await _first_of(asyncio.create_task(work()), renewals)
            finally:
                self._stopped.set()
                await loop.run_in_executor(thread, self.release)

    def acquire(self) -> None:
        """Return once the lease is ours, or the end is asked for."""
        while not self._stopped.is_set() and not self._attempt():
            self._stopped.wait(lease.LOOK_SECONDS)

    def keep(self) -> None:
        """Renew until the end is asked for. Raises LeaseLost."""
        pause = lease.RENEWAL_PAUSE_SECONDS
        while not self._stopped.wait(pause):
            # A process that was stopped for long may have lost it: it does not ask for it again.
            succeeded = self.active() and self._attempt()
            if not self.active():
                held = self._seen.holder
                whose = f"{held} holds" if held not in ("", self._me) else "could not renew"
                raise LeaseLost(f"{whose} the lease {self._where}")
            pause = lease.RENEWAL_PAUSE_SECONDS if succeeded else lease.LOOK_SECONDS

    def release(self) -> None:
        """Write no more, and give the lease back where it is ours."""
        self._renewed = None
        try:
            found = self._read()
            if found is not None and Sighting(found, 0).holder == self._me:
                self._write("update", lease.released(found, datetime.now(UTC)))
        except (ApiError, HTTPError) as error:
            logger.warning("lease not given back: %s", error)

    def _attempt(self) -> bool:
        """Look at the lease and take or renew it where that is due; return whether it is ours now."""
        try:
            held = self._look_and_act()
        except (ApiError, HTTPError) as error:
            if not _is_conflict(error):
                self._complain(f"lease {self._where}: {error}")
            return False
        self._problem = None
        return held

    def _look_and_act(self) -> bool:
        found = self._read()
        before = self._seen.holder
        self._seen = self._seen.again(found, self._clock())
        todo = lease.action(self._seen, self._me, self._clock())
        if todo is Action.WAIT:
            self._renewed = None
            if self._seen.holder != before:
                logger.info("standby: %s holds the lease %s", self._seen.holder, self._where)
            return False
        sent = self._clock()
        body = lease.claimed(self._seen, self._where.name, self._me, datetime.now(UTC))
        made = self._write("create" if todo is Action.CREATE else "update", body)
        self._seen = self._seen.again(made, self._clock())
        self._renewed = sent
        return True

    def _read(self) -> Body | None:
        try:
            return self._rest.send(Request("get", LEASE, self._where.namespace, self._where.name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _write(self, verb: str, body: Body) -> Body:
        """Write it as it was read: where another was faster, the API server refuses with a conflict."""
        name = None if verb == "create" else self._where.name
        return self._rest.send(Request(verb, LEASE, self._where.namespace, name, body=body))

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem


async def _first_of(work: asyncio.Task[None], renewals: asyncio.Future[None]) -> None:
    """Wait for the first to end; work that goes on then is ended. Raises what either raised."""
    try:
        await asyncio.wait([work, renewals], return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    if renewals.done():
        renewals.result()
    work.result()


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.status == 409


def candidate(namespace: str | None, name: str) -> Election | Unopposed:
    """Return a candidate for a Lease in `namespace`, or else in that of the pod; outside of pods no Lease."""
    chosen = namespace or _own_namespace()
    if not chosen:
        logger.info("no lease: not in a pod, and no --lease-namespace")
        return Unopposed()
    rest = Rest(load_configuration(), most_seconds=lease.REQUEST_SECONDS)
    # of this process alone: a container that starts again must not take itself for the one before
    return Election(rest, LeaseName(chosen, name), f"{socket.gethostname()}_{uuid.uuid4()}")


def _own_namespace() -> str | None:
    named = os.environ.get("POD_NAMESPACE")
    if named or not _ACCOUNT_NAMESPACE.is_file():
        return named or None
    return _ACCOUNT_NAMESPACE.read_text().strip() or None
