"""Artifacts that cannot be spread over devices as the spec says."""

from tests.unit.planning.world import SPEC, World


def test_a_saved_model_is_not_rolled_out_where_gpus_need_its_layers() -> None:
    world = World({**SPEC, "devices": {"type": "GPU"}, "parallelism": {"tensor": 2}})
    world.settle()
    world.job_succeeds(layers=False)
    world.settle()
    assert world.says("Stalled") == ("True", "UnsupportedModel")
    assert world.condition("Stalled")["message"].endswith("this one is a SavedModel")
    assert world.says("Compressed") == ("True", "CompressionSucceeded")
    assert not world.names_of("Deployment")
    world.edit(parallelism={"data": 2})
    world.settle()
    assert len(world.names_of("Deployment")) == 1
    assert not world.status.get("failed")


def test_the_layers_of_an_artifact_are_remembered() -> None:
    world = World({**SPEC, "devices": {"type": "GPU"}})
    world.settle()
    world.job_succeeds(layers=False)
    world.settle()
    world.roll_out()
    world.settle()
    current = world.status["current"]
    world.edit(parallelism={"pipeline": 2})
    world.settle()
    assert world.says("Stalled") == ("True", "UnsupportedModel")
    assert world.status["current"] == current
