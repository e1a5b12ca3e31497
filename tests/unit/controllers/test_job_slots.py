"""Which Jobs hold a slot, whose turn is next, and that no namespace holds up another."""

import pytest

from modelpress.controllers.job_slots import PLACED_SECONDS, JobId, JobSlots, Limits, Standing, standing
from modelpress.controllers.main import OperatorOptions
from modelpress.controllers.store import Store
from modelpress.planning.types import Key
from tests.unit.planning.fake_cluster import Json

A, B = Key("a", "digits"), Key("b", "digits")
OURS = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits", "uid": "owner"}
NOTHING = Standing(at=0)


def job(change: Json | None = None, **metadata: object) -> Json:
    return {"kind": "Job", "metadata": _metadata("job", [OURS], **metadata), "spec": {}, **(change or {})}


def pod(node: str | None, owner: str = "job-uid", phase: str = "Running") -> Json:
    spec = {"nodeName": node} if node else {}
    metadata = _metadata("pod", [{"kind": "Job", "uid": owner}])
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


def _metadata(name: str, owners: list[Json], **metadata: object) -> Json:
    owned = {"ownerReferences": [{**owner, "controller": True} for owner in owners]}
    labels = {"modelpress.dev/name": "digits"}
    about = {"name": name, "namespace": "a", "uid": f"{name}-uid", "resourceVersion": "1", "labels": labels}
    return {**about, **owned, **metadata}


def ended(kind: str) -> Json:
    return {"status": {"conditions": [{"type": kind, "status": "True"}]}}


def store_of(*bodies: Json) -> Store:
    store = Store()
    for body in bodies:
        store.put(body)
    return store


@pytest.mark.parametrize(
    ("body", "pods", "holds"),
    [
        (job(), [pod("node")], True),
        (job(), [pod("node", phase="Pending")], True),  # a node waits for its Secret
        (job(), [pod("node", phase="Failed")], True),  # and the next one is due
        (job(), [], False),
        (job(), [pod(None)], False),
        (job(), [pod("node", owner="another")], False),
        (job(ownerReferences=[]), [pod("node")], False),
        (job(ownerReferences=[{"kind": "CronJob", "uid": "x", "controller": True}]), [pod("node")], False),
        (job(ended("Complete")), [pod("node")], False),
        (job(ended("Failed")), [pod("node")], False),
        (job({"spec": {"suspend": True}}), [pod("node")], False),
        (job(deletionTimestamp="2026-01-01T00:00:00Z"), [pod("node")], False),
    ],
)
def test_a_job_of_ours_that_came_to_a_node_and_has_not_ended_holds_a_slot(
    body: Json, pods: list[Json], holds: bool
) -> None:
    seen = standing(store_of(body, *pods), (), at=0)
    assert seen.holding == ({JobId(A, "job")} if holds else set())


def test_of_the_jobs_that_were_just_made_those_that_ended_are_told() -> None:
    store = store_of(job(ended("Complete")))
    ours, not_shown = JobId(A, "job"), JobId(A, "another")
    assert standing(store, (ours, not_shown), at=0).over == {ours}
    assert standing(store_of(job()), (ours, not_shown), at=0) == Standing(at=0, pending=frozenset({ours}))


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def holding(*jobs: JobId) -> Standing:
    return Standing(at=100, holding=frozenset(jobs))


def many(key: Key, count: int) -> list[JobId]:
    return [JobId(Key(key.namespace, f"m{number}"), "job") for number in range(count)]


def test_a_namespace_has_its_share_and_leaves_the_rest_to_others() -> None:
    slots = JobSlots(Limits(10, 5))
    full = holding(*many(A, 5))
    assert slots.turn(A, full).slots == 0
    assert slots.turn(B, full).slots == 5
    assert not slots.reserve(JobId(A, "job"), full)
    assert slots.reserve(JobId(B, "job"), full)
    assert slots.turn(Key("c", "x"), holding(*many(A, 5), *many(B, 5))).slots == 0


def test_a_slot_is_taken_before_the_job_is_created_and_given_back() -> None:
    slots = JobSlots(Limits(1, 1))
    assert slots.reserve(JobId(A, "job"), NOTHING)
    assert not slots.reserve(JobId(B, "job"), NOTHING)
    slots.release("a", "job")
    assert slots.reserve(JobId(B, "job"), NOTHING)


def test_a_job_whose_pod_comes_to_no_node_holds_its_slot_for_a_minute() -> None:
    clock = Clock()
    slots = JobSlots(Limits(1, 1), clock)
    slots.reserve(JobId(A, "job"), NOTHING)
    clock.now += PLACED_SECONDS
    assert slots.turn(B, NOTHING).slots == 0
    clock.now += 1
    assert slots.turn(B, NOTHING).slots == 1


