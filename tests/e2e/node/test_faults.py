"""What goes wrong on real nodes: rolled back or stalled, with the kubelet's own words in the status."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.node.conftest import JOB_SECONDS, Installed, make_namespace
from tests.support.cluster.helpers import Deployed, merge

ROLLBACK = {"progressDeadlineSeconds": 45}


@dataclass(frozen=True)
class Fault:
    """An edit of the spec that cannot work: its reason and some of the words that come with it."""

    change: dict[str, Any]
    reason: str
    words: tuple[str, ...]


ROLLED_BACK = {
    "image that does not exist": Fault(
        {"worker": {"image": "docker.io/modelpress/none:1"}},
        "ImagePullFailed",
        ("modelpress/none:1", "not found"),
    ),
    "variable of a missing Secret": Fault(
        {"worker": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "missing", "key": "a"}}}]}},
        "SecretNotFound",
        ("missing", "not found"),
    ),
    "variable that keeps Python from starting": Fault(
        {"worker": {"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]}}, "PodCrashed", ("exit code 1",)
    ),
    "too little memory": Fault(
        {"worker": {"resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "40Mi"}}}},
        "OutOfMemory",
        ("40Mi",),
    ),
    "no node with the label": Fault(
        {"worker": {"nodeSelector": {"example.com/none": "here"}}}, "PodsUnschedulable", ("0/2 nodes",)
    ),
    "devices that no node has": Fault(
        {"devices": {"resourceName": "example.com/none"}},
        "PodsUnschedulable",
        ("Insufficient example.com/none",),
    ),
}


@pytest.fixture
def served(installed: Installed, digits: Deployed) -> Iterator[Deployed]:
    """The model, served by two workers; its spec is put back afterwards."""
    expected = installed.spec(ROLLBACK)
    digits.apply(expected)
    digits.wait_current()
    yield digits
    digits.apply(expected)
    digits.wait_current()


@pytest.mark.parametrize("name", ROLLED_BACK)
def test_an_update_that_cannot_work_is_rolled_back_and_says_why(
    installed: Installed, served: Deployed, name: str
) -> None:
    fault = ROLLED_BACK[name]
    before = served.status["current"]["name"]
    begun = time.monotonic()
    with installed.load(served.namespace, "digits", "keep", rate=5) as load:
        served.apply(installed.spec(merge(ROLLBACK, fault.change)))
        served.wait(f"the reason {fault.reason}", lambda: tells(served, fault))
        told = time.monotonic() - begun
        stalled = served.wait_stalled("RolloutFailed")
    assert all(word in stalled["message"] for word in fault.words), stalled
    assert served.status["current"]["name"] == before
    # without a spare device one worker had to go first
    served.wait("all workers again", lambda: served.condition("Available")["status"] == "True")
    assert load.lost == {"keep": []}
    installed.facts.append(
        f"{name}: told after {told:.0f} s, rolled back after {time.monotonic() - begun:.0f} s, "
        f"{load.sent['keep']} requests, none lost"
    )


JOB_FAULTS = {
    "Job with too little memory": Fault(
        {
            "job": {"resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "150Mi"}}},
            # a recipe of its own: a finished artifact of another resource would be taken
            "optimization": {"weightClipping": {"min": "-50", "max": "50"}},
        },
        "OutOfMemory",
        ("150Mi",),
    ),
    "missing Secret of the model": Fault(
        {"model": {"secretRef": {"name": "missing"}}}, "SecretNotFound", ("missing", "not found")
    ),
}


@pytest.mark.parametrize("name", JOB_FAULTS)
def test_a_job_that_cannot_work_says_why(installed: Installed, team: str, name: str) -> None:
    fault = JOB_FAULTS[name]
    deployed = installed.deployed(f"fault-{list(JOB_FAULTS).index(name)}", team)
    begun = time.monotonic()
    deployed.apply(installed.spec(fault.change))
    deployed.wait(f"the reason {fault.reason}", lambda: tells(deployed, fault), JOB_SECONDS)
    installed.facts.append(f"{name}: told after {time.monotonic() - begun:.0f} s")
    installed.kubectl("-n", team, "delete", "mdep", deployed.name)


def test_a_quota_that_is_used_up_shows_and_heals(installed: Installed) -> None:
    namespace = make_namespace(installed, "quota")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    installed.cluster.apply(quota)
    deployed = installed.deployed("digits", namespace)
    deployed.apply(installed.spec())
    fault = Fault({}, "QuotaExceeded", ("exceeded quota: none",))
    deployed.wait("the quota in the status", lambda: tells(deployed, fault))
    installed.kubectl("-n", namespace, "delete", "resourcequota", "none")
    deployed.wait_current(JOB_SECONDS)
    installed.kubectl("delete", "namespace", namespace, "--wait=false")


def tells(deployed: Deployed, fault: Fault) -> bool:
    """Whether some condition has the reason and all of the words."""
    conditions = deployed.status.get("conditions", ())
    return any(
        item["reason"] == fault.reason and all(word in item["message"] for word in fault.words)
        for item in conditions
    ) or any(
        fault.reason in item["message"] and all(word in item["message"] for word in fault.words)
        for item in conditions
    )
