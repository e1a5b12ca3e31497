"""Operators that stop, start and run twice; resources that go, wait, or cannot be served."""

from functools import partial

import pytest

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, Deployed, now

pytestmark = pytest.mark.timeout(1200)  # the first test waits for all parts of the cluster and a Job
CHILDREN = (
    "jobs",
    "controllerrevisions",
    "deployments",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "pods",
)


@pytest.fixture(scope="module")
def digits(cluster: Cluster, module_namespace: str) -> Deployed:
    """One replica, made while two operators run."""
    deployed = cluster.deployed(module_namespace, "digits")
    second = cluster.another_operator()
    second.start()
    try:
        since = now()
        deployed.apply(cluster.spec())
        deployed.wait_current(JOB_SECONDS)
        deployed.patch({"worker": {"env": [{"name": "GREETING", "value": "both"}]}})
        deployed.wait_current()
        assert second.running
        quiet = now()
        _wait_for_resyncs(cluster, quiet, 6)  # three of each
        writes = deployed.writes_since(quiet, cluster.operator.user)
        assert writes == [], "two operators must not fight"
        cluster.facts.append(
            f"two operators at once: {len(deployed.writes_since(since, cluster.operator.user))} writes"
        )
    finally:
        assert second.stop() == 0
    return deployed


def _wait_for_resyncs(cluster: Cluster, since: str, rounds: int) -> None:
    def seen() -> bool:
        found = cluster.control_plane.audit(user=cluster.operator.user, since=since)
        return sum(r.verb == "list" and r.resource == "networkpolicies" for r in found) >= rounds

    wait_until(f"{rounds} resyncs", seen, 120, every=0.5)


def test_two_operators_at_once_make_one_job_and_one_revision_each_time(digits: Deployed) -> None:
    assert len(digits.children("jobs")) == 1
    assert len(digits.children("controllerrevisions")) == 2
    assert len(digits.children("deployments")) == 1
    assert digits.kstatus() == "Current"


def test_a_restarted_operator_changes_nothing(cluster: Cluster, digits: Deployed) -> None:
    (pod,) = digits.ready_pods()
    assert cluster.operator.stop() == 0
    start = now()
    cluster.operator.start()
    _wait_for_resyncs(cluster, start, 3)
    assert digits.writes_since(start, cluster.operator.user) == []
    assert [found["metadata"]["uid"] for found in digits.ready_pods()] == [pod["metadata"]["uid"]]


def test_an_edit_while_the_operator_is_away_is_carried_out_when_it_is_back(
    cluster: Cluster, digits: Deployed
) -> None:
    cluster.operator.stop()
    try:
        digits.patch({"replicas": 2})
        assert digits.kstatus() == "InProgress", "an unseen edit must not look finished"
    finally:
        cluster.operator.start()
    digits.wait("two ready", lambda: len(digits.ready_pods()) == 2)
    digits.wait_current()


def test_a_resource_made_again_at_once_gets_objects_of_its_own(cluster: Cluster, digits: Deployed) -> None:
    before = digits.read()["metadata"]["uid"]
    owned = {plural: {child["metadata"]["uid"] for child in digits.children(plural)} for plural in CHILDREN}
    digits.api.delete("modeldeployments", digits.namespace, digits.name)
    digits.apply(cluster.spec())
    digits.wait_current(JOB_SECONDS)
    after = digits.read()["metadata"]["uid"]
    assert after != before
    for plural in CHILDREN:
        digits.wait(f"old {plural} gone", partial(_disjoint, digits, plural, owned[plural]))
    (deployment,) = digits.children("deployments")
    assert [owner["uid"] for owner in deployment["metadata"]["ownerReferences"]] == [after]


def test_others_can_label_revisions_and_the_resource_can_be_deleted_alone(
    cluster: Cluster, namespace: str
) -> None:
    alone = cluster.deployed(namespace, "alone")
    alone.apply(cluster.spec({"worker": {"env": [{"name": "GREETING", "value": "<é & ü>"}]}}))
    alone.wait_current(JOB_SECONDS)
    (revision,) = alone.children("controllerrevisions")
    kubectl = partial(cluster.control_plane.kubectl, "-n", namespace)
    kubectl("label", "controllerrevision", revision["metadata"]["name"], "example.com/team=vision")
    kubectl("delete", "mdep", "alone", "--cascade=orphan", "--wait", "--timeout=30s")
    for plural in CHILDREN:
        for child in alone.children(plural):
            assert alone.name not in {
                owner["name"] for owner in child["metadata"].get("ownerReferences", ())
            }, plural
    assert len(alone.ready_pods()) == 1, "what served goes on"


def _none(digits: Deployed, plural: str) -> bool:
    return not digits.children(plural)


