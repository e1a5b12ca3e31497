"""What a list shows otherwise than the store, and when a watch counts as dead."""

import asyncio
from typing import Any

import pytest

from modelpress.controllers import resync as module
from modelpress.controllers.resources import POD
from modelpress.controllers.rest import Request, Rest
from modelpress.controllers.resync import Listed, Resync, behind
from modelpress.controllers.store import Entry, Store
from modelpress.planning.types import Key

KEY = Key("shop", "digits")


def pod(version: int = 1, label: str = "digits", uid: str = "u") -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "shop", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "Pod", "metadata": {**metadata, "labels": {"modelpress.dev/name": label}}}


def held(version: int) -> dict[str, tuple[Key, Entry]]:
    store = Store()
    store.put(pod(version))
    return store.all_of("Pod")


LISTED = {"u": Listed("shop", "p", 5)}


def test_what_the_store_lacks_or_holds_older_is_behind() -> None:
    assert behind(LISTED, {}, {}) == LISTED
    assert behind(LISTED, held(4), held(4)) == LISTED


def test_what_the_watch_showed_meanwhile_is_not() -> None:
    assert behind(LISTED, {}, held(5)) == {}
    assert behind(LISTED, held(4), held(5)) == {}
    assert behind(LISTED, held(4), held(6)) == {}
    assert behind(LISTED, held(5), held(6)) == {}
    assert behind({}, held(4), {}) == {}
    assert behind({}, {}, held(4)) == {}, "made after the list"


def test_what_the_store_held_before_the_list_and_after_it_and_the_list_lacks_is_a_ghost() -> None:
    assert behind({}, held(4), held(4)) == {"u": Listed("shop", "p", 4)}


def test_a_newer_version_that_does_not_move_is_of_a_history_that_a_restored_backup_ended() -> None:
    assert behind(LISTED, held(9), held(9)) == LISTED


class _Pods(Rest):
    """Answers every list of pods with the same, and every other list with nothing."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = list(pods)

    def send(self, request: Request) -> dict[str, Any]:
        items = self.pods if request.resource == POD else []
        return {"metadata": {}, "items": items}


@pytest.mark.parametrize("label", ["digits", ""])
def test_whatever_a_label_says_its_object_is_read_once_from_a_stand_in_for_the_api_server(label: str) -> None:
    told: list[Key] = []
    resync = Resync(_Pods(pod(label=label)), Store(), [])
    for _ in range(2):
        asyncio.run(resync.compare(0, told.append))
    assert told == [Key("shop", label)]


def test_a_successor_of_the_same_name_takes_the_place_of_the_ghost_in_a_stand_in_for_the_api_server() -> None:
    store, told = Store(), list[Key]()
    store.put(pod(uid="before"))
    asyncio.run(Resync(_Pods(pod(2)), store, []).compare(0, told.append))
    assert set(told) == {KEY}
    assert set(store.all_of("Pod")) == {"u"}


def test_a_watch_that_stays_behind_is_dead_in_the_end_and_one_that_caught_up_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FAILED_SECONDS", -1.0)  # a moment is long
    rest, store = _Pods(pod(1)), Store()
    resync = Resync(rest, store, [])
    asyncio.run(resync.compare(0, lambda _: None))
    assert "Pod" in (resync.dead() or "")
    asyncio.run(resync.compare(0, lambda _: None))
    assert resync.dead() is None
