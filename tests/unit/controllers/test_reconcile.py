"""One step of the loop against a cluster that only notes what it is asked."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.controllers import reconcile as module
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.reconcile import REFUSED_SECONDS, SOONEST_SECONDS, STALE_SECONDS, reconcile
from modelpress.planning.plan import decide
from modelpress.planning.types import Body, EventNote, Key, Mark, Observed, Ref, Settings
from tests.unit.controllers.refusing_cluster import AWAY, REFUSED, Refusing, without
from tests.unit.planning.fake_cluster import SETTINGS as FAKE_SETTINGS
from tests.unit.planning.fake_cluster import FakeCluster, ready_cluster, said

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

    def read_live(self, observed: Observed, jobs: tuple[Ref, ...]) -> Observed:
        assert jobs == (), "there is no Job"
        return observed

    def annotate(self, mark: Mark) -> None:
        raise NotImplementedError

    def wait_for_slot(self, key: Key, since: str | None) -> None:
        assert since is None

    def apply(self, body: Body) -> Mapping[str, Any]:
        if body["kind"] == self._refuse:
            raise TemplateRefused(Reason.INVALID_POD_SETTINGS, "env[0].name: Required value")
        self.calls.append(f"apply {body['kind']}")
        return body

    def check(self, body: Body) -> None:
        raise NotImplementedError  # there is no artifact

    def delete(self, ref: Ref) -> None:
        self.calls.append(f"delete {ref.kind}")

    def write_status(self, resource: Body, status: Body) -> None:
        self.status = dict(status)
        self.calls.append("status")

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        self.calls += [f"event {note.reason}" for note in notes]


def test_objects_come_first_then_the_events_then_the_status() -> None:
    cluster = Notebook()
    reconcile(cluster, KEY, SETTINGS)
    assert cluster.calls == ["apply NetworkPolicy", "apply Job", "event Compressing", "status"]


def test_the_log_line_of_a_step_says_of_which_generation_and_revision_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        reconcile(Notebook(), KEY, SETTINGS)
        fake = without(ready_cluster(), "Service")
        reconcile(Refusing(fake, {}), KEY, FAKE_SETTINGS)
    facts = ("namespace", "modeldeployment", "generation", "revision")
    told = [tuple(getattr(record, fact) for fact in facts) for record in caplog.records]
    assert told == [("shop", "digits", 1, None), ("models", "digits", 1, fake.revision_name())]


def test_a_resource_that_is_gone_needs_nothing() -> None:
    cluster = Notebook()
    assert reconcile(cluster, Key("shop", "gone"), SETTINGS) is None
    assert cluster.calls == []


def test_a_refused_object_is_stalled_told_once_and_tried_again_later() -> None:
    cluster = Notebook(refuse="Job")
    assert reconcile(cluster, KEY, SETTINGS) == REFUSED_SECONDS
    assert cluster.calls == ["apply NetworkPolicy", "event InvalidPodSettings", "status"]
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


def test_a_status_that_somebody_else_wrote_first_is_looked_at_again() -> None:
    class Late(Notebook):
        def write_status(self, resource: Body, status: Body) -> None:
            raise Stale

    cluster = Late()
    assert reconcile(cluster, KEY, SETTINGS) == STALE_SECONDS
    assert cluster.calls == ["apply NetworkPolicy", "apply Job", "event Compressing"]


def test_a_refused_child_holds_no_other_up_and_is_told_once() -> None:
    cluster = Refusing(without(ready_cluster(), "Service"), {"Service": REFUSED})
    cluster.fake.edit(replicas=6)
    assert cluster.look() == REFUSED_SECONDS
    assert cluster.calls == ["apply Deployment", "status"]
    assert cluster.fake.only("Deployment")["spec"]["replicas"] == 6
    assert cluster.fake.says("Stalled") == ("True", "InvalidSpec")
    assert [note.reason for note in cluster.notes] == ["InvalidSpec"]
    assert cluster.look() == REFUSED_SECONDS
    assert (cluster.calls, cluster.notes) == ([], [])


def test_a_refused_child_does_not_keep_a_failed_rollout_from_going_back() -> None:
    fake = ready_cluster()
    fake.edit(serving={"maxBatchSize": 8})
    fake.settle()
    fake.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=2)
    fake.deadline_exceeded()
    cluster = Refusing(without(fake, "Service"), {"Service": REFUSED})
    before = fake.only("Deployment")["spec"]["template"]
    cluster.look()
    assert fake.only("Deployment")["spec"]["template"] != before


@pytest.mark.parametrize("fault", [REFUSED, AWAY])
def test_no_pod_of_a_revision_that_cannot_be_stored_is_started(fault: Exception) -> None:
    cluster = Refusing(ready_cluster(), {"ControllerRevision": fault})
    before = cluster.fake.only("Deployment")
    cluster.fake.edit(serving={"maxBatchSize": 8})
    with_error(cluster, fault)
    assert "apply Deployment" not in cluster.calls
    assert cluster.fake.only("Deployment") == before


@pytest.mark.parametrize("fault", [REFUSED, AWAY])
def test_no_pod_starts_without_a_network_policy_and_those_behind_an_old_one_scale(fault: Exception) -> None:
    cluster = Refusing(FakeCluster(), {"NetworkPolicy": fault})
    with_error(cluster, fault)
    assert cluster.calls == ["status"]
    cluster = Refusing(ready_cluster(), {"NetworkPolicy": fault})
    cluster.fake.only("NetworkPolicy")["spec"]["policyTypes"] = []
    cluster.fake.edit(replicas=6)
    with_error(cluster, fault)
    assert cluster.calls == ["apply Deployment", "status"]


def with_error(cluster: Refusing, fault: Exception) -> None:
    """Take a step in which a write fails of `fault`."""
    if isinstance(fault, TemplateRefused):
        cluster.look()
        return
    with pytest.raises(type(fault)):
        cluster.look()


def test_an_error_of_the_api_server_is_raised_after_all_other_writes_and_their_events() -> None:
    cluster = Refusing(ready_cluster(), {"Service": AWAY, "PodDisruptionBudget": ValueError("another")})
    without(cluster.fake, "Service", "PodDisruptionBudget")
    cluster.fake.edit(serving={"maxBatchSize": 8})
    with pytest.raises(ConnectionError):
        cluster.look()
    assert cluster.calls == ["apply ControllerRevision", "apply Deployment", "status"]
    assert [note.reason for note in cluster.notes] == ["RollingOut"]
    with pytest.raises(ConnectionError):
        cluster.look()
    assert (cluster.calls, cluster.notes) == ([], [])
    cluster.faults = {}
    cluster.look()
    assert cluster.calls == ["apply Service", "apply PodDisruptionBudget"]


def test_a_gap_is_not_announced_while_the_deployment_cannot_be_written() -> None:
    cluster = Refusing(ready_cluster(), {"Deployment": AWAY})
    cluster.fake.edit(serving={"maxBatchSize": 8}, strategy={"type": "Recreate"})
    for _ in range(2):
        with pytest.raises(ConnectionError):
            cluster.look()
        assert "ServingGap" not in [note.reason for note in cluster.notes]
    cluster.faults = {}
    cluster.look()
    assert "ServingGap" in [note.reason for note in cluster.notes]


@pytest.mark.parametrize("fault", [REFUSED, AWAY])
def test_a_retry_is_not_forgotten_where_its_job_cannot_be_made(fault: Exception) -> None:
    fake = FakeCluster()
    fake.settle()
    fake.job_fails(65, said("InvalidModel", "no"))
    fake.settle()
    fake.annotate(names.RETRY_ANNOTATION, "1")
    cluster = Refusing(fake, {"Job": fault})
    for _ in range(2):
        with_error(cluster, fault)
        assert fake.status["failed"].get("retry") != "1"
    cluster.faults = {}
    cluster.look()
    cluster.look()
    assert fake.job_name("1") in fake.names_of("Job")
    assert "failed" not in fake.status


def test_a_refused_disruption_budget_is_told_in_an_event_that_is_written_once_and_changes_nothing_else() -> (
    None
):
    cluster = Refusing(ready_cluster(), {"PodDisruptionBudget": REFUSED})
    without(cluster.fake, "PodDisruptionBudget")
    for _ in range(2):
        assert cluster.look() == REFUSED_SECONDS
        assert cluster.calls == []
        (told,) = cluster.notes
        assert told == EventNote("Warning", "DisruptionBudgetRefused", REFUSED.message, once=True)
    assert cluster.fake.says("Ready") == ("True", "Available")
    assert cluster.fake.says("Stalled") == ("False", "Settled")


def test_an_error_about_the_disruption_budget_comes_after_the_status() -> None:
    cluster = Refusing(ready_cluster(), {"PodDisruptionBudget": AWAY})
    without(cluster.fake, "PodDisruptionBudget")
    cluster.fake.edit(replicas=3)
    with pytest.raises(ConnectionError):
        cluster.look()
    assert cluster.calls == ["apply Deployment", "status"]


@pytest.mark.parametrize(("planned", "seconds"), [(-80.0, SOONEST_SECONDS), (0.0, SOONEST_SECONDS), (7.0, 7)])
def test_no_plan_is_looked_at_again_in_no_time(
    monkeypatch: pytest.MonkeyPatch, planned: float, seconds: float
) -> None:
    cluster = Refusing(ready_cluster(), {})
    monkeypatch.setattr(module, "decide", lambda *given: replace(decide(*given), requeue=planned))
    assert cluster.look() == seconds


def bad_edit() -> Refusing:
    """Return a cluster whose API server does not take the newest edit."""
    cluster = Refusing(ready_cluster(), {})
    cluster.fake.edit(worker={"affinity": {"nodeAffinty": {}}}, replicas=3)
    cluster.bad = "nodeAffinty"
    return cluster


def test_a_revision_is_asked_for_before_it_is_made_and_a_refused_one_leaves_nothing() -> None:
    cluster = bad_edit()
    revisions = cluster.fake.names_of("ControllerRevision")
    assert cluster.look() == REFUSED_SECONDS
    assert cluster.checked == ["ControllerRevision"]
    assert cluster.calls == ["apply Deployment", "status"]
    assert cluster.fake.only("Deployment")["spec"]["replicas"] == 3
    assert cluster.fake.names_of("ControllerRevision") == revisions
    assert [note.reason for note in cluster.notes] == ["InvalidPodSettings"]
    cluster.look()
    assert (cluster.checked, cluster.calls, cluster.notes) == ([], [], []), "it is remembered"
    cluster.bad = None
    cluster.fake.annotate(names.RETRY_ANNOTATION, "1")
    cluster.look()
    assert cluster.checked == ["ControllerRevision", "Deployment"]
    assert cluster.calls == ["apply ControllerRevision", "apply Deployment", "status"]


def test_a_template_that_only_the_deployment_shows_to_be_bad_makes_no_revision() -> None:
    cluster = Refusing(ready_cluster(), {"Deployment": REFUSED})
    cluster.fake.edit(serving={"maxBatchSize": 8})
    revisions = cluster.fake.names_of("ControllerRevision")
    cluster.look()
    assert cluster.checked == ["ControllerRevision", "Deployment"]
    assert cluster.fake.names_of("ControllerRevision") == revisions


def test_scaling_asks_for_nothing_first() -> None:
    cluster = Refusing(ready_cluster(), {})
    cluster.fake.edit(replicas=4)
    cluster.look()
    assert (cluster.checked, cluster.calls) == ([], ["apply Deployment", "status"])
