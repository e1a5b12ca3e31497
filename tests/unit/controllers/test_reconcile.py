"""One step of the loop against a cluster that only notes what it is asked."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.reconcile import REFUSED_SECONDS, STALE_SECONDS, reconcile
from modelpress.planning.types import Body, EventNote, Key, Observed, Ref, Settings

KEY = Key("shop", "digits")
SETTINGS = Settings("compressor:1", "worker:1", "worker-gpu:1", "oci://registry.example.com/models")


def _resource(status: Body | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {
            "namespace": "shop",
            "name": "digits",
            "uid": "u",
            "generation": 1,
            "resourceVersion": "1",
        },
        "spec": {"model": {"uri": "https://example.com/digits.keras"}, "devices": {"type": "CPU"}},
        **({"status": dict(status)} if status else {}),
    }


class Notebook:
    """A Cluster with one new resource and no other object."""

    def __init__(self, status: Body | None = None, refuse: str | None = None) -> None:
        self.calls: list[str] = []
        self.status: dict[str, Any] = {}
        self._resource = _resource(status)
        self._refuse = refuse

    def observe(self, key: Key) -> Observed | None:
        return Observed(resource=self._resource, now=datetime(2025, 1, 1, tzinfo=UTC)) if key == KEY else None

    def apply(self, body: Body) -> Mapping[str, Any]:
        if body["kind"] == self._refuse:
            raise TemplateRefused(Reason.INVALID_POD_SETTINGS, "env[0].name: Required value")
        self.calls.append(f"apply {body['kind']}")
        return body

    def delete(self, ref: Ref) -> None:
        self.calls.append(f"delete {ref.kind}")

    def write_status(self, resource: Body, status: Body) -> None:
        self.status = dict(status)
        self.calls.append("status")

    def record(self, resource: Body, note: EventNote) -> None:
        self.calls.append(f"event {note.reason}")


def test_objects_come_first_then_the_status_then_the_events() -> None:
    cluster = Notebook()
    reconcile(cluster, KEY, SETTINGS)
    assert cluster.calls == ["apply NetworkPolicy", "apply Job", "status", "event Compressing"]


def test_a_resource_that_is_gone_needs_nothing() -> None:
    cluster = Notebook()
    assert reconcile(cluster, Key("shop", "gone"), SETTINGS) is None
    assert cluster.calls == []


def test_a_refused_object_is_stalled_told_once_and_tried_again_later() -> None:
    cluster = Notebook(refuse="Job")
    assert reconcile(cluster, KEY, SETTINGS) == REFUSED_SECONDS
    assert cluster.calls == ["apply NetworkPolicy", "status", "event InvalidPodSettings"]
    stalled = next(item for item in cluster.status["conditions"] if item["type"] == "Stalled")
    assert (stalled["status"], stalled["message"]) == ("True", "env[0].name: Required value")

    again = Notebook(status=cluster.status, refuse="Job")
    assert reconcile(again, KEY, SETTINGS) == REFUSED_SECONDS
    assert again.calls == ["apply NetworkPolicy"]


def test_a_stale_view_is_looked_at_again_without_acting() -> None:
    class Behind(Notebook):
        def observe(self, key: Key) -> Observed | None:
            raise Stale

    cluster = Behind()
    assert reconcile(cluster, KEY, SETTINGS) == STALE_SECONDS
    assert cluster.calls == []


def test_a_status_that_somebody_else_wrote_first_gives_no_event() -> None:
    class Late(Notebook):
        def write_status(self, resource: Body, status: Body) -> None:
            raise Stale

    cluster = Late()
    assert reconcile(cluster, KEY, SETTINGS) == STALE_SECONDS
    assert cluster.calls == ["apply NetworkPolicy", "apply Job"]
