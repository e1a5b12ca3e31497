"""A child that is changed again after each repair: how often it is put right, and what is told."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from modelpress.controllers.repairs import Repairs
from modelpress.planning.children.in_place import stamped
from modelpress.planning.children.repairs import FORGOTTEN_SECONDS
from modelpress.planning.plan import decide
from modelpress.planning.types import Key, Plan, Repair
from tests.unit.planning.fake_cluster import FakeCluster, ready_cluster
from tests.unit.planning.recorded import entry, recorded

KEY = Key("models", "digits")
PAUSED = ("spec.paused",)


def fought_over() -> FakeCluster:
    """Return a cluster whose Deployment somebody has paused."""
    cluster = ready_cluster()
    body = cluster.only("Deployment")
    found = recorded(body, entry("somebody", {"spec": {"paused": True}}))
    found["spec"]["paused"] = True
    cluster.objects["Deployment", "digits"] = found
    return cluster


def plan(cluster: FakeCluster, *repairs: Repair) -> Plan:
    return decide(replace(cluster.observe(), repairs=repairs), cluster.settings)


def repaired(cluster: FakeCluster, count: int, seconds: float) -> Repair:
    at = cluster.now - timedelta(seconds=seconds)
    return Repair("Deployment", "digits", PAUSED, count, at)


def test_the_first_repair_is_made_at_once_and_looked_at_again() -> None:
    planned = plan(fought_over())
    assert [body["kind"] for body in planned.apply] == ["Deployment"]
    assert planned.requeue == 2


def test_where_the_hash_does_not_stay_it_is_looked_again_as_well_and_after_an_edit_of_ours_not() -> None:
    cluster = ready_cluster()
    cluster.edit(replicas=3)
    assert plan(cluster).requeue is None
    stripped = recorded(cluster.only("Deployment"))
    stripped["metadata"]["annotations"] = {}
    cluster.objects["Deployment", "digits"] = stripped
    assert plan(cluster).requeue == 2


@pytest.mark.parametrize(("count", "pause"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (500, 60)])
def test_each_repair_of_the_same_waits_longer(count: int, pause: float) -> None:
    cluster = fought_over()
    held = plan(cluster, repaired(cluster, count, pause - 0.5))
    assert (held.apply, held.requeue) == ((), 0.5)
    due = plan(cluster, repaired(cluster, count, pause))
    assert [body["kind"] for body in due.apply] == ["Deployment"]


def test_another_field_or_another_object_is_put_right_at_once() -> None:
    cluster = fought_over()
    known = repaired(cluster, 5, 0)
    for other in (replace(known, fields=("spec.replicas",)), replace(known, kind="Service")):
        assert [body["kind"] for body in plan(cluster, other).apply] == ["Deployment"]


def conditions(planned: Plan) -> dict[str, Any]:
    assert planned.status is not None
    return {entry["type"]: entry for entry in planned.status["conditions"]}


def test_from_the_third_repair_on_the_object_and_the_field_are_told_and_what_serves_is_ready() -> None:
    cluster = fought_over()
    for count in (1, 2):
        assert plan(cluster, repaired(cluster, count, 0)).status is None
    planned = plan(cluster, repaired(cluster, 3, 0))
    told = conditions(planned)
    assert (told["Reconciling"]["status"], told["Reconciling"]["reason"]) == ("True", "DriftRejected")
    assert told["Reconciling"]["message"] == (
        "Deployment digits does not stay as it was applied: spec.paused;"
        " it is put right again, with growing waits"
    )
    assert (told["Ready"]["status"], told["Stalled"]["status"]) == ("True", "False")
    assert [(note.type, note.reason) for note in planned.events] == [("Warning", "DriftRejected")]


def test_it_is_told_until_the_object_has_stayed_for_twice_the_wait() -> None:
    cluster = ready_cluster()
    assert conditions(plan(cluster, repaired(cluster, 3, 7)))["Reconciling"]["reason"] == "DriftRejected"
    assert plan(cluster, repaired(cluster, 3, 7)).requeue == 1
    assert plan(cluster, repaired(cluster, 3, 8)) == Plan()


def test_many_fields_are_counted() -> None:
    cluster = fought_over()
    many = replace(repaired(cluster, 3, 0), fields=tuple(f"spec.{name}" for name in "abcdefg"))
    assert (
        "spec.a, spec.b, spec.c, spec.d, spec.e and 2 more;"
        in conditions(plan(cluster, many))["Reconciling"]["message"]
    )


def test_the_same_content_applied_again_is_a_repair_and_other_content_is_none() -> None:
    memory, body = Repairs(), stamped(ready_cluster().only("Deployment"))
    now = datetime(2026, 1, 1)
    memory.applied(KEY, body, (), now)
    assert memory.of(KEY, now) == ()
    for count in (1, 2):
        memory.applied(KEY, body, PAUSED, now)
        assert memory.of(KEY, now) == (Repair("Deployment", "digits", PAUSED, count, now),)
    memory.applied(KEY, body, ("spec.replicas",), now)
    assert [each.count for each in memory.of(KEY, now)] == [2, 1]
    scaled = stamped({**body, "spec": {**body["spec"], "replicas": 9}})
    memory.applied(KEY, scaled, PAUSED, now)
    assert memory.of(KEY, now) == ()


def test_repairs_are_forgotten_with_time_and_with_the_resource() -> None:
    memory, body = Repairs(), stamped(ready_cluster().only("Deployment"))
    now = datetime(2026, 1, 1)
    for _ in range(2):
        memory.applied(KEY, body, PAUSED, now)
    assert memory.of(KEY, now + timedelta(seconds=FORGOTTEN_SECONDS - 1))
    assert memory.of(KEY, now + timedelta(seconds=FORGOTTEN_SECONDS)) == ()
    memory.applied(KEY, body, PAUSED, now)
    memory.forget(KEY)
    assert memory.of(KEY, now) == ()
