"""The compressed entries and how they are found; own writes against them."""

from typing import Any

import pytest

from modelpress.controllers.own_writes import PATIENCE_SECONDS, OwnWrites
from modelpress.controllers.store import Store, owner_key, pack, unpack
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


def _store(*bodies: dict[str, Any]) -> Store:
    store = Store()
    for body in bodies:
        store.put(body)
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
    assert _store(held).running_jobs() == frozenset()
    let_go = {**_body(), "spec": {"suspend": False}}
    assert _store(let_go).running_jobs() == {(KEY, "digits-1")}


def test_only_unfinished_jobs_take_a_slot() -> None:
    complete: dict[str, Any] = {"conditions": [{"type": "Complete", "status": "True"}]}
    suspended: dict[str, Any] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    terminating = _body(name="terminating", uid="u4")
    terminating["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    store = _store(
        _body(name="running"),
        _body(name="done", uid="u2", **complete),
        _body(name="suspended", uid="u3", **suspended),
        terminating,
    )
    assert store.running_jobs() == {(KEY, "running"), (KEY, "suspended")}
    store.remove("u1")
    store.put(_body(name="suspended", uid="u3", version="8", **complete))
    assert store.running_jobs() == frozenset()


def test_an_object_is_found_by_its_modeldeployment_and_kind_until_it_is_removed() -> None:
    store = _store(_body(), _body(kind="Service", name="digits", uid="u2"))
    assert [entry.name for entry in store.of(KEY)["Job"]] == ["digits-1"]
    assert [entry.name for entry in store.of(KEY)["Service"]] == ["digits"]
    assert set(store.all_of("Job")) == {"u1"}
    assert store.owner_of("u1") == KEY
    assert store.remove("u1") == (KEY,)
    assert store.of(KEY)["Job"] == ()
    assert store.owner_of("u1") is None
    assert store.remove("u1") == ()


def test_an_older_version_changes_nothing_unless_it_was_read_just_now() -> None:
    store = _store(_body(version="8"))
    assert store.put(_body(version="7")) == ()
    assert store.of(KEY)["Job"][0].version == 8
    assert store.put(_body(version="7"), trusted=True) == (KEY,)
    assert store.of(KEY)["Job"][0].version == 7


def test_a_change_of_its_label_concerns_the_modeldeployment_before_and_the_one_after() -> None:
    store = _store(_body())
    other = Key("shop", "other")
    assert set(store.put(_body(owner="other", version="8"))) == {KEY, other}
    assert store.of(KEY)["Job"] == ()
    assert [entry.uid for entry in store.of(other)["Job"]] == ["u1"]
    assert store.put(_body(owner=None, version="9")) == (other,)
    assert store.all_of("Job") == {}


def test_of_a_pod_only_what_planning_asks_for_is_kept() -> None:
    claim = {"name": "model", "persistentVolumeClaim": {"claimName": "models"}, "more": 1}
    container = {"name": "worker", "resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "A"}]}
    spec = {
        "nodeName": "node",
        "volumes": [claim, {"name": "tmp", "emptyDir": {}}],
        "containers": [container],
    }
    kept = unpack(pack({**_body(kind="Pod", phase="Running"), "spec": spec}))
    assert kept["status"] == {"phase": "Running"}
    assert kept["spec"] == {
        "volumes": [
            {"name": "model", "persistentVolumeClaim": {"claimName": "models"}},
            {"name": "tmp"},
        ],
        "containers": [{"name": "worker", "resources": {"limits": {"memory": "1Gi"}}}],
        "initContainers": [],
    }


def test_of_thousands_of_pods_that_ended_only_the_newest_are_looked_at() -> None:
    store = Store()
    for number in range(3000):
        pod = _body(kind="Pod", name=f"digits-{number:04}", uid=f"u{number}", phase="Failed")
        pod["metadata"]["creationTimestamp"] = (
            f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        )
        store.put(pod)
    store.put(_body(kind="Pod", name="digits-running", uid="running", phase="Running"))
    names = {entry.name for entry in store.of(KEY)["Pod"]}
    assert names == {"digits-running", *(f"digits-{number}" for number in range(2990, 3000))}
    assert len(store.all_of("Pod")) == 3001, "a list shows them all"


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
    assert not writes.settled(KEY, {})
    now += PATIENCE_SECONDS + 1
    assert writes.settled(KEY, {})


def test_objects_that_are_alike_are_kept_as_their_differences_and_come_back_whole() -> None:
    bodies = [_body(name=f"digits-{number}", uid=f"u{number}", text="the same " * 20) for number in range(3)]
    store = _store(*bodies)
    entries = {uid: entry for uid, (_, entry) in store.all_of("Job").items()}
    assert len(entries["u2"].data) < len(entries["u0"].data)
    for body in bodies:
        del body["metadata"]["managedFields"]
        assert unpack(entries[body["metadata"]["uid"]]) == body


def _revision(namespace: str, uid: str, digit: str) -> dict[str, Any]:
    body = _body("ControllerRevision", name=f"digits-{uid}", uid=uid)
    body["metadata"]["namespace"] = namespace
    data = {"artifactKey": "key", "artifactDigest": f"sha256:{digit * 64}", "store": {"uri": "oci://r/m"}}
    return {**body, "data": data}


def test_the_artifacts_of_a_namespace_are_those_that_its_objects_name_while_they_exist() -> None:
    store = _store(_revision("shop", "u1", "1"), _revision("other", "u2", "2"), _revision("shop", "u3", "3"))
    assert [each.digest[-1] for each in store.artifacts_of("shop")] == ["3", "1"], "the newest first"
    store.put({**_revision("shop", "u1", "4"), "metadata": _body(uid="u1", version="8")["metadata"]})
    assert [each.digest[-1] for each in store.artifacts_of("shop")] == ["4", "3"]
    store.remove("u3")
    assert [each.digest[-1] for each in store.artifacts_of("shop")] == ["4"]
    assert [each.digest[-1] for each in store.artifacts_of("other")] == ["2"]
    assert store.artifacts_of("nobody") == ()
