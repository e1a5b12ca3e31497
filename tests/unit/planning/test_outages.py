"""A source or store that is away: Jobs are made again with growing waits until it is back; nothing flips."""

import pytest

from modelpress.api import identity, names
from modelpress.planning.artifacts import attempts
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import FakeCluster, compressing_cluster, ready_cluster, said

AWAY = said("StoreUnavailable", "oci://registry/models: connection refused")
MESSAGE = "oci://registry/models: connection refused; it is tried again, with growing waits"
WAITS = [10, 20, 40, 80, 160, 320, 600, 600, 600]


def newest(cluster: FakeCluster) -> str:
    """Return the name of the Job that is not over."""
    jobs = [body for (kind, _), body in cluster.objects.items() if kind == "Job"]
    (running,) = [body for body in jobs if "status" not in body]
    return str(running["metadata"]["name"])


def fail(cluster: FakeCluster) -> str:
    """Let the running Job fail, once the cluster had time for its pods; return its name."""
    job = newest(cluster)
    cluster.wait(82)
    cluster.job_fails(69, AWAY, job=job)
    return job


def holds(cluster: FakeCluster) -> None:
    """Check what the resource says all through an outage."""
    assert cluster.says("Reconciling") == ("True", "StoreUnavailable")
    assert cluster.says("Ready") == ("False", "StoreUnavailable")
    assert cluster.says("Compressed") == ("False", "StoreUnavailable")
    assert cluster.condition("Reconciling")["message"] == MESSAGE
    assert cluster.says("Stalled") == ("False", "Settled")
    assert "failed" not in cluster.status


def test_an_outage_is_waited_out_with_growing_waits_one_event_and_one_failed_job() -> None:
    cluster = compressing_cluster()
    first = fail(cluster)
    assert cluster.settle() == [["status"]]
    holds(cluster)
    events = len(cluster.notes)
    assert [note.reason for note in cluster.notes] == ["Compressing", "StoreUnavailable"]

    failed = first
    for count, wait in enumerate(WAITS, start=1):
        assert cluster.plan().requeue == pytest.approx(wait)
        cluster.wait(wait - 1)
        assert cluster.settle() == []
        cluster.wait(1)
        again = names.job_name("digits", _recipe_hash(cluster), None, count)
        assert cluster.step() == [f"apply Job {again}"]
        annotations = cluster.objects["Job", again]["metadata"]["annotations"]
        assert annotations[names.ATTEMPT_ANNOTATION] == str(count)
        assert names.LOST_ANNOTATION not in annotations
        assert cluster.settle() == []
        assert cluster.names_of("Job") == {failed, again}
        cluster.add_job_pod(cluster.objects["Job", again], "Running")
        assert cluster.settle() == []
        cluster.pods.popitem()
        assert fail(cluster) == again
        assert cluster.settle() == [[f"delete Job {failed}"]]
        failed = again
        holds(cluster)
    assert len(cluster.notes) == events


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_the_words_are_the_same_before_and_after_the_job_is_said_to_have_failed(phase: str) -> None:
    cluster = compressing_cluster()
    job = newest(cluster)
    cluster.wait(82)
    pod = cluster.add_job_pod(cluster.objects["Job", job], phase, cluster.terminated(69, AWAY))
    cluster.settle()
    holds(cluster)
    told = len(cluster.notes)
    pod["status"]["phase"] = "Failed"
    cluster.finish_job(cluster.objects["Job", job], "Failed", "BackoffLimitExceeded")
    cluster.settle()
    holds(cluster)
    assert len(cluster.notes) == told


def test_a_refused_credential_is_tried_again_until_its_secret_is_put_right() -> None:
    cluster = compressing_cluster()
    for count in range(3):
        cluster.job_fails(77, said("SourceUnauthorized", "s3://models: 403"), job=newest(cluster))
        cluster.settle()
        assert cluster.says("Reconciling") == ("True", "SourceUnauthorized")
        assert cluster.condition("Reconciling")["message"].startswith("s3://models: 403; it is tried again")
        assert cluster.says("Stalled") == ("False", "Settled")
        cluster.wait(WAITS[count] - 1)
        assert cluster.settle() == []
        cluster.wait(1)
        assert len(cluster.settle()) == 1
        assert cluster.says("Reconciling") == ("True", "SourceUnauthorized"), "nothing flips"
    assert [note.reason for note in cluster.notes] == ["Compressing", "SourceUnauthorized"]
    cluster.job_succeeds(job=newest(cluster))
    cluster.settle()
    assert cluster.says("Compressed")[0] == "True"


def test_it_heals_by_itself_and_leaves_no_failed_job() -> None:
    cluster = compressing_cluster()
    for wait in (10, 20):
        fail(cluster)
        cluster.settle()
        cluster.wait(wait)
        cluster.settle()
    cluster.job_succeeds(job=newest(cluster))
    cluster.settle()
    assert len(cluster.names_of("Job")) == 1
    assert "status" in cluster.only("Job")
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.plan() == Plan()


def test_a_second_outage_after_a_recovery_starts_from_the_small_wait() -> None:
    cluster = compressing_cluster()
    for wait in (10, 20):
        fail(cluster)
        cluster.settle()
        cluster.wait(wait)
        cluster.settle()
    cluster.job_succeeds(job=newest(cluster))
    cluster.settle()
    cluster.roll_out()
    cluster.settle()

    # the artifact is lost: the same recipe is made again while the store is away
    cluster.wait(1)
    for _ in range(2):
        cluster.crashing_worker("fetch", 1, cluster.terminated(66, said("ArtifactLost", "gone")))
    cluster.settle()
    assert newest(cluster) == cluster.job_name()
    fail(cluster)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "StoreUnavailable")
    assert cluster.plan().requeue == pytest.approx(10)


