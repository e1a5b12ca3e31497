"""Events that the API server does not take."""

import logging
from typing import Any

import pytest

from modelpress.controllers.kubernetes_cluster import KubernetesCluster
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.controllers.store import Store
from modelpress.planning.types import EventNote

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
    cluster = KubernetesCluster(_Refusing(status), Store(), lambda call: call(), 1)
    with caplog.at_level(logging.WARNING):
        cluster.record(RESOURCE, EventNote("Warning", "A", "b", once=once))
    assert ("event not written" in caplog.text) == logged
