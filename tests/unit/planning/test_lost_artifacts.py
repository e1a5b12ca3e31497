"""A lost artifact is made again while its pods go on."""

from tests.unit.planning.fake_cluster import OTHER_ARTIFACT, FakeCluster, ready_cluster, said


def lost_cluster() -> FakeCluster:
    """Return a cluster whose store has lost the artifact: a second pod cannot start."""
    cluster = ready_cluster()
    cluster.wait(86400)
    cluster.objects.pop(("Job", cluster.job_name()))
    cluster.edit(replicas=3)
    cluster.settle()
    cluster.crashing_worker("fetch", 5, cluster.terminated(66, said("ArtifactLost", "no such digest")))
    cluster.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    return cluster


def test_a_lost_artifact_is_made_again_while_its_pods_go_on() -> None:
    cluster = lost_cluster()
    assert cluster.settle() == [[f"apply Job {cluster.job_name()}", "status"]]
    assert cluster.says("Reconciling") == ("True", "ArtifactLost")
    assert cluster.says("Ready") == ("True", "Available")
    cluster.wait(60)
    cluster.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    revision = cluster.revision_name(OTHER_ARTIFACT)
    assert cluster.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["artifactDigest"] == OTHER_ARTIFACT
    assert cluster.says("Ready") == ("True", "Available")


def test_a_lost_artifact_that_comes_back_the_same_ends_the_matter() -> None:
    cluster = lost_cluster()
    cluster.settle()
    cluster.wait(60)
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.plan().apply == ()
    assert cluster.says("Reconciling")[0] == "False"


def test_a_lost_artifact_whose_job_is_still_there_runs_it_again() -> None:
    cluster = ready_cluster()
    cluster.wait(60)
    cluster.edit(replicas=3)
    cluster.settle()
    cluster.crashing_worker("fetch", 5, cluster.terminated(66, said("ArtifactLost")))
    job = cluster.job_name()
    steps = cluster.settle()
    assert steps[0][0] == f"delete Job {job}"
    assert steps[1][0] == f"apply Job {job}"
