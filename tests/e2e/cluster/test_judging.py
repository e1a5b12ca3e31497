"""What a rollout is judged by on a real Deployment controller and scheduler; the tests move the pods by hand.

No node takes the pods, so the scheduler says of each that is not reported as ready that it fits nowhere.
"""

from functools import partial

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import bring_up, digits, operator
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import finish_job, make_ready, set_pods
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.helpers import Deployed, now

__all__ = ["digits", "operator"]

AT_ONCE: Json = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}
SURGE: Json = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
EDIT: Json = {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}}


def serving(digits: Deployed, replicas: int, strategy: Json) -> str:
    """Bring pods up that have ten seconds to become ready; return the name of their revision."""
    bring_up(digits)
    digits.patch({"strategy": strategy, "progressDeadlineSeconds": 10, "replicas": replicas})
    wait_until("the pods", lambda: len(pods_of(digits, current(digits))) == replicas)
    make_ready(digits)
    digits.wait("all ready", lambda: digits.condition("Available")["status"] == "True")
    return current(digits)


def current(digits: Deployed) -> str:
    """Return the name of the current revision."""
    return str(digits.status["current"]["name"])


def running(digits: Deployed) -> str:
    """Return the name of the revision that the Deployment runs."""
    (deployment,) = digits.children("deployments")
    return str(deployment["spec"]["template"]["metadata"]["labels"][names.REVISION_LABEL])


def roll(digits: Deployed, edit: Json) -> str:
    """Edit; return the name of the revision that rolls out."""
    before = running(digits)
    digits.patch(edit)
    digits.wait("a new revision", lambda: running(digits) != before)
    return running(digits)


