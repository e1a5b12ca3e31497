"""What ends a step is logged and told; the cluster is planning's fake one."""

import asyncio
import logging

import pytest
from urllib3.exceptions import HTTPError

from modelpress.controllers import reconcile as module
from modelpress.controllers.rest import ApiError, NotActive
from modelpress.controllers.steps import TOLD_FROM, Steps
from modelpress.planning.types import Key
from tests.unit.controllers.refusing_cluster import Refusing, without
from tests.unit.planning.fake_cluster import SETTINGS, ready_cluster

KEY = Key("models", "digits")
FORBIDDEN = ApiError(403, "Forbidden", 'services is forbidden: User "operator" cannot create resource')


def step(steps: Steps, cluster: Refusing) -> None:
    """Take a step that ends in an error."""
    cluster.calls, cluster.notes = [], []
    with pytest.raises((ApiError, HTTPError, NotActive, KeyError)):
        asyncio.run(steps(KEY))


@pytest.mark.parametrize("error", [FORBIDDEN, HTTPError("read timed out")])
def test_the_third_error_of_the_api_server_in_a_row_is_told_once_in_its_words_and_goes_away(
    error: Exception,
) -> None:
    cluster = Refusing(without(ready_cluster(), "Service"), {"Service": error})
    steps = Steps(cluster, SETTINGS)
    for _ in range(TOLD_FROM - 1):
        step(steps, cluster)
        assert cluster.fake.says("Reconciling") == ("False", "Settled")
    step(steps, cluster)
    assert [note.reason for note in cluster.notes] == ["ApiError"]
    assert cluster.fake.says("Reconciling") == ("True", "ApiError")
    assert cluster.fake.condition("Reconciling")["message"] == str(error)
    assert cluster.fake.says("Stalled") == ("False", "Settled")
    assert cluster.fake.says("Available") == ("True", "Available")
    for _ in range(3):
        step(steps, cluster)
        assert (cluster.calls, cluster.notes) == ([], [])
    cluster.fake.edit(replicas=5)
    step(steps, cluster)
    assert cluster.calls == ["apply Deployment", "status"]
    assert cluster.fake.says("Reconciling") == ("True", "ApiError"), "not told away by a plan not carried out"
    cluster.faults = {}
    asyncio.run(steps(KEY))
    asyncio.run(steps(KEY))
    assert cluster.fake.says("Reconciling")[1] != "ApiError"


def test_a_step_that_succeeds_ends_the_row() -> None:
    cluster = Refusing(without(ready_cluster(), "Service"), {})
    steps = Steps(cluster, SETTINGS)
    for _ in range(3):
        without(cluster.fake, "Service")
        cluster.faults = {"Service": FORBIDDEN}
        step(steps, cluster)
        step(steps, cluster)
        cluster.faults = {}
        asyncio.run(steps(KEY))
    assert cluster.fake.says("Reconciling") == ("False", "Settled")


def test_a_standby_tells_nothing() -> None:
    cluster = Refusing(without(ready_cluster(), "Service"), {"Service": NotActive("standby")})
    steps = Steps(cluster, SETTINGS)
    for _ in range(4):
        step(steps, cluster)
        assert (cluster.calls, cluster.notes) == ([], [])


def test_a_fault_of_the_planner_is_stalled_with_one_clean_line_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Refusing(ready_cluster(), {})
    steps = Steps(cluster, SETTINGS)

    def broken(*_: object) -> None:
        raise KeyError("some\x1b[31m\nlines")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(module, "decide", broken)
        step(steps, cluster)
        assert [note.reason for note in cluster.notes] == ["InternalError"]
        for _ in range(3):
            step(steps, cluster)
            assert (cluster.calls, cluster.notes) == ([], [])
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert cluster.fake.says("Stalled") == ("True", "InternalError")
    assert cluster.fake.says("Available") == ("True", "Available")
    message = cluster.fake.condition("Stalled")["message"]
    assert message.startswith("KeyError: ")
    assert message.isprintable()
    asyncio.run(steps(KEY))
    assert cluster.fake.says("Stalled") == ("False", "Settled")
    assert cluster.fake.says("Ready") == ("True", "Available")
