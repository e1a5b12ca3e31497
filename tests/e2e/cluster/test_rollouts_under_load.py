"""Rollouts while 10,000 requests arrive. The tests follow each other."""

import time
from typing import Any

import pytest

from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, THREE_SLOTS, TWO_SLOTS, Deployed
from tests.support.cluster.load import Load

pytestmark = pytest.mark.timeout(1200)  # the first test waits for all parts of the cluster and two Jobs
REQUESTS = 10_000
NO_SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def scheme(name: str) -> dict[str, Any]:
    return {"compression": {"quantization": {"scheme": name}}}


@pytest.fixture(scope="module")
def digits(cluster: Cluster, module_namespace: str) -> Deployed:
    """A model whose two schemes are both compressed, so that an edit from one to the other is a rollout."""
    deployed = cluster.deployed(module_namespace, "digits")
    one_device = {"parallelism": {"data": 1}, "replicas": 0}
    deployed.apply(cluster.spec({**one_device, **scheme("Float16")}))
    deployed.wait_current(JOB_SECONDS)
    deployed.patch(scheme("Int8Dynamic"))
    deployed.wait_current(JOB_SECONDS)
    return deployed


def roll_out(cluster: Cluster, digits: Deployed, edit: dict[str, Any]) -> Load:
    """Edit under load; return what came of the requests."""
    before = digits.status["current"]["name"]
    jobs = digits.job_names()
    with Load(digits, cluster.sources.test_x[0]) as load:
        digits.wait("answers of the old revision", lambda: load.answers[before] > 100)
        digits.patch(edit)
        after = digits.wait_current()["current"]["name"]
        digits.wait("all requests", lambda: sum(load.answers.values()) >= REQUESTS and load.answers[after])
        time.sleep(1)  # the old pods have gone, or drain
    assert digits.job_names() == jobs
    assert load.answers.keys() == {before, after}
    assert all(len(outputs) == 1 for outputs in load.outputs.values()), "each answer is of one revision"
    assert load.outputs[before] != load.outputs[after]
    cluster.facts.append(
        f"rollout, {edit['strategy']['rollingUpdate']}, {digits.read()['spec']['replicas']} replicas: "
        f"{sum(load.answers.values())} answers, {len(load.lost)} lost, {load.gap_seconds:.1f} s without a pod"
    )
    return load


def test_with_no_spare_device_there_are_never_more_pods_and_no_request_is_lost(
    cluster: Cluster, digits: Deployed
) -> None:
    digits.patch({"devices": {"resourceName": TWO_SLOTS}, "replicas": 2})
    digits.wait("both ready", lambda: len(digits.ready_pods()) == 2)
    digits.wait_current()
    load = roll_out(cluster, digits, {**scheme("Float16"), "strategy": NO_SURGE})
    assert load.lost == []
    assert load.most_pods == 2
    assert load.gap_seconds == 0


def test_with_one_spare_device_capacity_stays_and_no_request_is_lost(
    cluster: Cluster, digits: Deployed
) -> None:
    digits.patch({"devices": {"resourceName": THREE_SLOTS}})
    digits.wait_current()
    load = roll_out(cluster, digits, {**scheme("Int8Dynamic"), "strategy": SURGE})
    assert load.lost == []
    assert load.most_pods <= 3
    assert load.gap_seconds == 0


def test_one_replica_without_a_spare_device_has_only_the_announced_gap(
    cluster: Cluster, digits: Deployed
) -> None:
    digits.patch({"replicas": 1})
    digits.wait("one ready", lambda: len(digits.ready_pods()) == 1)
    load = roll_out(cluster, digits, {**scheme("Float16"), "strategy": NO_SURGE})
    assert load.lost == []
    assert load.gap_seconds > 0
    events = digits.api.list("events", digits.namespace)
    assert any(event["reason"] == "ServingGap" for event in events)
