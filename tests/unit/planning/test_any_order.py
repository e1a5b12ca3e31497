"""Whatever happens in whatever order: the planner comes to rest, and in the end to Ready."""

import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api import contract, names
from modelpress.planning import jobs
from modelpress.planning.types import Plan
from tests.unit.planning.world import ARTIFACT, OTHER_ARTIFACT, SPEC, Json, World

LOST = '{"reason": "ArtifactLost", "message": "gone"}'
AWAY = '{"reason": "StoreUnavailable", "message": "away"}'
TWO_PODS = {"pipeline": 2, "podsPerReplica": 2}  # not supported yet
GOOD = {"metric": "Accuracy", "original": 97.5, "compressed": 97.25, "rows": 400}
BAD = {"metric": "Accuracy", "original": 97.5, "compressed": 50.0, "rows": 400}


def running_job(world: World) -> Json | None:
    found = [body for (kind, _), body in world.objects.items() if kind == "Job"]
    return next((job for job in found if jobs.finished_at(job) is None), None)


def job_ends(scores: Json, artifact: str) -> Callable[[World], None]:
    def end(world: World) -> None:
        job = running_job(world)
        if job:
            variables = job["spec"]["template"]["spec"]["containers"][0]["env"]
            request = next(entry["value"] for entry in variables if entry["name"] == contract.REQUEST)
            asked = json.loads(request)["recipeHash"]
            result = world.job_result(recipeHash=asked, scores=scores, artifactDigest=artifact)
            world.job_succeeds(result, job=job["metadata"]["name"])

    return end


def job_fails(world: World) -> None:
    job = running_job(world)
    if job:
        world.job_fails(65, '{"reason": "InvalidModel", "message": "no"}', job=job["metadata"]["name"])


def store_is_away(world: World) -> None:
    job = running_job(world)
    if job:
        world.job_fails(69, AWAY, job=job["metadata"]["name"])


def roll_out(ready: bool) -> Callable[[World], None]:
    def roll(world: World) -> None:
        if ("Deployment", "digits") in world.objects:
            world.roll_out(ready)

    return roll


def crash(container: str, message: str, code: int = 66) -> Callable[[World], None]:
    def end(world: World) -> None:
        if ("Deployment", "digits") in world.objects:
            world.crashing_worker(container, 5, world.terminated(code, message))

    return end


def miss_deadline(world: World) -> None:
    if world.objects.get(("Deployment", "digits"), {}).get("status"):
        world.deadline_exceeded(after=600)


def lose(kind: str) -> Callable[[World], None]:
    def remove(world: World) -> None:
        for key in [key for key in world.objects if key[0] == kind]:
            del world.objects[key]

    return remove


def lose_pods(world: World) -> None:
    world.pods.clear()


def wipe_status(world: World) -> None:
    world.resource["status"] = {"observedGeneration": -1}


EVENTS: dict[str, Callable[[World], None]] = {
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
    "Float16": lambda world: world.edit(compression={"quantization": {"scheme": "Float16"}}),
    "Int8Dynamic": lambda world: world.edit(compression=SPEC["compression"]),
    "a worker setting": lambda world: world.edit(serving={"maxBatchSize": 8}),
    "no worker setting": lambda world: world.edit(serving=None),
    "a high limit": lambda world: world.edit(evaluation={"minScore": "99%"}),
    "the old limit": lambda world: world.edit(evaluation=SPEC["evaluation"]),
    "not supported": lambda world: world.edit(parallelism=TWO_PODS),
    "supported": lambda world: world.edit(parallelism=None),
    "unreadable": lambda world: world.edit(model={}),
    "readable": lambda world: world.edit(model=SPEC["model"]),
    "suspend": lambda world: world.edit(suspend=True),
    "go on": lambda world: world.edit(suspend=False),
    "none": lambda world: world.edit(replicas=0),
    "three": lambda world: world.edit(replicas=3),
    "retry": lambda world: world.annotate(names.RETRY_ANNOTATION, str(world.now)),
    "restart": lambda world: world.annotate(names.RESTARTED_ANNOTATION, str(world.now)),
    "no slot": lambda world: setattr(world, "slots", 0),
    "a slot": lambda world: setattr(world, "slots", 1),
    "time": lambda world: world.wait(3600),
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
    world = World()
    for event in happened:
        EVENTS[event](world)
        world.settle()
        _check(world)
        world.wait(1)
    for event in RECOVERY:
        EVENTS[event](world)
        world.settle()
    for _ in range(5):  # a lost artifact is made and rolled out again, and so on
        for event in ("time", "a job succeeds", "pods are ready"):
            EVENTS[event](world)
            world.settle()
    assert world.says("Ready") == ("True", "Available"), happened
    assert world.verdict()["Reconciling"] == world.verdict()["Stalled"] == "False"
    plan = world.plan()
    assert plan == Plan(), happened


def _check(world: World) -> None:
    """Check what must hold at every moment of rest."""
    assert world.status["observedGeneration"] == world.resource["metadata"]["generation"]
    verdict = world.verdict()
    assert not (verdict["Reconciling"] == verdict["Stalled"] == "True")
    running = [body for (kind, _), body in world.objects.items() if kind == "Job"]
    assert sum(jobs.finished_at(job) is None for job in running) <= 1
    if verdict["Ready"] == "True":
        deployment = world.objects["Deployment", "digits"]
        assert deployment["spec"]["replicas"] == world.resource["spec"]["replicas"]
    times = {entry["lastTransitionTime"] for entry in world.status["conditions"]}
    assert all(time.endswith("Z") for time in times)
