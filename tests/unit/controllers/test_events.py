"""The events that we write, and those that the API server does not take."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from modelpress.controllers.job_slots import JobSlots, Limits
from modelpress.controllers.kubernetes_cluster import KubernetesCluster
from modelpress.controllers.recorder import event_body
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.controllers.store import Store
from modelpress.planning.types import EventNote, Key

NOW = datetime(2025, 1, 1, 0, 1, tzinfo=UTC)
RESOURCE: dict[str, Any] = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "shop", "name": "digits", "uid": "u", "resourceVersion": "5"},
}


class _Refusing(Rest):
    """Answers every request with an error."""

    def __init__(self, status: int) -> None:
        self._status = status

    def send(self, request: Request) -> dict[str, Any]:
        raise ApiError(self._status, "reason", "message")


@pytest.mark.parametrize(
    ("status", "once", "logged"), [(409, True, False), (409, False, True), (403, True, True)]
)
def test_an_event_that_a_stand_in_for_the_api_server_refuses_is_logged_unless_it_was_told_already(
    status: int, once: bool, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = KubernetesCluster(_Refusing(status), Store(), JobSlots(Limits(1, 1)))
    with caplog.at_level(logging.WARNING):
        cluster.record(RESOURCE, EventNote("Warning", "A", "b", once=once))
    assert ("event not written" in caplog.text) == logged


@pytest.mark.parametrize("status", [403, 500])
def test_events_that_a_stand_in_forbids_to_list_do_not_stop_the_loop_and_other_errors_do(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.put({**RESOURCE, "spec": {}})
    waiting = {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}],
    }
    labels = {"modelpress.dev/name": "digits", "modelpress.dev/role": "worker"}
    metadata = {"namespace": "shop", "name": "digits-1", "uid": "p", "resourceVersion": "6", "labels": labels}
    created = "2025-01-01T00:00:00Z"
    store.put({"kind": "Pod", "metadata": {**metadata, "creationTimestamp": created}, "status": waiting})
    cluster = KubernetesCluster(_Refusing(status), store, JobSlots(Limits(1, 1)))
    if status == 403:
        observed = cluster.observe(Key("shop", "digits"))
        assert observed is not None
        assert observed.events == ()
        assert "events not read" in caplog.text
    else:
        with pytest.raises(ApiError):
            cluster.observe(Key("shop", "digits"))


def test_a_long_message_is_cut_to_what_an_event_takes() -> None:
    resource = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"namespace": "shop", "name": "digits", "uid": "u", "resourceVersion": "5"},
    }
    body = event_body(resource, EventNote("Warning", "JobFailed", "x" * 5000), NOW)
    assert len(body["message"]) == 1024
    assert body["involvedObject"]["uid"] == "u"
    assert (
        body["metadata"]["name"]
        != event_body(resource, EventNote("Normal", "a", "b"), NOW)["metadata"]["name"]
    )


def test_only_a_note_that_is_told_once_has_a_name_that_the_api_server_knows_already() -> None:
    def name(uid: str = "u", **fields: Any) -> str:
        metadata = {"namespace": "shop", "name": "digits", "uid": uid, "resourceVersion": "5"}
        resource = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata}
        note = EventNote(**{"type": "Warning", "reason": "A", "message": "used: 5", "once": True, **fields})
        return str(event_body(resource, note, NOW)["metadata"]["name"])

    assert name() == name(message="used: 6")
    assert len({name(), name(uid="v"), name(reason="B"), name(once=False), name(once=False)}) == 5
