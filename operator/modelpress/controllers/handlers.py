"""Kopf's part: the watch of ModelDeployments, which fills the store and tells the queue what to look at.

One event handler that returns nothing: Kopf writes nothing to the cluster, no annotation, no finalizer, no
event. Nothing is decided here. `kopf.index` is not used: while it fills, each new object wakes all workers
that wait for the end of that, so that a start takes time with the square of the objects.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import kopf

from modelpress.controllers.lists import PAGE
from modelpress.controllers.reflector import SILENT_SECONDS
from modelpress.controllers.resources import MODEL_DEPLOYMENT
from modelpress.controllers.rest import USER_AGENT
from modelpress.controllers.store import Store
from modelpress.planning.backoff import pause
from modelpress.planning.types import Key

logger = logging.getLogger(__name__)

# About ten minutes of retries for an API server that is away; then Kopf ends, and is begun anew.
_ERROR_BACKOFFS = (1, 2, 5, 10, 20, *[30] * 19)

# Of peering, which is off. Kopf would ask for the user's name, and a container's uid may have none.
_IDENTITY = "modelpress"
_PAUSES = (1.0, 15.0)  # seconds after the first failure, and at most; doubled each time
_LASTED_SECONDS = 60.0  # a watch that lasted longer has nothing to do with the failure before it
_RETRYING = "kopf._cogs.clients.watching"  # logs each attempt that failed
_IDLE_SECONDS = 0.5  # a worker per object waits so long for its next event: at a start there are thousands


def settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: silent, standalone."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.scanning.disabled = True  # the CRD is waited for, and namespaces are named: no rights on either
    chosen.networking.error_backoffs = _ERROR_BACKOFFS
    chosen.networking.request_timeout = 60
    chosen.networking.connect_timeout = 10
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.inactivity_timeout = SILENT_SECONDS
    chosen.watching.chunk_size = PAGE
    chosen.queueing.idle_timeout = _IDLE_SECONDS
    chosen.process.ultimate_exiting_timeout = None  # it would kill the process after a watch that failed
    return chosen


def registry(store: Store, changed: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Return the registrations.

    `changed` is called in Kopf's thread for each watch event, after the store holds it.
    """
    made = kopf.OperatorRegistry()
    selector = (MODEL_DEPLOYMENT.group, MODEL_DEPLOYMENT.version, MODEL_DEPLOYMENT.plural)

    @kopf.on.event(*selector, id="changed", registry=made)
    async def event(event: kopf.RawEvent, **_: Any) -> None:
        body: dict[str, Any] = dict(event["object"])
        is_gone = event["type"] == "DELETED"
        for key in store.remove(body["metadata"]["uid"]) if is_gone else store.put(body):
            changed(key)

    kopf.on.login(registry=made)(_login)
    return made


def watch(registrations: kopf.OperatorRegistry, namespaces: Sequence[str]) -> None:
    """Run Kopf in this thread for ever; no `namespaces` means all.

    Kopf ends where a stream tells of any error but 410, such as 429 or 500, and then cancels whatever runs in
    its event loop: so it has one of its own, and is begun anew.
    """
    logging.getLogger(_RETRYING).addFilter(_as_warning)
    failures = 0
    while True:
        began = time.monotonic()
        try:
            asyncio.run(
                kopf.operator(
                    registry=registrations,
                    settings=settings(),
                    identity=_IDENTITY,  # type: ignore[arg-type]  # a NewType of a private module
                    standalone=True,
                    clusterwide=not namespaces,
                    namespaces=namespaces,
                )
            )
        except Exception as error:
            logger.warning("watch of %s: %s", MODEL_DEPLOYMENT.plural, error)
        failures = 0 if time.monotonic() - began > _LASTED_SECONDS else failures + 1
        time.sleep(pause(*_PAUSES, failures))


def _as_warning(record: logging.LogRecord) -> bool:
    """Lower what Kopf calls an error and then tries again: nobody has to do anything about it."""
    if record.levelno == logging.ERROR:
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


class _Connection(kopf.ConnectionInfo):
    """Kopf's connection, with our name in the API server's logs."""

    def as_http_headers(self) -> dict[str, str]:
        return {**super().as_http_headers(), "User-Agent": USER_AGENT}


def _login(**given: Any) -> kopf.ConnectionInfo | None:
    found = kopf.login_via_client(**given)
    if found is None:
        return None
    return _Connection(**{field.name: getattr(found, field.name) for field in fields(found)})
