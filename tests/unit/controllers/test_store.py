"""The compressed entries and how they are found; own writes against them."""

from typing import Any

from modelpress.controllers.own_writes import PATIENCE_SECONDS, OwnWrites
from modelpress.controllers.store import owner_key, pack, unpack
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
