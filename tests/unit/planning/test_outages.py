"""A source or store that is away: Jobs are made again with growing waits until it is back; nothing flips."""

import pytest

from modelpress.api import identity, names
from modelpress.planning import attempts
from modelpress.planning.types import Plan
from tests.unit.planning.world import World, compressing_world, ready_world, said

AWAY = said("StoreUnavailable", "oci://registry/models: connection refused")
MESSAGE = "oci://registry/models: connection refused; it is tried again, with growing waits"
WAITS = [10, 20, 40, 80, 160, 320, 600, 600, 600]


def newest(world: World) -> str:
    """Return the name of the Job that is not over."""
    jobs = [body for (kind, _), body in world.objects.items() if kind == "Job"]
    (running,) = [body for body in jobs if "status" not in body]
    return str(running["metadata"]["name"])


def fail(world: World) -> str:
    """Let the running Job fail, once the cluster had time for its pods; return its name."""
    job = newest(world)
    world.wait(82)
    world.job_fails(69, AWAY, job=job)
    return job


def holds(world: World) -> None:
    """Check what the resource says all through an outage."""
    assert world.says("Reconciling") == ("True", "StoreUnavailable")
    assert world.says("Ready") == ("False", "StoreUnavailable")
    assert world.says("Compressed") == ("False", "StoreUnavailable")
    assert world.condition("Reconciling")["message"] == MESSAGE
    assert world.says("Stalled") == ("False", "Settled")
    assert "failed" not in world.status


def test_an_outage_is_waited_out_with_growing_waits_one_event_and_one_failed_job() -> None:
    world = compressing_world()
    first = fail(world)
    assert world.settle() == [["status"]]
    holds(world)
    events = len(world.notes)
    assert [note.reason for note in world.notes] == ["Compressing", "StoreUnavailable"]

    failed = first
    for count, wait in enumerate(WAITS, start=1):
        assert world.plan().requeue == pytest.approx(wait)
        world.wait(wait - 1)
        assert world.settle() == []
        world.wait(1)
        again = names.job_name("digits", _recipe_hash(world), None, count)
        assert world.step() == [f"apply Job {again}"]
        assert world.objects["Job", again]["metadata"]["annotations"] == {
            names.ATTEMPT_ANNOTATION: str(count)
        }
        assert world.settle() == []
        assert world.names_of("Job") == {failed, again}
        world.add_job_pod(world.objects["Job", again], "Running")
        assert world.settle() == []
        world.pods.popitem()
        assert fail(world) == again
        assert world.settle() == [[f"delete Job {failed}"]]
        failed = again
        holds(world)
    assert len(world.notes) == events


def test_it_heals_by_itself_and_leaves_no_failed_job() -> None:
    world = compressing_world()
    for wait in (10, 20):
        fail(world)
        world.settle()
        world.wait(wait)
        world.settle()
    world.job_succeeds(job=newest(world))
    world.settle()
    assert len(world.names_of("Job")) == 1
    assert "status" in world.only("Job")
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.plan() == Plan()


def test_a_second_outage_after_a_recovery_starts_from_the_small_wait() -> None:
    world = compressing_world()
    for wait in (10, 20):
        fail(world)
        world.settle()
        world.wait(wait)
        world.settle()
    world.job_succeeds(job=newest(world))
    world.settle()
    world.roll_out()
    world.settle()

    # the artifact is lost: the same recipe is made again while the store is away
    world.wait(1)
    for _ in range(2):
        world.crashing_worker("fetch", 1, world.terminated(66, said("ArtifactLost", "gone")))
    world.settle()
    assert newest(world) == world.job_name()
    fail(world)
    world.settle()
    assert world.says("Reconciling") == ("True", "StoreUnavailable")
    assert world.plan().requeue == pytest.approx(10)


def test_other_recipes_wait_for_themselves() -> None:
    world = compressing_world()
    for wait in (10, 20):
        fail(world)
        world.settle()
        world.wait(wait)
        world.settle()
    fail(world)
    world.settle()
    world.edit(model={"uri": "s3://models/other.keras"})
    world.settle()
    assert world.says("Reconciling") == ("True", "Compressing")
    fail(world)
    world.settle()
    assert world.plan().requeue == pytest.approx(10)