def _disjoint(digits: Deployed, plural: str, uids: set[str]) -> bool:
    return uids.isdisjoint(child["metadata"]["uid"] for child in digits.children(plural))


def test_an_operator_killed_while_a_job_runs_goes_on_from_what_is_there(
    cluster: Cluster, namespace: str
) -> None:
    killed = cluster.deployed(namespace, "killed")
    killed.apply(cluster.spec())
    killed.wait("a Job", killed.job_names)
    cluster.operator.kill()
    (job,) = killed.job_names()
    wait_until("the Job done without an operator", lambda: _is_complete(killed, job), JOB_SECONDS)
    cluster.operator.start()
    killed.wait_current()
    assert killed.job_names() == {job}


def _is_complete(deployed: Deployed, job: str) -> bool:
    conditions = deployed.api.get("jobs", deployed.namespace, job)["status"].get("conditions", ())
    return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)


def test_deleting_the_resource_with_the_operator_stopped_removes_everything(
    cluster: Cluster, digits: Deployed
) -> None:
    cluster.operator.stop()
    try:
        cluster.control_plane.kubectl(
            "-n", digits.namespace, "delete", "mdep", "digits", "--wait", "--timeout=30s"
        )
        for plural in CHILDREN:
            wait_until(f"no {plural}", partial(_none, digits, plural))
    finally:
        cluster.operator.start()


def test_stages_on_several_pods_are_refused_as_not_supported_yet(cluster: Cluster, namespace: str) -> None:
    stages = cluster.deployed(namespace, "stages")
    stages.apply(cluster.spec({"parallelism": {"pipeline": 2, "podsPerReplica": 2}}))
    condition = stages.wait_stalled("NotSupportedYet")
    assert "spec.parallelism.podsPerReplica" in condition["message"]
    assert not stages.children("jobs")


def test_a_missing_secret_is_named_and_the_job_goes_on_when_it_comes(
    cluster: Cluster, namespace: str
) -> None:
    late = cluster.deployed(namespace, "late")
    late.apply(cluster.spec({"model": {"secretRef": {"name": "late"}}, "replicas": 0}))

    def named() -> bool:
        condition = late.condition("Reconciling")
        return condition.get("reason") == "SecretNotFound" and '"late" not found' in condition["message"]

    late.wait("the reason", named, 90)
    assert late.kstatus() == "InProgress"
    cluster.add_secret(namespace, "late")
    late.wait_current(JOB_SECONDS)


def test_a_source_that_is_away_is_tried_again_without_a_word_until_it_is_back(
    cluster: Cluster, namespace: str
) -> None:
    web = cluster.sources.web
    (web.folder / "away.npz").write_bytes((web.folder / "flat.npz").read_bytes())
    web.statuses["/away.npz"] = 503
    away = cluster.deployed(namespace, "away")
    evaluation = {"uri": f"{web.url}/away.npz"}
    away.apply(cluster.spec({"data": {"evaluation": evaluation}, "job": {"backoffLimit": 0}, "replicas": 0}))
    (first,) = away.wait("a Job", away.job_names)
    away.wait("the reason", lambda: away.condition("Ready").get("reason") == "SourceUnavailable", JOB_SECONDS)
    since = away.condition("Ready")
    # a failed Job goes once the attempt after it has failed as well
    away.wait("another attempt", lambda: first not in away.job_names(), JOB_SECONDS)
    assert away.condition("Ready") == since
    assert away.kstatus() == "InProgress"
    assert [event["reason"] for event in _events(away)] == ["Compressing", "SourceUnavailable"]

    del web.statuses["/away.npz"]
    away.wait_current(JOB_SECONDS)
    assert len(away.job_names()) == 1
    assert "failed" not in away.status


def _events(deployed: Deployed) -> list[Json]:
    events = deployed.api.list("events", deployed.namespace)
    own = [event for event in events if event["involvedObject"]["name"] == deployed.name]
    return sorted(own, key=lambda event: str(event["metadata"]["creationTimestamp"]))


def test_too_few_devices_are_named(cluster: Cluster, namespace: str) -> None:
    wide = cluster.deployed(namespace, "wide")
    wide.apply(cluster.spec({"parallelism": {"data": 16}, "replicas": 2}))  # 32 devices of 24

    def named() -> bool:
        return wide.condition("Available").get("reason") == "PodsUnschedulable"

    wide.wait("the reason", named, JOB_SECONDS)
    assert "example.com/slot" in wide.condition("Available")["message"]


def test_the_operator_was_never_refused(cluster: Cluster) -> None:
    requests = cluster.control_plane.audit(user=cluster.operator.user, since=cluster.since)
    assert requests
    refused = [r for r in requests if r.code in (401, 403)]
    # nobody may create anything in a namespace that goes, as those of the tests above
    assert [r for r in refused if "is being terminated" not in r.message] == []