def pods_of(digits: Deployed, revision: str) -> list[Json]:
    """Return the pods of a revision that are not on their way out."""
    found = digits.api.list("pods", digits.namespace, f"{names.REVISION_LABEL}={revision}")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def report_ready(digits: Deployed, pods: list[Json]) -> None:
    """Report pods as ready, as a kubelet would."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now()[:19] + "Z"}
    for pod in pods:
        status = {"phase": "Running", "conditions": [ready]}
        digits.api.patch("pods", digits.namespace, pod["metadata"]["name"], {"status": status}, "status")


def is_late(digits: Deployed) -> bool:
    """Return whether the Deployment controller has given up."""
    (deployment,) = digits.children("deployments")
    conditions = deployment["status"].get("conditions", ())
    return any(condition.get("reason") == "ProgressDeadlineExceeded" for condition in conditions)


def finish(digits: Deployed, revision: str) -> bool:
    """Report the pods of a revision as ready; return whether it has become current."""
    report_ready(digits, pods_of(digits, revision))
    return current(digits) == revision and digits.kstatus() == "Current"


def test_a_scale_up_within_a_rollout_for_which_there_is_no_room_fails_no_revision(digits: Deployed) -> None:
    serving(digits, 3, AT_ONCE)
    revision = roll(digits, {**EDIT, "replicas": 6})
    wait_until("its pods", lambda: len(pods_of(digits, revision)) == 6)
    report_ready(digits, pods_of(digits, revision)[:4])
    digits.wait("current", lambda: current(digits) == revision)
    digits.wait("the deadline", partial(is_late, digits))
    assert digits.condition("Stalled")["status"] == "False"
    assert digits.condition("Available")["reason"] == "PodsUnschedulable"
    assert digits.kstatus() == "Current"
    assert "failed" not in digits.status
    digits.patch({"replicas": 4})
    digits.wait("enough", lambda: digits.condition("Available")["status"] == "True")
    assert digits.kstatus() == "Current"


def test_a_rollout_that_has_no_room_for_its_next_pod_waits_and_goes_on(digits: Deployed) -> None:
    before = serving(digits, 2, SURGE)
    revision = roll(digits, {**EDIT, "replicas": 3})
    report_ready(digits, wait_until("a pod", lambda: pods_of(digits, revision))[:1])
    digits.wait("the deadline", partial(is_late, digits))
    digits.wait("the cause", lambda: digits.condition("Reconciling")["reason"] == "PodsUnschedulable")
    assert digits.condition("Stalled")["status"] == "False"
    assert (current(digits), running(digits)) == (before, revision)
    digits.wait("current", partial(finish, digits, revision))


def test_a_revision_that_fits_nowhere_is_rolled_back_and_an_edit_repairs_it(digits: Deployed) -> None:
    before = serving(digits, 1, SURGE)
    roll(digits, {"worker": {"nodeSelector": {"example.com/typo": "yes"}}})
    message = digits.wait_stalled("RolloutFailed")["message"]
    assert "PodsUnschedulable: " in message
    assert "nodes are available" in message or "no nodes available" in message
    assert (current(digits), running(digits)) == (before, before)
    assert digits.condition("Available")["status"] == "True"
    revision = roll(digits, {"worker": {"nodeSelector": None, **EDIT["worker"]}})
    digits.wait("current", partial(finish, digits, revision))


def test_at_zero_replicas_the_good_revision_stays_and_comes_back_where_the_new_one_fits_nowhere(
    digits: Deployed,
) -> None:
    good = serving(digits, 1, SURGE)
    digits.patch({"replicas": 0})
    digits.wait_current()
    bad = roll(digits, EDIT)
    status = digits.wait_current()
    assert (status["current"]["name"], status["candidate"]["name"]) == (good, bad)
    assert digits.condition("Ready")["reason"] == "ScaledToZero"
    assert digits.condition("Reconciling")["status"] == "False"
    digits.patch({"replicas": 1})
    digits.wait_stalled("RolloutFailed")
    assert not is_late(digits), "the Deployment controller counts no deadline here"
    assert (current(digits), running(digits)) == (good, good)


def test_at_zero_replicas_the_new_revision_becomes_current_with_its_first_pod(digits: Deployed) -> None:
    serving(digits, 1, SURGE)
    digits.patch({"replicas": 0})
    digits.wait_current()
    revision = roll(digits, EDIT)
    digits.wait_current()
    digits.patch({"replicas": 1})
    digits.wait("current", partial(finish, digits, revision))


def test_broken_pods_of_the_current_revision_do_not_hold_up_what_repairs_them(digits: Deployed) -> None:
    serving(digits, 2, SURGE)
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    broken = {"name": "worker", "image": "", "imageID": "", "ready": False, "restartCount": 9}
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": now()[:19] + "Z"}
    status = {"conditions": [condition], "containerStatuses": [{**broken, "state": ended}]}
    set_pods(digits, names.WORKER, status)
    digits.wait("broken", lambda: digits.condition("Available")["reason"] == "OutOfMemory")
    revision = roll(digits, EDIT)
    digits.wait("current", partial(finish, digits, revision))
    assert len(pods_of(digits, revision)) == 2


def test_a_pod_with_our_labels_that_somebody_made_is_not_counted(digits: Deployed) -> None:
    revision = serving(digits, 1, SURGE)
    (pod,) = pods_of(digits, revision)
    labels = pod["metadata"]["labels"]
    bare = {"metadata": {"name": "bare", "labels": {**labels, "pod-template-hash": "none"}}}
    digits.api.create(
        "pods", digits.namespace, {**bare, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    )
    report_ready(digits, [bare])
    digits.patch({"replicas": 2})
    wait_until("the second", lambda: len(pods_of(digits, revision)) == 3)
    digits.wait("counted", lambda: digits.status["replicas"] == 2)
    assert digits.status["readyReplicas"] == 1
    assert digits.condition("Available")["status"] == "False"


def test_a_renamed_secret_of_the_source_runs_a_job_and_restarts_nothing(digits: Deployed) -> None:
    before = serving(digits, 1, SURGE)
    (job,) = digits.children("jobs")
    digits.api.delete("jobs", digits.namespace, job["metadata"]["name"])
    wait_until("the Job gone", lambda: not digits.children("jobs"))
    pods = [pod["metadata"]["uid"] for pod in pods_of(digits, before)]
    digits.patch({"model": {"secretRef": {"name": "renamed"}}})
    finish_job(digits)
    recipe = digits.wait_current()["current"]["recipeHash"]
    (job,) = digits.children("jobs")
    assert recipe.startswith(job["metadata"]["labels"][names.RECIPE_LABEL])
    assert [pod["metadata"]["uid"] for pod in pods_of(digits, before)] == pods
    assert len(digits.children("replicasets")) == len(digits.children("controllerrevisions")) == 1


def test_an_old_revision_that_is_rolled_out_again_is_the_newest(digits: Deployed) -> None:
    first = serving(digits, 1, SURGE)
    digits.wait("current", partial(finish, digits, roll(digits, EDIT)))
    assert roll(digits, {"worker": {"env": None}}) == first

    def used() -> str | None:
        body = digits.api.get("controllerrevisions", digits.namespace, first)
        found: str | None = body["metadata"].get("annotations", {}).get(names.USED_ANNOTATION)
        return found

    assert digits.wait("the mark", used) == "3"
    digits.wait("current", partial(finish, digits, first))
