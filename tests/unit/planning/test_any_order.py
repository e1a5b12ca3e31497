"""Whatever happens in whatever order: the planner comes to rest, and in the end to Ready."""

import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api import contract, names
from modelpress.planning.artifacts import jobs
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import ARTIFACT, OTHER_ARTIFACT, SPEC, FakeCluster, Json

LOST = '{"reason": "ArtifactLost", "message": "gone"}'
AWAY = '{"reason": "StoreUnavailable", "message": "away"}'
TWO_PODS = {"pipeline": 2, "podsPerReplica": 2}  # not supported yet
GOOD = {"metric": "Accuracy", "original": 97.5, "compressed": 97.25, "rows": 400}
BAD = {"metric": "Accuracy", "original": 97.5, "compressed": 50.0, "rows": 400}


def running_job(cluster: FakeCluster) -> Json | None:
    found = [body for (kind, _), body in cluster.objects.items() if kind == "Job"]
    return next((job for job in found if jobs.finished_at(job) is None), None)


def job_ends(scores: Json, artifact: str) -> Callable[[FakeCluster], None]:
    def end(cluster: FakeCluster) -> None:
        job = running_job(cluster)
        if job:
            variables = job["spec"]["template"]["spec"]["containers"][0]["env"]
            request = next(entry["value"] for entry in variables if entry["name"] == contract.REQUEST)
            asked = json.loads(request)["recipeHash"]
            result = cluster.job_result(recipeHash=asked, scores=scores, artifactDigest=artifact)
            cluster.job_succeeds(result, job=job["metadata"]["name"])

    return end


def job_runs(cluster: FakeCluster) -> None:
    job = running_job(cluster)
    if job:
        cluster.add_job_pod(job, "Running")


def job_loses_its_pod(cluster: FakeCluster) -> None:
    job = running_job(cluster)
    if job:
        cluster.finish_job(job, "Complete", "CompletionsReached")


def job_fails(cluster: FakeCluster) -> None:
    job = running_job(cluster)
    if job:
        cluster.job_fails(65, '{"reason": "InvalidModel", "message": "no"}', job=job["metadata"]["name"])


def store_is_away(cluster: FakeCluster) -> None:
    job = running_job(cluster)
    if job:
        cluster.job_fails(69, AWAY, job=job["metadata"]["name"])


def roll_out(ready: bool) -> Callable[[FakeCluster], None]:
    def roll(cluster: FakeCluster) -> None:
        if ("Deployment", "digits") in cluster.objects:
            cluster.roll_out(ready)

    return roll


def crash(container: str, message: str, code: int = 66) -> Callable[[FakeCluster], None]:
    def end(cluster: FakeCluster) -> None:
        if ("Deployment", "digits") in cluster.objects:
            cluster.crashing_worker(container, 5, cluster.terminated(code, message))

    return end


def miss_deadline(cluster: FakeCluster) -> None:
    if cluster.objects.get(("Deployment", "digits"), {}).get("status"):
        cluster.deadline_exceeded(after=600)


def lose(kind: str) -> Callable[[FakeCluster], None]:
    def remove(cluster: FakeCluster) -> None:
        for key in [key for key in cluster.objects if key[0] == kind]:
            del cluster.objects[key]

    return remove


def lose_pods(cluster: FakeCluster) -> None:
    cluster.pods.clear()


def wipe_status(cluster: FakeCluster) -> None:
    cluster.resource["status"] = {"observedGeneration": -1}


