"""Nothing is destroyed, repeated, adopted or made again on the word of a watch alone."""

from modelpress.controllers.reconcile import STALE_SECONDS
from tests.unit.controllers.refusing_cluster import Refusing, without
from tests.unit.planning.fake_cluster import ARTIFACT, compressing_cluster, ready_cluster


def done_once_shown(cluster: Refusing) -> list[str]:
    """Look while the watch is behind, when nothing may be done; return what is done after it caught up."""
    cluster.changed = True
    assert cluster.look() == STALE_SECONDS
    assert cluster.calls == []
    cluster.changed = False
    cluster.look()
    return cluster.calls


def test_the_pods_of_a_finished_job_are_read_live_before_its_result_is_believed_to_be_lost() -> None:
    fake = compressing_cluster()
    fake.live = False
    fake.job_succeeds()
    cluster = Refusing(fake, {})
    cluster.live_pods, fake.pods = tuple(fake.pods.values()), {}
    cluster.look()
    assert cluster.calls[0] == "read pods of Job"
    assert "annotate Job" in cluster.calls
    assert fake.names_of("Job") == {fake.job_name()}
    assert fake.status["candidate"]["artifactDigest"] == ARTIFACT
    cluster.look()
    assert cluster.calls == [], "what was kept on the Job needs no other look"


def test_nothing_is_deleted_for_a_spec_that_is_not_the_newest() -> None:
    fake = compressing_cluster()
    fake.edit(compression={"quantization": {"scheme": "Float16"}})
    cluster = Refusing(fake, {})
    assert "delete Job" in done_once_shown(cluster)


def test_nothing_is_adopted_for_a_resource_that_goes() -> None:
    fake = ready_cluster()
    owners = fake.only("Deployment")["metadata"].pop("ownerReferences")  # as by an orphan deletion
    cluster = Refusing(fake, {})
    assert done_once_shown(cluster) == ["apply Deployment"]
    assert fake.only("Deployment")["metadata"]["ownerReferences"] == owners


def test_nothing_is_made_again_for_a_resource_that_changed_or_went_behind_its_watch() -> None:
    cluster = Refusing(without(ready_cluster(), "Service"), {})
    assert done_once_shown(cluster) == ["apply Service"]
