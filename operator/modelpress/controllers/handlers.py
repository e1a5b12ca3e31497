"""Kopf's part: watches that fill the indexes and tell the queue which ModelDeployment to look at.

Only indexes and event handlers that return nothing: Kopf writes nothing to the cluster, no annotation, no
finalizer, no event. Nothing is decided here.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import kopf

from modelpress.controllers.resources import WATCHED, Resource
from modelpress.controllers.rest import USER_AGENT
from modelpress.controllers.store import Entry, Store, owner_key, pack
from modelpress.planning.types import Key

# About ten minutes of retries for an API server that is away; then the process ends and starts anew.
_ERROR_BACKOFFS = (1, 2, 5, 10, 20, *[30] * 19)


def settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: silent, standalone, watching only what carries our label."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.scanning.disabled = True  # the CRD is waited for, and namespaces are named: no rights on either
    chosen.networking.error_backoffs = _ERROR_BACKOFFS
    chosen.networking.request_timeout = 60
    chosen.networking.connect_timeout = 10
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.chunk_size = 500
    chosen.process.ultimate_exiting_timeout = 60
    for resource in WATCHED:
        if resource.label:
            selector = (resource.group, resource.version, resource.plural)
            chosen.watching.label_selectors[selector] = resource.label
    return chosen


def registry(
    store: Store,
    changed: Callable[[Key], None],
    ending: Callable[[], object],
) -> kopf.OperatorRegistry:
    """Return the registrations.

    `changed` is called on the event loop for each watch event, after the index holds it. `ending` is called
    when the watches end: from then on the indexes are out of date.
    """
    made = kopf.OperatorRegistry()
    for resource in WATCHED:
        _watch(made, resource, changed)

    @kopf.on.startup(registry=made)
    async def bind(**kwargs: Any) -> None:
        store.bind({resource.kind: kwargs[resource.kind] for resource in WATCHED})

    @kopf.on.cleanup(registry=made)
    async def end(**_: Any) -> None:
        ending()

    kopf.on.login(registry=made)(_login)
    return made


class _Connection(kopf.ConnectionInfo):
    """Kopf's connection, with our name in the API server's logs."""

    def as_http_headers(self) -> dict[str, str]:
        return {**super().as_http_headers(), "User-Agent": USER_AGENT}


def _login(**given: Any) -> kopf.ConnectionInfo | None:
    found = kopf.login_via_client(**given)
    if found is None:
        return None
    return _Connection(**{field.name: getattr(found, field.name) for field in fields(found)})


def _watch(made: kopf.OperatorRegistry, resource: Resource, changed: Callable[[Key], None]) -> None:
    """Register the index and the event handler of one kind."""
    selector = (resource.group, resource.version, resource.plural)

    @kopf.index(*selector, id=resource.kind, registry=made)
    async def index(body: kopf.Body, **_: Any) -> dict[Key, Entry]:
        key = owner_key(body)
        return {key: pack(body)} if key else {}

    @kopf.on.event(*selector, id=f"{resource.kind}-changed", registry=made)
    async def event(body: kopf.Body, **_: Any) -> None:
        key = owner_key(body)
        if key:
            changed(key)
