"""A lost artifact is made again while its pods go on."""

from tests.unit.planning.world import OTHER_ARTIFACT, World, ready_world, said


def lost_world() -> World:
    """Return a world whose store has lost the artifact: a second pod cannot start."""
    world = ready_world()
    world.wait(86400)
    world.objects.pop(("Job", world.job_name()))
    world.edit(replicas=3)
    world.settle()
    world.crashing_worker("fetch", 5, world.terminated(66, said("ArtifactLost", "no such digest")))
    world.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    return world


def test_a_lost_artifact_is_made_again_while_its_pods_go_on() -> None:
    world = lost_world()
    assert world.settle() == [[f"apply Job {world.job_name()}", "status"]]
    assert world.says("Reconciling") == ("True", "ArtifactLost")
    assert world.says("Ready") == ("True", "Available")
    world.wait(60)
    world.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    revision = world.revision_name(OTHER_ARTIFACT)
    assert world.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    world.roll_out()
    world.settle()
    assert world.status["current"]["artifactDigest"] == OTHER_ARTIFACT
    assert world.says("Ready") == ("True", "Available")


def test_a_lost_artifact_that_comes_back_the_same_ends_the_matter() -> None:
    world = lost_world()
    world.settle()
    world.wait(60)
    world.job_succeeds()
    world.settle()
    assert world.plan().apply == ()
    assert world.says("Reconciling")[0] == "False"


def test_a_lost_artifact_whose_job_is_still_there_runs_it_again() -> None:
    world = ready_world()
    world.wait(60)
    world.edit(replicas=3)
    world.settle()
    world.crashing_worker("fetch", 5, world.terminated(66, said("ArtifactLost")))
    job = world.job_name()
    steps = world.settle()
    assert steps[0][0] == f"delete Job {job}"
    assert steps[1][0] == f"apply Job {job}"
