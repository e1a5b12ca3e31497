"""Bounds of a rolling update that the spec leaves open, and rollouts during which nothing answers."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from modelpress.api.defaults import Defaults, Workers
from modelpress.api.pod_settings import PodSettings
from modelpress.api.spec import Spec
from modelpress.local.node import deployments
from modelpress.planning.rollouts.strategy import bounds, leaves_gap
from modelpress.planning.types import Observed, Settings
from modelpress.planning.view import View
from tests.unit.planning.fake_cluster import BEGIN, SETTINGS, SPEC, FakeCluster, ready_cluster

MODEL = {"uri": "s3://models/digits.keras"}


def view(device: str, replicas: int = 1, **strategy: Any) -> View:
    return seen(devices={"type": device}, replicas=replicas, strategy=strategy)


def seen(settings: Settings = SETTINGS, **fields: Any) -> View:
    observed = Observed({"metadata": {"name": "digits"}}, now=BEGIN)
    return View(observed, settings, Spec.model_validate({"model": MODEL, **fields}))


@pytest.mark.parametrize(
    ("given", "cpu", "gpu"),
    [
        ({}, (1, 0), (0, 1)),
        ({"maxSurge": 2}, (2, 0), (2, 0)),
        ({"maxSurge": "25%"}, ("25%", 0), ("25%", 0)),
        ({"maxSurge": 0}, (0, 1), (0, 1)),
        ({"maxSurge": "0%"}, ("0%", 1), ("0%", 1)),
        ({"maxUnavailable": 2}, (1, 2), (0, 2)),
        ({"maxUnavailable": 0}, (1, 0), (1, 0)),
        ({"maxUnavailable": "0%"}, (1, "0%"), (1, "0%")),
        ({"maxSurge": 0, "maxUnavailable": 1}, (0, 1), (0, 1)),
        ({"maxSurge": 3, "maxUnavailable": "50%"}, (3, "50%"), (3, "50%")),
    ],
)
def test_what_is_unset_follows_the_device_and_is_never_0_with_the_other(
    given: dict[str, Any], cpu: tuple[Any, Any], gpu: tuple[Any, Any]
) -> None:
    assert bounds(view("CPU", rollingUpdate=given)) == cpu
    assert bounds(view("GPU", rollingUpdate=given)) == gpu


def test_a_strategy_without_bounds_is_as_good_as_none() -> None:
    assert bounds(view("CPU")) == bounds(view("CPU", rollingUpdate={})) == (1, 0)


CLAIMS = [{"name": "device", "resourceClaimTemplateName": "device"}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"devices": {"type": "CPU"}}, (1, 0)),
        ({"devices": {"type": "CPU"}, "worker": {"resources": {"limits": {"cpu": "1"}}}}, (1, 0)),
        ({"devices": {"type": "CPU"}, "worker": {"resources": {"limits": "1"}}}, (1, 0)),
        ({"devices": {"type": "CPU"}, "job": {"resourceClaims": CLAIMS}}, (1, 0)),
        ({"devices": {"type": "CPU", "resourceName": "example.com/slot"}}, (0, 1)),
        ({"devices": {"type": "CPU"}, "worker": {"resourceClaims": CLAIMS}}, (0, 1)),
        ({"devices": {"type": "CPU"}, "worker": {"resources": {"limits": {"example.com/slot": 1}}}}, (0, 1)),
        ({"devices": {"type": "GPU"}, "worker": {"resourceClaims": CLAIMS}}, (0, 1)),
    ],
)
def test_where_devices_are_requested_none_may_be_left_for_a_pod_more(
    fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert bounds(seen(**fields)) == expected


def test_claims_of_all_workers_count_as_well() -> None:
    defaults = Defaults(workers=Workers(CPU=PodSettings.model_validate({"resourceClaims": CLAIMS})))
    assert bounds(seen(replace(SETTINGS, defaults=defaults), devices={"type": "CPU"})) == (0, 1)
    assert bounds(seen(replace(SETTINGS, defaults=defaults), devices={"type": "GPU"})) == (0, 1)


BOUNDS = (None, 0, 1, 2, 5, "0%", "1%", "25%", "50%", "100%")
ZERO = (0, "0%")


@pytest.mark.parametrize("replicas", [0, 1, 2, 3, 4, 7])
def test_a_gap_is_where_the_deployment_controller_may_end_every_pod(replicas: int) -> None:
    found = set()
    for surge, unavailable, device in product(BOUNDS, BOUNDS, ("CPU", "GPU")):
        if surge in ZERO and unavailable in ZERO:
            continue  # refused by the CRD
        given = {"maxSurge": surge, "maxUnavailable": unavailable}
        chosen = view(device, replicas, rollingUpdate=given)
        rolling = dict(zip(("maxSurge", "maxUnavailable"), bounds(chosen), strict=True))
        strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        _, missing = deployments.bounds({"spec": {"replicas": replicas, "strategy": strategy}})
        assert leaves_gap(chosen) == (replicas > 0 and missing >= replicas), (given, device)
        found.add(leaves_gap(chosen))
    assert found == ({False} if replicas == 0 else {True, False})


def test_recreate_leaves_a_gap_wherever_there_are_pods() -> None:
    assert leaves_gap(view("CPU", 3, type="Recreate"))
    assert not leaves_gap(view("CPU", 0, type="Recreate"))


def gpu_cluster(**fields: Any) -> FakeCluster:
    compression = {"quantization": {"scheme": "Float16"}}
    return ready_cluster({**SPEC, "compression": compression, "devices": {}, "replicas": 1, **fields})


def gaps(cluster: FakeCluster) -> list[str]:
    return [note.message for note in cluster.notes if note.reason == "ServingGap"]


def test_a_rollout_with_a_gap_is_announced_once_and_said_while_it_lasts() -> None:
    cluster = gpu_cluster()
    assert gaps(cluster) == [], "the first rollout ends nothing"
    cluster.edit(serving={"maxBatchSize": 8})
    done = cluster.step()
    assert "apply Deployment digits" in done
    (message,) = gaps(cluster)
    assert cluster.revision_name() in message
    assert "spec.strategy" in message
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    assert "nothing answers" in cluster.condition("Reconciling")["message"]
    cluster.roll_out(ready=False)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert len(gaps(cluster)) == 1
    assert cluster.verdict()["Ready"] == "True"


def test_an_edit_during_a_rollout_is_announced_where_it_ends_the_last_pod() -> None:
    cluster = gpu_cluster(replicas=2)
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    cluster.edit(serving={"maxBatchSize": 4}, replicas=1)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    assert len(gaps(cluster)) == 1, "the reason did not change, the cost did"


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": 2},
        {"strategy": {"rollingUpdate": {"maxSurge": 1}}},
        {"devices": {"type": "CPU"}},
    ],
)
def test_a_rollout_without_a_gap_is_not_announced(fields: dict[str, Any]) -> None:
    cluster = gpu_cluster(**fields)
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    assert gaps(cluster) == []
    assert "nothing answers" not in cluster.condition("Reconciling")["message"]


def test_pods_that_do_not_answer_make_no_gap() -> None:
    cluster = gpu_cluster()
    cluster.roll_out(ready=False)
    cluster.settle()
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    assert gaps(cluster) == []
