"""The events that we write, and those that the API server does not take."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

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


class _StandIn(Rest):
    """Answers every request with an error, or takes it."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault
        self.written: list[str] = []

    def send(self, request: Request) -> dict[str, Any]:
        if self.fault is not None:
            raise self.fault
        assert request.body is not None
        self.written.append(request.body["message"])
        return {}


def note(message: str) -> EventNote:
    return EventNote("Warning", "A", message)


@pytest.mark.parametrize(("status", "logged"), [(409, False), (403, True)])
def test_an_event_that_a_stand_in_for_the_api_server_refuses_is_logged_unless_it_was_told_already(
    status: int, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rest = _StandIn(ApiError(status, "reason", "message"))
    cluster = KubernetesCluster(rest, Store(), JobSlots(Limits(1, 1)))
    with caplog.at_level(logging.WARNING):
        cluster.record(RESOURCE, (note("b"),))
    assert ("event not written" in caplog.text) == logged
    rest.fault = None
    cluster.record(RESOURCE, (note("c"),))
    assert rest.written == ["c"]


@pytest.mark.parametrize("fault", [HTTPError("refused"), ApiError(503, "", ""), ApiError(429, "", "")])
def test_events_that_a_stand_in_for_the_api_server_cannot_take_come_before_the_next(fault: Exception) -> None:
    rest = _StandIn(fault)
    cluster = KubernetesCluster(rest, Store(), JobSlots(Limits(1, 1)))
    cluster.record(RESOURCE, (note("first"), note("second")))
    cluster.record(RESOURCE, ())
    rest.fault = None
    cluster.record(RESOURCE, (note("third"),))
    cluster.record(RESOURCE, ())
    assert rest.written == ["first", "second", "third"]


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
    cluster = KubernetesCluster(
        _StandIn(ApiError(status, "reason", "message")), store, JobSlots(Limits(1, 1))
    )
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


def test_what_follows_from_one_version_of_a_resource_has_a_name_that_the_api_server_takes_once() -> None:
    def name(uid: str = "u", version: str = "5", **fields: Any) -> str:
        metadata = {"namespace": "shop", "name": "digits", "uid": uid, "resourceVersion": version}
        resource = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata}
        made = EventNote(**{"type": "Warning", "reason": "A", "message": "used: 5", **fields})
        return str(event_body(resource, made, NOW)["metadata"]["name"])

    assert name() == name()
    assert len({name(), name(uid="v"), name(version="6"), name(reason="B"), name(message="used: 6")}) == 5
    assert name(once=True) == name(once=True, message="used: 6", version="6") != name()
    assert len({name(once=True), name(once=True, uid="v"), name(once=True, reason="B")}) == 3
