"""The compressed entries and how they are found; own writes against them."""

from typing import Any

import pytest

from modelpress.controllers.own_writes import PATIENCE_SECONDS, OwnWrites
from modelpress.controllers.resources import JOB, MODEL_DEPLOYMENT
from modelpress.controllers.store import Entry, Store, owner_key, pack, unpack
from modelpress.planning.types import Key

KEY = Key("shop", "digits")


def _body(
    kind: str = "Job",
    name: str = "digits-1",
    owner: str | None = "digits",
    version: str = "7",
    uid: str = "u1",
    **status: Any,
) -> dict[str, Any]:
    labels = {"modelpress.dev/name": owner} if owner is not None else {}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid,
            "resourceVersion": version,
            "labels": labels,
            "managedFields": [{"manager": "somebody", "fieldsV1": {"f:spec": {}}}],
        },
        "status": status,
    }


def _store(*entries: tuple[str, Key, Entry]) -> Store:
    indexes: dict[str, dict[Key, list[Entry]]] = {JOB.kind: {}, MODEL_DEPLOYMENT.kind: {}}
    for kind, key, entry in entries:
        indexes[kind].setdefault(key, []).append(entry)
    store = Store()
    store.bind(indexes)
    return store


@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"])
def test_of_what_is_applied_the_owners_of_fields_are_kept(kind: str) -> None:
    body = _body(kind)
    spec = {"manager": "somebody", "operation": "Update", "fieldsV1": {"f:spec": {}}}
    status = {**spec, "fieldsV1": {"f:status": {}}, "subresource": "status"}
    body["metadata"]["managedFields"] = [{**spec, "time": "now"}, status, {"manager": "nothing"}]
    kept = unpack(pack(body))["metadata"]["managedFields"]
    assert kept == [spec]


def test_an_object_comes_back_whole_but_for_its_managed_fields() -> None:
    body = _body(active=1)
    restored = unpack(pack(body))
    del body["metadata"]["managedFields"]
    assert restored == body


def test_an_object_belongs_to_the_modeldeployment_that_its_label_names() -> None:
    assert owner_key(_body()) == KEY
    assert owner_key(_body(owner=None)) is None
    assert owner_key(_body(owner="")) == Key("shop", ""), "the watch by label tells of it, too"
    assert owner_key(_body(kind="ModelDeployment", name="digits", owner="other")) == KEY


def test_a_suspended_job_takes_no_slot_until_its_queue_lets_it_run() -> None:
    held = {**_body(), "spec": {"suspend": True}}
    assert _store((JOB.kind, KEY, pack(held))).running_jobs() == frozenset()
    let_go = {**_body(), "spec": {"suspend": False}}
    assert _store((JOB.kind, KEY, pack(let_go))).running_jobs() == {(KEY, "digits-1")}


def test_only_unfinished_jobs_take_a_slot() -> None:
    complete: dict[str, Any] = {"conditions": [{"type": "Complete", "status": "True"}]}
    suspended: dict[str, Any] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    terminating = _body(name="terminating", uid="u4")
    terminating["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    store = _store(
        (JOB.kind, KEY, pack(_body(name="running"))),
        (JOB.kind, KEY, pack(_body(name="done", uid="u2", **complete))),
        (JOB.kind, KEY, pack(_body(name="suspended", uid="u3", **suspended))),
        (JOB.kind, KEY, pack(terminating)),
    )
    assert store.running_jobs() == {(KEY, "running"), (KEY, "suspended")}


def test_an_own_write_makes_the_view_stale_until_it_shows() -> None:
    writes = OwnWrites()
    writes.wrote(KEY, "Job", "digits-1", "u1", 8)
    assert not writes.settled(KEY, {"Job": ()})
    assert not writes.settled(KEY, {"Job": (pack(_body(version="7")),)})
    assert writes.settled(Key("shop", "other"), {"Job": ()})
    assert writes.settled(KEY, {"Job": (pack(_body(version="8")),)})
    assert writes.settled(KEY, {"Job": ()}), "a write that was seen once is forgotten"


def test_an_own_delete_makes_the_view_stale_until_the_object_goes() -> None:
    writes = OwnWrites()
    writes.deleted(KEY, "Job", "digits-1", "u1")
    assert not writes.settled(KEY, {"Job": (pack(_body(version="9")),)})
    assert writes.settled(KEY, {"Job": (pack(_body(uid="successor")),)})


def test_a_write_that_never_shows_does_not_block_for_ever() -> None:
    now = 100.0
    writes = OwnWrites(clock=lambda: now)
    writes.wrote(KEY, "Job", "digits-1", "u1", 8)
    assert writes.created("Job") == {(KEY, "digits-1")}
    assert not writes.settled(KEY, {})
    now += PATIENCE_SECONDS + 1
    assert writes.created("Job") == set()
    assert writes.settled(KEY, {})