@pytest.mark.parametrize("known", [True, False])
def test_a_job_that_has_run_for_long_and_gets_into_trouble_is_not_looked_at_without_end(known: bool) -> None:
    world = compressing_world()
    pod = world.add_job_pod(world.only("Job"), "Running")
    world.wait(attempts.PASSED_SECONDS + 80)
    if known:  # a sidecar ended, which the pod itself tells
        ended = {"name": "proxy", "state": {"terminated": world.terminated(1)}}
        pod["status"]["containerStatuses"].append(ended)
    else:
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        about = {"uid": pod["metadata"]["uid"]}
        world.events = [{"reason": "NodeNotReady", "message": "not ready", "involvedObject": about}]
    world.settle()
    assert world.says("Reconciling")[1] != "Compressing"
    assert world.plan().requeue == (None if known else pytest.approx(17))


def test_the_current_revision_serves_through_an_outage() -> None:
    world = ready_world()
    before = world.status["current"]
    world.edit(compression={"quantization": {"scheme": "Float16"}})
    world.settle()
    fail(world)
    world.settle()
    holds(world)
    assert world.says("Available") == ("True", "Available")
    assert world.status["current"] == before


def test_the_retry_annotation_tries_at_once() -> None:
    world = compressing_world()
    fail(world)
    world.settle()
    world.annotate(names.RETRY_ANNOTATION, "now")
    assert world.settle()[0][0] == f"apply Job {world.job_name('now')}"


def test_a_fault_that_shows_after_an_outage_is_final() -> None:
    world = compressing_world()
    fail(world)
    world.settle()
    world.wait(10)
    world.settle()
    job = newest(world)
    world.job_fails(65, said("InvalidModel", "no"), job=job)
    world.settle()
    assert world.says("Stalled") == ("True", "InvalidModel")
    assert world.names_of("Job") == {job}
    world.wait(3600)
    assert world.settle() == []


def test_a_failed_job_whose_pods_are_gone_keeps_the_cause_that_the_status_tells() -> None:
    world = compressing_world()
    fail(world)
    world.settle()
    world.pods.clear()  # its node was drained
    world.wait(9)
    assert world.settle() == []
    holds(world)
    world.wait(5)
    world.settle()
    assert len(world.names_of("Job")) == 2
    holds(world)


def test_suspend_makes_no_new_attempt_and_going_on_does() -> None:
    world = compressing_world()
    fail(world)
    world.settle()
    world.edit(suspend=True)
    world.settle()
    world.wait(3600)
    assert world.settle() == []
    assert len(world.names_of("Job")) == 1
    world.edit(suspend=False)
    world.settle()
    assert len(world.names_of("Job")) == 2
    holds(world)


def test_without_a_free_slot_the_cause_stays() -> None:
    world = compressing_world()
    fail(world)
    world.settle()
    world.slots = 0
    world.wait(10)
    assert world.settle() == []
    assert world.plan().requeue == pytest.approx(5)
    holds(world)


def test_an_outage_that_an_earlier_release_remembers_as_a_failure_is_tried_again() -> None:
    world = compressing_world()
    world.resource["status"]["failed"] = {
        "recipeHash": _recipe_hash(world),
        "reason": "SourceUnavailable",
        "message": "away",
    }
    del world.objects["Job", world.job_name()]  # a day later
    assert world.settle() == [[f"apply Job {world.job_name()}"]]
    world.job_succeeds()
    world.settle()
    assert "failed" not in world.status


def test_local_mode_ends_instead() -> None:
    world = World()
    world.settings = type(world.settings)(**{**vars(world.settings), "tries_again": False})
    world.settle()
    fail(world)
    world.settle()
    assert world.says("Stalled") == ("True", "StoreUnavailable")
    assert world.status["failed"]["message"] == "oci://registry/models: connection refused"


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 30, "٣"])
def test_a_count_that_somebody_edited_is_harmless(text: str) -> None:
    world = compressing_world()
    job = world.only("Job")
    job["metadata"]["annotations"] = {names.ATTEMPT_ANNOTATION: text}
    fail(world)
    world.settle()
    assert attempts.number(job) == 0
    assert world.plan().requeue == pytest.approx(10)


def _recipe_hash(world: World) -> str:
    return identity.recipe_hash(world.spec)
