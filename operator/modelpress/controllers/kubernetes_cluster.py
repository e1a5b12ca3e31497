"""The Cluster of an API server: reads from the watches' indexes, writes by REST calls."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from modelpress.api.names import FIELD_MANAGER
from modelpress.controllers.cluster import Stale
from modelpress.controllers.own_writes import OwnWrites
from modelpress.controllers.recorder import event_body
from modelpress.controllers.refusal import refusal_of, require_ours
from modelpress.controllers.repairs import Repairs
from modelpress.controllers.resources import (
    BY_KIND,
    CREATED_ONCE,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    EVENT,
    JOB,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    REVISION,
    SERVICE,
)
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.controllers.store import Entry, Store, owner_key, unpack
from modelpress.planning.children import managed_fields
from modelpress.planning.children.drift import differs
from modelpress.planning.children.in_place import made_whole, out_of_place, put_right
from modelpress.planning.problems.waiting import LOOK_AGAIN_SECONDS, Subject, unexplained
from modelpress.planning.types import Body, EventNote, Key, Observed, Ref

logger = logging.getLogger(__name__)

_OURS = {"fieldManager": FIELD_MANAGER}
_CREATED = {**_OURS, "fieldValidation": "Strict"}
_FORCED = {**_OURS, "force": "true"}
T = TypeVar("T")
OnLoop = Callable[[Callable[[], T]], T]


class KubernetesCluster:
    """Implements `controllers.cluster.Cluster`; used from several threads, a key by one at a time."""

    def __init__(self, rest: Rest, store: Store, on_loop: OnLoop[Any], max_concurrent_jobs: int) -> None:
        """`on_loop` calls a function on the event loop, which alone may read the store."""
        self._rest = rest
        self._store = store
        self._on_loop = on_loop
        self._max_jobs = max_concurrent_jobs
        self._writes = OwnWrites()
        self._repairs = Repairs()
        self._job_lock = threading.Lock()
        self._events: dict[Subject, tuple[float, tuple[Body, ...]]] = {}  # when asked, what was said

    def observe(self, key: Key) -> Observed | None:
        """Return what the watches know of a ModelDeployment. Raises Stale before they show our own writes."""
        view: dict[str, tuple[Entry, ...]] = self._on_loop(lambda: self._store.of(key))
        if not self._writes.settled(key, view):
            raise Stale
        if not view[MODEL_DEPLOYMENT.kind]:
            self._repairs.forget(key)
            return None
        bodies = {kind: tuple(unpack(entry) for entry in entries) for kind, entries in view.items()}
        now = datetime.now(UTC)
        return Observed(
            resource=bodies[MODEL_DEPLOYMENT.kind][0],
            now=now,
            jobs=bodies[JOB.kind],
            revisions=bodies[REVISION.kind],
            deployments=bodies[DEPLOYMENT.kind],
            services=bodies[SERVICE.kind],
            network_policies=bodies[NETWORK_POLICY.kind],
            disruption_budgets=bodies[DISRUPTION_BUDGET.kind],
            pods=bodies[POD.kind],
            events=self._events_about(bodies, now),
            repairs=self._repairs.of(key, now),
            free_job_slots=self._free_job_slots(),
        )

    def apply(self, body: Body) -> Mapping[str, Any]:
        """Create a Job or ControllerRevision, or apply any other object. Raises TemplateRefused and Stale."""
        try:
            if body["kind"] == JOB.kind:
                with self._job_lock:  # two workers must not take the last slot both
                    if self._free_job_slots() < 1:
                        raise Stale
                    applied = self._create(body)
            elif body["kind"] in CREATED_ONCE:
                applied = self._create(body)
            else:
                applied = self._server_side_apply(body)
        except ApiError as error:
            if error.status == 409:  # changed between two calls of ours
                raise Stale from error
            refusal = refusal_of(error.status, error.message, body)
            if refusal is None:
                raise
            raise refusal from error
        return applied

    def delete(self, ref: Ref) -> None:
        """Delete with background propagation, and only the object with the UID of `ref`."""
        resource = BY_KIND[ref.kind]
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
        try:
            self._rest.send(Request("delete", resource, ref.namespace, ref.name, body=options))
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or a successor of the same name
                raise
        if ref.uid:
            uid = ref.uid
            key = self._on_loop(lambda: self._store.owner_of(ref.kind, uid))
            if key:
                self._writes.deleted(key, ref.kind, ref.name, uid)

    def write_status(self, resource: Body, status: Body) -> None:
        """Replace the status. Raises Stale where the resource has changed since it was observed."""
        metadata = resource["metadata"]
        request = Request(
            "update",
            MODEL_DEPLOYMENT,
            metadata["namespace"],
            metadata["name"],
            subresource="status",
            query=_OURS,
            body={**resource, "status": status},
        )
        try:
            self._remember(self._rest.send(request))
        except ApiError as error:
            if error.status in (404, 409):
                raise Stale from error
            raise

    def record(self, resource: Body, note: EventNote) -> None:
        """Write an Event; one that the API server refuses is only logged."""
        body = event_body(resource, note, datetime.now(UTC))
        namespace = resource["metadata"]["namespace"]
        try:
            self._rest.send(Request("create", EVENT, namespace, body=body))
        except ApiError as error:
            if note.once and error.status == 409:  # it was written already
                return
            logger.warning("event not written: %s", error, extra={"namespace": namespace})

    def _create(self, body: Body) -> Mapping[str, Any]:
        try:
            made: Mapping[str, Any] = self._send("create", body, body, _CREATED)
        except ApiError as error:
            if error.status != 409:
                raise
            made = self._adopt(body)
        self._remember(made)
        return made

    def _adopt(self, body: Body) -> Mapping[str, Any]:
        """Return the existing object that `body` would create, with our labels and owner put back."""
        existing = self._send("get", body)
        require_ours(existing, body)
        marks = {key: body[key] for key in ("apiVersion", "kind", "metadata")}
        return self._send("patch", body, marks, _FORCED) if differs(marks, existing) else existing

    def _server_side_apply(self, body: Body) -> Mapping[str, Any]:
        known = self._known(body)
        if known is None:
            self._check_name(body)
        try:
            applied = self._send("patch", body, body, _FORCED)
        except ApiError as error:
            if error.status != 422 or known is None:
                raise
            # What another manager added to our lists may clash with ours: two ports of one name.
            self._put_right(body, self._send("get", body))
            applied = self._send("patch", body, body, _FORCED)
        # Applying leaves what others added beside ours.
        if known is not None and managed_fields.applied(known) is None:
            applied = self._send("update", body, made_whole(body, applied), _OURS)
        else:
            applied = self._put_right(body, applied)
        fields = out_of_place(body, known) if known else ()
        self._repairs.applied(_owner(body), body, fields, datetime.now(UTC))
        self._remember(applied)
        return applied

    def _put_right(self, body: Body, found: dict[str, Any]) -> dict[str, Any]:
        """Take away what others set beside ours; return the object as it is then."""
        rest = put_right(body, found)
        return found if rest is None else self._send("update", body, rest, _OURS)

    def _send(
        self, verb: str, named: Body, content: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request about the object that `named` names."""
        metadata = named["metadata"]
        name = None if verb == "create" else metadata["name"]
        resource = BY_KIND[named["kind"]]
        return self._rest.send(
            Request(verb, resource, metadata["namespace"], name, query=query or {}, body=content)
        )

    def _known(self, body: Body) -> Body | None:
        """Return the object of this name that the planner saw, and so decided that it is ours."""
        key = _owner(body)
        view: dict[str, tuple[Entry, ...]] = self._on_loop(lambda: self._store.of(key))
        entries = (entry for entry in view[body["kind"]] if entry.name == body["metadata"]["name"])
        return next((unpack(entry) for entry in entries), None)

    def _check_name(self, body: Body) -> None:
        """Raise TemplateRefused where the name is taken by an object without our label."""
        try:
            existing = self._send("get", body)
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            require_ours(existing, body)

    def _remember(self, body: Body) -> None:
        metadata = body["metadata"]
        version = int(metadata["resourceVersion"])
        self._writes.wrote(_owner(body), body["kind"], metadata["name"], metadata["uid"], version)

    def _free_job_slots(self) -> int:
        running: frozenset[tuple[Key, str]] = self._on_loop(self._store.running_jobs)
        return self._max_jobs - len(running | self._writes.created(JOB.kind))

    def _events_about(self, bodies: Mapping[str, tuple[Body, ...]], now: datetime) -> tuple[Body, ...]:
        """Return the events of objects whose status does not tell why they wait."""
        found = unexplained(bodies[JOB.kind], bodies[POD.kind], now)
        return tuple(event for subject in found for event in self._events_of(subject))

    def _events_of(self, subject: Subject) -> tuple[Body, ...]:
        asked = time.monotonic()
        for known_subject, (before, _) in list(self._events.items()):
            if asked - before > LOOK_AGAIN_SECONDS:
                self._events.pop(known_subject, None)
        known = self._events.get(subject)
        if known is None:
            request = Request("list", EVENT, subject.namespace, query={"fieldSelector": subject.selector})
            items = self._rest.send(request).get("items") or ()
            known = asked, tuple({"apiVersion": "v1", "kind": "Event", **item} for item in items)
            self._events[subject] = known
        return known[1]


def _owner(body: Body) -> Key:
    """Return the ModelDeployment that an object of ours carries in its label."""
    key = owner_key(body)
    if key is None:
        raise ValueError(f"{body['kind']} {body['metadata']['name']} has no label of its ModelDeployment")
    return key
