"""The Cluster of an API server: reads from the store of the watches, writes by REST calls."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from modelpress.api.identity import digest
from modelpress.api.names import RESULT_MANAGER, RETRY_ANNOTATION
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.event_reader import EventReader
from modelpress.controllers.job_slots import JobId, JobSlots, Standing, standing
from modelpress.controllers.lists import named, whole
from modelpress.controllers.object_client import FORCED, OURS, ObjectClient
from modelpress.controllers.own_writes import OwnWrites
from modelpress.controllers.recorder import Recorder
from modelpress.controllers.refusal import refusal_of, require_ours
from modelpress.controllers.refusals import Refusals
from modelpress.controllers.repairs import Repairs
from modelpress.controllers.resources import (
    BY_KIND,
    CREATED_ONCE,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    JOB,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    REVISION,
    SERVICE,
)
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.controllers.store import Store, owner_key, unpack
from modelpress.planning.artifacts.jobs import is_suspended, with_live_pods
from modelpress.planning.children import objects
from modelpress.planning.children.drift import differs
from modelpress.planning.children.in_place import out_of_place, put_right
from modelpress.planning.types import Body, EventNote, Key, Mark, Observed, Ref

logger = logging.getLogger(__name__)

_CREATED = {**OURS, "fieldValidation": "Strict"}
_DRY_RUN = {"dryRun": "All"}
_NO_DRY_RUN = "does not support dry run"  # says an admission webhook that has side effects
_Answer = TypeVar("_Answer")
_STANDING_SECONDS = 1.0  # what we create in between is reserved
_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"  # label of a Job's pods


class KubernetesCluster:
    """Implements `controllers.cluster.Cluster`; used from several threads, a key by one at a time."""

    def __init__(self, rest: Rest, store: Store, slots: JobSlots) -> None:
        self._rest = rest
        self._objects = ObjectClient(rest)
        self._store = store
        self._slots = slots
        self._standing: Standing | None = None
        self._writes = OwnWrites()
        self._repairs = Repairs()
        self._refusals = Refusals()
        self._recorder = Recorder(rest)
        self._events = EventReader(rest)

    def observe(self, key: Key) -> Observed | None:
        """Return what the watches know of a ModelDeployment. Raises Stale before they show our own writes."""
        view = self._store.of(key)
        if not self._writes.settled(key, view):
            raise Stale
        if not view[MODEL_DEPLOYMENT.kind]:
            self._slots.leave(key)
            self._repairs.forget(key)
            self._refusals.forget(key)
            self._writes.forget(key)
            self._recorder.forget(key)
            return None
        bodies = {kind: tuple(unpack(entry) for entry in entries) for kind, entries in view.items()}
        now, turn = datetime.now(UTC), self._slots.turn(key, self._seen_jobs())
        resource = bodies[MODEL_DEPLOYMENT.kind][0]
        return Observed(
            resource=resource,
            now=now,
            jobs=bodies[JOB.kind],
            revisions=bodies[REVISION.kind],
            deployments=bodies[DEPLOYMENT.kind],
            services=bodies[SERVICE.kind],
            network_policies=bodies[NETWORK_POLICY.kind],
            disruption_budgets=bodies[DISRUPTION_BUDGET.kind],
            pods=bodies[POD.kind],
            artifacts=self._store.artifacts_of(key.namespace),
            events=self._events.about(bodies[JOB.kind], bodies[POD.kind], now),
            repairs=self._repairs.of(key, now),
            free_job_slots=turn.slots,
            slot_seconds=turn.pause,
            vain_status=self._writes.vain_status(key, resource["metadata"]["resourceVersion"]),
        )

    def read_live(self, observed: Observed, jobs: tuple[Ref, ...]) -> Observed:
        """Return an observation with all that the API server has of the pods of these Jobs.

        A list without a version is never older than the Job's end, which was written after its pods'. Raises
        Stale where the ModelDeployment is not what was observed: what is to be deleted may be wanted again.
        """
        if _wish(self._read(observed.resource)) != _wish(observed.resource):
            raise Stale
        for job in jobs:
            query = {"labelSelector": f"{_CONTROLLER_UID}={job.uid}"}
            items = self._rest.send(Request("list", POD, job.namespace, query=query)).get("items") or ()
            observed = with_live_pods(observed, job, [whole(item, POD) for item in items])
        return observed

    def _read(self, resource: Body) -> Body:
        """Return a ModelDeployment as it is now, empty where it is gone."""
        metadata = resource["metadata"]
        found = named(self._rest, MODEL_DEPLOYMENT, metadata["namespace"], metadata["name"])
        return next(iter(found), {})

    def annotate(self, mark: Mark) -> None:
        """Add annotations to an object, by a field manager of their own: they say nothing of other fields.

        One that is gone, or another of its name, is none that was meant. A ControllerRevision that an old
        release encoded in another order of keys takes none.
        """
        ref, resource = mark.ref, BY_KIND[mark.ref.kind]
        metadata = {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}
        body = {
            "apiVersion": resource.api_version,
            "kind": ref.kind,
            "metadata": {**metadata, "annotations": dict(mark.annotations)},
        }
        query = {"fieldManager": RESULT_MANAGER, "force": "true"}
        try:
            self._remember(
                self._rest.send(Request("patch", resource, ref.namespace, ref.name, query=query, body=body))
            )
        except ApiError as error:
            invalid = error.message if error.status == 422 else ""
            is_another, is_fixed = "metadata.uid" in invalid, "field is immutable" in invalid
            if error.status != 409 and not (is_another or is_fixed):
                raise

    def apply(self, body: Body) -> Mapping[str, Any]:
        """Create a Job or ControllerRevision, or apply any other object. Raises TemplateRefused and Stale."""
        if body["kind"] == JOB.kind:
            write = self._create_job
        elif body["kind"] in CREATED_ONCE:
            write = self._create
        else:
            write = self._server_side_apply
        applied = self._asked(body, write)
        self._refusals.accepted(_owner(body), body, self._retry(body))
        return applied

    def check(self, body: Body) -> None:
        """Ask in a dry run whether an object would be accepted. Raises TemplateRefused and Stale."""
        self._asked(body, self._dry_run)

    def _asked(self, body: Body, ask: Callable[[Body], _Answer]) -> _Answer:
        """Ask the API server for an object, unless it refused just that a while ago."""
        key, retry = _owner(body), self._retry(body)
        self._refusals.expect(key, body, retry)
        try:
            return ask(body)
        except TemplateRefused as refusal:
            self._refusals.refused(key, body, retry, refusal)
            raise
        except ApiError as error:
            if error.status == 409:  # changed between two calls of ours
                raise Stale from error
            found = refusal_of(error.status, error.message, body)
            if found is None:
                raise
            self._refusals.refused(key, body, retry, found)
            raise found from error

    def _dry_run(self, body: Body) -> None:
        """Send what `apply` would, and have nothing written."""
        created, known = body["kind"] in CREATED_ONCE, self._known(body)
        if known is None and not created:
            self._objects.check_name(body)
        verb, query = ("create", _CREATED) if created else ("patch", FORCED)
        try:
            self._objects.send(verb, body, body, {**query, **_DRY_RUN})
        except ApiError as error:
            exists = created and error.status == 409
            if not (exists or _NO_DRY_RUN in error.message or self._may_be_put_right(error, body, known)):
                raise

    def _may_be_put_right(self, error: ApiError, body: Body, known: Body | None) -> bool:
        """Return whether what others set beside ours may be at fault, which `apply` would take away."""
        if error.status != 422 or known is None:
            return False
        return put_right(body, self._objects.send("get", body)) is not None

    def _retry(self, body: Body) -> str | None:
        """Return the retry annotation of an object's ModelDeployment."""
        found = self._store.of(_owner(body))[MODEL_DEPLOYMENT.kind]
        return objects.annotation(unpack(found[0]), RETRY_ANNOTATION) if found else None

    def delete(self, ref: Ref) -> None:
        """Delete with background propagation, and only the object with the UID of `ref`.

        Raises Stale where the object has changed since it was seen, if `ref` tells its version.
        """
        resource = BY_KIND[ref.kind]
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
            if ref.version:
                options["preconditions"]["resourceVersion"] = ref.version
        try:
            self._rest.send(Request("delete", resource, ref.namespace, ref.name, body=options))
        except ApiError as error:
            if error.status == 409 and ref.version:
                raise Stale from error
            if error.status not in (404, 409):  # gone, or a successor of the same name
                raise
        if ref.kind == JOB.kind:
            self._slots.release(ref.namespace, ref.name)
        if ref.uid:
            key = self._store.owner_of(ref.uid)
            if key:
                self._writes.deleted(key, ref.kind, ref.name, ref.uid)

    def wait_for_slot(self, key: Key, since: str | None) -> None:
        """Note since when a ModelDeployment waits for a slot; None: it does not."""
        self._slots.wait(key, since)

    def write_status(self, resource: Body, status: Body) -> None:
        """Replace the status. Raises Stale where the resource has changed since it was observed."""
        metadata = resource["metadata"]
        request = Request(
            "update",
            MODEL_DEPLOYMENT,
            metadata["namespace"],
            metadata["name"],
            subresource="status",
            query=OURS,
            body={**resource, "status": status},
        )
        try:
            written = self._rest.send(request)
        except ApiError as error:
            if error.status in (404, 409):
                raise Stale from error
            raise
        version = metadata["resourceVersion"]
        if written["metadata"]["resourceVersion"] == version:
            self._writes.in_vain(_owner(resource), version, digest(status))
        self._remember(written)

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        """Write Events; one that the API server refuses is only logged."""
        self._recorder.record(resource, notes)

    def _create_job(self, body: Body) -> Mapping[str, Any]:
        """Create a Job on a slot that is taken before: no other worker waits for the API server."""
        job = JobId(_owner(body), body["metadata"]["name"])
        if not self._slots.reserve(job, self._seen_jobs()):
            raise Stale
        try:
            made = self._create(body)
        except BaseException:
            self._slots.release(job.key.namespace, job.name)
            raise
        if is_suspended(made):  # by its queue, as it was made
            self._slots.release(job.key.namespace, job.name)
        return made

    def _create(self, body: Body) -> Mapping[str, Any]:
        try:
            made: Mapping[str, Any] = self._objects.send("create", body, body, _CREATED)
        except ApiError as error:
            if error.status != 409:
                raise
            made = self._adopt(body)
            if made.get("data") != body.get("data"):  # another release was first: what is stored counts
                raise Stale from error
        self._remember(made)
        return made

    def _adopt(self, body: Body) -> Mapping[str, Any]:
        """Return the existing object that `body` would create, with our labels and owner put back."""
        existing = self._objects.send("get", body)
        require_ours(existing, body)
        marks = {key: body[key] for key in ("apiVersion", "kind", "metadata")}
        return self._objects.send("patch", body, marks, FORCED) if differs(marks, existing) else existing

    def _server_side_apply(self, body: Body) -> Mapping[str, Any]:
        met, applied = self._objects.apply(body, self._known(body))
        fields = out_of_place(body, met) if met else ()
        self._repairs.applied(_owner(body), body, fields, datetime.now(UTC))
        self._remember(applied)
        return applied

    def _known(self, body: Body) -> Body | None:
        """Return the object of this name that the planner saw, and so decided that it is ours."""
        entries = self._store.of(_owner(body))[body["kind"]]
        return next((unpack(entry) for entry in entries if entry.name == body["metadata"]["name"]), None)

    def _remember(self, body: Body) -> None:
        metadata = body["metadata"]
        version = int(metadata["resourceVersion"])
        self._writes.wrote(_owner(body), body["kind"], metadata["name"], metadata["uid"], version)

    def _seen_jobs(self) -> Standing:
        """Return what the watches show of Jobs, looked at once a second at most."""
        known, now = self._standing, time.monotonic()
        if known is None or now - known.at > _STANDING_SECONDS:
            known = standing(self._store, self._slots.reserved(), now)
            self._standing = known
        return known


def _wish(resource: Body) -> tuple[Any, ...]:
    """Return what people ask for: which resource it is, its spec, and to try again."""
    path = ("uid", "generation", "deletionTimestamp")
    return *(objects.dig(resource, "metadata", key) for key in path), objects.annotation(
        resource, RETRY_ANNOTATION
    )


def _owner(body: Body) -> Key:
    """Return the ModelDeployment that an object of ours carries in its label."""
    key = owner_key(body)
    if key is None:
        raise ValueError(f"{body['kind']} {body['metadata']['name']} has no label of its ModelDeployment")
    return key