EVENTS: dict[str, Callable[[FakeCluster], None]] = {
    "a job succeeds": job_ends(GOOD, ARTIFACT),
    "a job makes something else": job_ends(GOOD, OTHER_ARTIFACT),
    "a job's model is bad": job_ends(BAD, OTHER_ARTIFACT),
    "a job fails": job_fails,
    "the store is away": store_is_away,
    "pods start": roll_out(ready=False),
    "pods are ready": roll_out(ready=True),
    "a worker crashes": crash("worker", ""),
    "an artifact is lost": crash("fetch", LOST),
    "a worker's store is away": crash("fetch", AWAY, 69),
    "the deadline passes": miss_deadline,
    "Float16": lambda cluster: cluster.edit(compression={"quantization": {"scheme": "Float16"}}),
    "Int8Dynamic": lambda cluster: cluster.edit(compression=SPEC["compression"]),
    "a worker setting": lambda cluster: cluster.edit(serving={"maxBatchSize": 8}),
    "a job setting": lambda cluster: cluster.edit(job={"image": "compressor:mine"}),
    "no job setting": lambda cluster: cluster.edit(job=None),
    "a job runs": job_runs,
    "a job ends and its pod is gone": job_loses_its_pod,
    "no worker setting": lambda cluster: cluster.edit(serving=None),
    "a high limit": lambda cluster: cluster.edit(evaluation={"minScore": "99%"}),
    "the old limit": lambda cluster: cluster.edit(evaluation=SPEC["evaluation"]),
    "not supported": lambda cluster: cluster.edit(parallelism=TWO_PODS),
    "supported": lambda cluster: cluster.edit(parallelism=None),
    "unreadable": lambda cluster: cluster.edit(model={}),
    "readable": lambda cluster: cluster.edit(model=SPEC["model"]),
    "suspend": lambda cluster: cluster.edit(suspend=True),
    "go on": lambda cluster: cluster.edit(suspend=False),
    "none": lambda cluster: cluster.edit(replicas=0),
    "three": lambda cluster: cluster.edit(replicas=3),
    "retry": lambda cluster: cluster.annotate(names.RETRY_ANNOTATION, str(cluster.now)),
    "restart": lambda cluster: cluster.annotate(names.RESTARTED_ANNOTATION, str(cluster.now)),
    "no slot": lambda cluster: setattr(cluster, "slots", 0),
    "a slot": lambda cluster: setattr(cluster, "slots", 1),
    "time": lambda cluster: cluster.wait(3600),
    "no jobs": lose("Job"),
    "no revisions": lose("ControllerRevision"),
    "no deployment": lose("Deployment"),
    "no service": lose("Service"),
    "no pods": lose_pods,
    "no status": wipe_status,
}
RECOVERY = ("readable", "supported", "go on", "a slot", "the old limit", "three", "time", "retry")


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=15))
def test_the_planner_comes_to_rest_and_recovers(happened: list[str]) -> None:
    cluster = FakeCluster()
    for event in happened:
        EVENTS[event](cluster)
        cluster.settle()
        _check(cluster)
        cluster.wait(1)
    for event in RECOVERY:
        EVENTS[event](cluster)
        cluster.settle()
    for _ in range(5):  # a lost artifact is made and rolled out again, and so on
        for event in ("time", "a job succeeds", "pods are ready"):
            EVENTS[event](cluster)
            cluster.settle()
    assert cluster.says("Ready") == ("True", "Available"), happened
    assert cluster.verdict()["Reconciling"] == cluster.verdict()["Stalled"] == "False"
    plan = cluster.plan()
    assert plan == Plan(), happened


def _check(cluster: FakeCluster) -> None:
    """Check what must hold at every moment of rest."""
    assert cluster.status["observedGeneration"] == cluster.resource["metadata"]["generation"]
    verdict = cluster.verdict()
    assert not (verdict["Reconciling"] == verdict["Stalled"] == "True")
    running = [body for (kind, _), body in cluster.objects.items() if kind == "Job"]
    assert sum(jobs.finished_at(job) is None for job in running) <= 1
    if verdict["Ready"] == "True":
        deployment = cluster.objects["Deployment", "digits"]
        assert deployment["spec"]["replicas"] == cluster.resource["spec"]["replicas"]
    times = {entry["lastTransitionTime"] for entry in cluster.status["conditions"]}
    assert all(time.endswith("Z") for time in times)
