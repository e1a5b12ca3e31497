"""Artifacts that cannot be spread over devices as the spec says."""

from tests.unit.planning.fake_cluster import SPEC, FakeCluster


def test_a_saved_model_is_not_rolled_out_where_gpus_need_its_layers() -> None:
    cluster = FakeCluster({**SPEC, "devices": {"type": "GPU"}, "parallelism": {"tensor": 2}})
    cluster.settle()
    cluster.job_succeeds(layers=False)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "UnsupportedModel")
    assert cluster.condition("Stalled")["message"].endswith("this one is a SavedModel")
    assert cluster.says("Compressed") == ("True", "CompressionSucceeded")
    assert not cluster.names_of("Deployment")
    cluster.edit(parallelism={"data": 2})
    cluster.settle()
    assert len(cluster.names_of("Deployment")) == 1
    assert not cluster.status.get("failed")


def test_the_layers_of_an_artifact_are_remembered() -> None:
    cluster = FakeCluster({**SPEC, "devices": {"type": "GPU"}})
    cluster.settle()
    cluster.job_succeeds(layers=False)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    current = cluster.status["current"]
    cluster.edit(parallelism={"pipeline": 2})
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "UnsupportedModel")
    assert cluster.status["current"] == current
