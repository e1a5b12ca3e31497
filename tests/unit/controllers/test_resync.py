"""When an indexed object counts as a ghost, and when the indexes are complete."""

import asyncio
from typing import Any

import pytest

from modelpress.controllers.resources import POD, WATCHED
from modelpress.controllers.rest import Request, Rest
from modelpress.controllers.resync import Resync, Suspicion
from modelpress.controllers.store import Entry, Store, owner_key, pack
from modelpress.planning.types import Key


def test_an_object_missing_from_two_lists_in_a_row_is_a_ghost() -> None:
    suspicion = Suspicion()
    indexed, listed = frozenset({"a", "b"}), frozenset({"a"})
    assert suspicion.ghosts("Job", indexed, listed) == frozenset()
    assert suspicion.ghosts("Job", indexed, listed) == {"b"}


def test_an_object_whose_deletion_arrived_between_the_lists_is_none() -> None:
    suspicion = Suspicion()
    suspicion.ghosts("Job", frozenset({"a", "b"}), frozenset({"a"}))
    assert suspicion.ghosts("Job", frozenset({"a"}), frozenset({"a"})) == frozenset()


def test_one_good_list_in_between_clears_the_suspicion() -> None:
    suspicion = Suspicion()
    both = frozenset({"a", "b"})
    suspicion.ghosts("Job", both, frozenset({"a"}))
    suspicion.ghosts("Job", both, both)
    assert suspicion.ghosts("Job", both, frozenset({"a"})) == frozenset()


def test_kinds_are_kept_apart() -> None:
    suspicion = Suspicion()
    suspicion.ghosts("Job", frozenset({"a"}), frozenset())
    assert suspicion.ghosts("Pod", frozenset({"a"}), frozenset()) == frozenset()


class _OnePod(Rest):
    """Answers every list of pods with one, and every other list with nothing."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self._pod = pod

    def send(self, request: Request) -> dict[str, Any]:
        return {"metadata": {}, "items": [self._pod] if request.resource == POD else []}


@pytest.mark.parametrize("label", ["digits", ""])
def test_whatever_a_label_says_its_object_is_in_the_index_and_in_a_list_of_a_stand_in_for_the_api_server(
    label: str,
) -> None:
    metadata = {"name": "p", "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    pod = {"metadata": {**metadata, "labels": {"modelpress.dev/name": label}}}
    key = owner_key(pod)
    indexes: dict[str, dict[Key, list[Entry]]] = {resource.kind: {} for resource in WATCHED}
    if key is not None:
        indexes[POD.kind][key] = [pack(pod)]
    store = Store()
    store.bind(indexes)
    asyncio.run(Resync(_OnePod(pod), store, []).catch_up())
