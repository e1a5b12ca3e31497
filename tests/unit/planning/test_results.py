"""A result outlives its pod; that it is lost is believed of a live read only; Jobs do not run for ever."""

import pytest

from modelpress.api import identity, names
from tests.unit.planning.fake_cluster import (
    ARTIFACT,
    HOW_TO_RETRY,
    SETTINGS,
    FakeCluster,
    Json,
    compressing_cluster,
)


def attempt(cluster: FakeCluster, number: int) -> str:
    return names.job_name("digits", identity.recipe_hash(cluster.spec), None, number)


def completes_without_a_pod(cluster: FakeCluster, job: str) -> None:
    cluster.finish_job(cluster.objects["Job", job], "Complete", "CompletionsReached")


def annotations(job: Json) -> dict[str, str]:
    found: dict[str, str] = job["metadata"]["annotations"]
    return found


def test_a_finished_job_whose_pod_the_watch_does_not_show_is_never_run_again() -> None:
    cluster = compressing_cluster()
    completes_without_a_pod(cluster, cluster.job_name())
    cluster.live = False
    for seconds in (0, 11, 3600, 86400):
        cluster.wait(seconds)
        assert cluster.settle() == []
        assert [(ref.kind, ref.name) for ref in cluster.plan().unseen] == [("Job", cluster.job_name())]


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_nor_one_whose_pod_the_watch_shows_at_an_earlier_time(phase: str) -> None:
    cluster = compressing_cluster()
    completes_without_a_pod(cluster, cluster.job_name())
    cluster.add_job_pod(cluster.only("Job"), phase)
    cluster.live = False
    cluster.wait(3600)
    assert cluster.settle() == []
    assert cluster.plan().unseen


def test_a_result_that_was_read_once_outlives_pod_and_status() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    cluster.settle()
    assert annotations(cluster.only("Job"))[names.RESULT_ANNOTATION] == cluster.job_result()
    cluster.pods.clear()
    cluster.objects = {key: body for key, body in cluster.objects.items() if key[0] == "Job"}
    cluster.resource["status"] = {"observedGeneration": -1}
    assert not cluster.plan().unseen
    cluster.settle()
    assert cluster.names_of("Job") == {cluster.job_name()}
    assert cluster.status["candidate"]["artifactDigest"] == ARTIFACT


def test_what_the_pod_says_comes_before_what_was_kept() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    cluster.settle()
    kept = annotations(cluster.only("Job"))
    cluster.only("Job")["metadata"]["annotations"] = {**kept, names.RESULT_ANNOTATION: "{}"}
    cluster.settle()
    assert annotations(cluster.only("Job")) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "recipeHash"),
        ("x" * 5000, "is longer than 4096 bytes"),
        (None, "the Job's result is of another recipe"),
    ],
)
def test_a_kept_result_is_checked_like_one_of_a_pod(text: str | None, said: str) -> None:
    cluster = compressing_cluster()
    completes_without_a_pod(cluster, cluster.job_name())
    other = cluster.job_result(recipeHash="another")
    annotations(cluster.only("Job"))[names.RESULT_ANNOTATION] = other if text is None else text
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")
    assert said in cluster.condition("Stalled")["message"]


def test_a_result_that_lies_is_not_kept() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds("{}")
    cluster.settle()
    assert names.RESULT_ANNOTATION not in annotations(cluster.only("Job"))


def test_a_container_that_a_webhook_added_says_nothing_of_the_result() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    (pod,) = cluster.pods.values()
    proxy = {"name": "proxy", "state": {"terminated": cluster.terminated(0)}}
    pod["status"]["containerStatuses"].insert(0, proxy)
    cluster.settle()
    assert cluster.status["candidate"]["artifactDigest"] == ARTIFACT


def test_lost_results_run_again_with_growing_waits_and_stall_after_three() -> None:
    cluster = compressing_cluster()
    completes_without_a_pod(cluster, cluster.job_name())
    for number, wait in ((1, 10), (2, 20)):
        assert cluster.settle() == ([["status"]] if number == 1 else [])
        assert cluster.says("Reconciling") == ("True", "ResultLost")
        assert cluster.plan().requeue == pytest.approx(wait)
        cluster.wait(wait)
        assert cluster.step() == [f"apply Job {attempt(cluster, number)}"]
        job = cluster.objects["Job", attempt(cluster, number)]
        assert annotations(job)[names.LOST_ANNOTATION] == str(number)
        completes_without_a_pod(cluster, attempt(cluster, number))
        cluster.step()
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "ResultLost")
    assert cluster.condition("Stalled")["message"].endswith("3 times in a row" + HOW_TO_RETRY)
    assert cluster.status["failed"]["reason"] == "ResultLost"
    cluster.wait(86400)
    assert cluster.settle() == []

    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.settle()
    again = cluster.objects["Job", cluster.job_name("1")]
    assert names.LOST_ANNOTATION not in annotations(again)


def test_a_job_that_runs_again_ends_the_matter_and_the_lost_one_goes() -> None:
    cluster = compressing_cluster()
    completes_without_a_pod(cluster, cluster.job_name())
    cluster.settle()
    cluster.wait(10)
    cluster.settle()
    cluster.job_succeeds(job=attempt(cluster, 1))
    cluster.settle()
    assert cluster.names_of("Job") == {attempt(cluster, 1)}
    assert cluster.status["candidate"]["artifactDigest"] == ARTIFACT


def test_a_lost_result_of_what_is_known_elsewhere_matters_to_nobody() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    cluster.settle()
    cluster.pods.clear()
    del annotations(cluster.only("Job"))[names.RESULT_ANNOTATION]
    assert cluster.settle() == []


def test_without_tries_a_lost_result_is_final() -> None:
    cluster = compressing_cluster()
    cluster.settings = SETTINGS.__class__(**{**vars(SETTINGS), "tries_again": False})
    completes_without_a_pod(cluster, cluster.job_name())
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "ResultLost")