def test_other_recipes_wait_for_themselves() -> None:
    cluster = compressing_cluster()
    for wait in (10, 20):
        fail(cluster)
        cluster.settle()
        cluster.wait(wait)
        cluster.settle()
    fail(cluster)
    cluster.settle()
    cluster.edit(model={"uri": "s3://models/other.keras"})
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    fail(cluster)
    cluster.settle()
    assert cluster.plan().requeue == pytest.approx(10)


@pytest.mark.parametrize("known", [True, False])
def test_a_job_that_has_run_for_long_and_gets_into_trouble_is_not_looked_at_without_end(known: bool) -> None:
    cluster = compressing_cluster()
    pod = cluster.add_job_pod(cluster.only("Job"), "Running")
    cluster.wait(attempts.PASSED_SECONDS + 80)
    if known:  # a sidecar ended, which the pod itself tells
        ended = {"name": "proxy", "state": {"terminated": cluster.terminated(1)}}
        pod["status"]["containerStatuses"].append(ended)
    else:
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        about = {"uid": pod["metadata"]["uid"]}
        cluster.events = [{"reason": "NodeNotReady", "message": "not ready", "involvedObject": about}]
    cluster.settle()
    assert cluster.says("Reconciling")[1] != "Compressing"
    assert cluster.plan().requeue == (None if known else pytest.approx(17))


def test_the_current_revision_serves_through_an_outage() -> None:
    cluster = ready_cluster()
    before = cluster.status["current"]
    cluster.edit(compression={"quantization": {"scheme": "Float16"}})
    cluster.settle()
    fail(cluster)
    cluster.settle()
    holds(cluster)
    assert cluster.says("Available") == ("True", "Available")
    assert cluster.status["current"] == before


def test_the_retry_annotation_tries_at_once() -> None:
    cluster = compressing_cluster()
    fail(cluster)
    cluster.settle()
    cluster.annotate(names.RETRY_ANNOTATION, "now")
    assert cluster.settle()[0][0] == f"apply Job {cluster.job_name('now')}"


def test_a_fault_that_shows_after_an_outage_is_final() -> None:
    cluster = compressing_cluster()
    fail(cluster)
    cluster.settle()
    cluster.wait(10)
    cluster.settle()
    job = newest(cluster)
    cluster.job_fails(65, said("InvalidModel", "no"), job=job)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "InvalidModel")
    assert cluster.names_of("Job") == {job}
    cluster.wait(3600)
    assert cluster.settle() == []


def test_a_failed_job_whose_pods_are_gone_keeps_the_cause_that_the_status_tells() -> None:
    cluster = compressing_cluster()
    fail(cluster)
    cluster.settle()
    cluster.pods.clear()  # its node was drained
    cluster.wait(9)
    assert cluster.settle() == []
    holds(cluster)
    cluster.wait(5)
    cluster.settle()
    assert len(cluster.names_of("Job")) == 2
    holds(cluster)


def test_suspend_makes_no_new_attempt_and_going_on_does() -> None:
    cluster = compressing_cluster()
    fail(cluster)
    cluster.settle()
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.wait(3600)
    assert cluster.settle() == []
    assert len(cluster.names_of("Job")) == 1
    cluster.edit(suspend=False)
    cluster.settle()
    assert len(cluster.names_of("Job")) == 2
    holds(cluster)


def test_without_a_free_slot_the_cause_stays() -> None:
    cluster = compressing_cluster()
    fail(cluster)
    cluster.settle()
    cluster.slots = 0
    cluster.wait(10)
    assert cluster.settle() == []
    assert cluster.plan().requeue == pytest.approx(5)
    holds(cluster)


def test_an_outage_that_an_earlier_release_remembers_as_a_failure_is_tried_again() -> None:
    cluster = compressing_cluster()
    cluster.resource["status"]["failed"] = {
        "recipeHash": _recipe_hash(cluster),
        "reason": "SourceUnavailable",
        "message": "away",
    }
    del cluster.objects["Job", cluster.job_name()]  # a day later
    assert cluster.settle() == [[f"apply Job {cluster.job_name()}"]]
    cluster.job_succeeds()
    cluster.settle()
    assert "failed" not in cluster.status


def test_local_mode_ends_instead() -> None:
    cluster = FakeCluster()
    cluster.settings = type(cluster.settings)(**{**vars(cluster.settings), "tries_again": False})
    cluster.settle()
    fail(cluster)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "StoreUnavailable")
    assert cluster.status["failed"]["message"] == "oci://registry/models: connection refused"


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 30, "٣"])
def test_a_count_that_somebody_edited_is_harmless(text: str) -> None:
    cluster = compressing_cluster()
    job = cluster.only("Job")
    job["metadata"]["annotations"] = {names.ATTEMPT_ANNOTATION: text}
    fail(cluster)
    cluster.settle()
    assert attempts.number(job) == 0
    assert cluster.plan().requeue == pytest.approx(10)


def _recipe_hash(cluster: FakeCluster) -> str:
    return identity.recipe_hash(cluster.spec)