def test_a_job_of_ours_that_is_seen_counts_once() -> None:
    slots = JobSlots(Limits(2, 2))
    slots.reserve(JobId(A, "job"), NOTHING)
    assert slots.turn(B, holding(JobId(A, "job"))).slots == 1


def test_a_quick_job_frees_its_slot_when_it_is_seen_to_have_ended() -> None:
    clock = Clock()
    slots = JobSlots(Limits(1, 1), clock)
    slots.reserve(JobId(A, "job"), NOTHING)
    over = frozenset({JobId(A, "job")})
    before, after = Standing(at=99, over=over), Standing(at=101, over=over)
    assert slots.turn(B, before).slots == 0, "that was an earlier Job of this name"
    assert slots.turn(B, after).slots == 1


def test_a_job_that_was_seen_and_is_gone_frees_its_slot() -> None:
    clock = Clock()
    slots = JobSlots(Limits(1, 1), clock)
    slots.reserve(JobId(A, "job"), NOTHING)
    assert slots.turn(B, Standing(at=101)).slots == 0, "the watch has not shown it yet"
    assert slots.turn(B, Standing(at=102, pending=frozenset({JobId(A, "job")}))).slots == 0
    assert slots.turn(B, Standing(at=103)).slots == 1


def test_a_modeldeployment_that_is_gone_neither_waits_nor_holds_a_slot() -> None:
    slots = JobSlots(Limits(2, 1))
    slots.reserve(JobId(A, "job"), NOTHING)
    slots.wait(A, "2026-01-01T12:00:00Z")
    slots.leave(A)
    assert slots.turn(Key("a", "other"), NOTHING).slots == 1
    assert slots.turn(B, NOTHING).slots == 1


def test_who_waits_for_longest_is_first() -> None:
    slots = JobSlots(Limits(1, 1))
    first, second = Key("b", "first"), Key("a", "second")
    slots.wait(second, "2026-01-01T12:00:01Z")
    slots.wait(first, "2026-01-01T12:00:00Z")
    assert slots.turn(first, NOTHING).slots == 1
    assert slots.turn(second, NOTHING).slots == 0
    assert slots.turn(Key("c", "new"), NOTHING).slots == 0
    assert not slots.reserve(JobId(second, "job"), NOTHING)
    slots.wait(first, None)
    assert slots.turn(second, NOTHING).slots == 1


def test_everybody_comes_to_a_turn_whatever_the_order_of_looks() -> None:
    slots = JobSlots(Limits(2, 1))
    keys = [Key("ab"[number % 2], f"m{number}") for number in range(40)]
    waiting = {key: f"2026-01-01T12:00:{number:02}Z" for number, key in enumerate(keys)}
    served: list[Key] = []
    for key, since in waiting.items():
        slots.wait(key, since)
    for _ in keys:
        for key in reversed(list(waiting)):  # the newest ask first
            if slots.reserve(JobId(key, "job"), NOTHING):
                served.append(key)
                del waiting[key]
        for key in served:
            slots.leave(key)
    assert [key for key in served if key.namespace == "a"] == keys[::2]
    assert [key for key in served if key.namespace == "b"] == keys[1::2]


def test_those_whose_namespace_has_its_share_hold_up_no_other() -> None:
    slots = JobSlots(Limits(10, 5))
    for number in range(990):
        slots.wait(Key("a", f"m{number}"), "2026-01-01T12:00:00Z")
    full = holding(*many(A, 5))
    assert slots.turn(B, full).slots == 5
    assert slots.turn(B, full).pause == 5
    assert slots.turn(Key("a", "m5"), full).pause < slots.turn(Key("a", "m989"), full).pause <= 60


def test_one_that_no_longer_looks_is_forgotten() -> None:
    clock = Clock()
    slots = JobSlots(Limits(1, 1), clock)
    slots.wait(A, "2026-01-01T12:00:00Z")
    assert slots.turn(B, NOTHING).slots == 0
    clock.now += 121
    assert slots.turn(B, NOTHING).slots == 1


@pytest.mark.parametrize(
    ("total", "share", "namespaces", "expected"),
    [
        (10, None, (), 5),
        (1, None, (), 1),
        (3, None, ("a", "b"), 1),
        (10, None, ("a",), 10),
        (10, 2, ("a",), 2),
    ],
)
def test_the_share_of_a_namespace_is_half_unless_said_otherwise(
    total: int, share: int | None, namespaces: tuple[str, ...], expected: int
) -> None:
    options = OperatorOptions(
        store="oci://r/m",
        compressor_image="c",
        worker_image="w",
        worker_gpu_image="g",
        namespaces=namespaces,
        max_concurrent_jobs=total,
        max_concurrent_jobs_per_namespace=share,
    )
    assert options.job_limits() == Limits(total, expected)
