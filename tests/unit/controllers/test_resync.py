"""When an indexed object counts as a ghost."""

from modelpress.controllers.resync import Suspicion


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
