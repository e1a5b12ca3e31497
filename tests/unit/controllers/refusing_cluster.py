"""A Cluster of planning's fake cluster in which some writes fail, and whose watches may be behind."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.reconcile import reconcile
from modelpress.planning.types import Body, EventNote, Key, Mark, Observed, Ref
from tests.unit.planning.fake_cluster import SETTINGS, FakeCluster


class Refusing:
    """A Cluster of planning's fake cluster in which writes of some kinds fail."""

    def __init__(self, fake: FakeCluster, faults: Mapping[str, Exception]) -> None:
        self.fake = fake
        self.faults = faults
        self.slot_since: str | None = None
        self.changed = False  # people edited it, and the watch has not shown that
        self.bad: str | None = None  # what the API server does not take in any object
        self.checked: list[str] = []
        self.live_pods: tuple[Body, ...] = ()  # which the watch has not shown
        self.calls: list[str] = []
        self.notes: list[EventNote] = []

    def observe(self, key: Key) -> Observed | None:
        return self.fake.observe()

    def read_live(self, observed: Observed, jobs: tuple[Ref, ...]) -> Observed:
        self.calls += [f"read pods of {ref.kind}" for ref in jobs]
        if self.changed:
            raise Stale
        uids = observed.live_jobs | {str(ref.uid) for ref in jobs}
        return replace(observed, pods=(*observed.pods, *self.live_pods), live_jobs=uids)

    def annotate(self, mark: Mark) -> None:
        self.fake.mark(mark)
        self.calls.append(f"annotate {mark.ref.kind}")

    def wait_for_slot(self, key: Key, since: str | None) -> None:
        self.slot_since = since

    def apply(self, body: Body) -> Mapping[str, Any]:
        if body["kind"] in self.faults:
            raise self.faults[body["kind"]]
        self.fake.apply(body)
        self.calls.append(f"apply {body['kind']}")
        return body

    def check(self, body: Body) -> None:
        self.checked.append(body["kind"])
        bad = self.bad is not None and self.bad in json.dumps(body)
        if bad or body["kind"] in self.faults:
            raise REFUSED_TEMPLATE if bad else self.faults[body["kind"]]

    def delete(self, ref: Ref) -> None:
        del self.fake.objects[ref.kind, ref.name]
        self.calls.append(f"delete {ref.kind}")

    def write_status(self, resource: Body, status: Body) -> None:
        self.fake.resource["status"] = dict(status)
        self.calls.append("status")

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        self.notes += notes

    def look(self) -> float | None:
        """Take one step; return when the next is due."""
        self.calls, self.notes, self.checked = [], [], []
        return reconcile(self, Key("models", "digits"), SETTINGS)


REFUSED_TEMPLATE = TemplateRefused(Reason.INVALID_POD_SETTINGS, "nodeAffinty: field not declared in schema")
REFUSED = TemplateRefused(Reason.INVALID_SPEC, "the range of ports is full")
AWAY = ConnectionError("the server is away")


def without(fake: FakeCluster, *kinds: str) -> FakeCluster:
    """Return a cluster whose objects of some kinds are missing."""
    fake.objects = {key: body for key, body in fake.objects.items() if key[0] not in kinds}
    return fake
