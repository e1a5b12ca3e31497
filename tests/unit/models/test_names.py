"""Names are unique, and as near to the given ones as can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.models.names import unique


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([], []),
        (["b", "a", "a_1"], ["b", "a", "a_1"]),
        (["a", "a", "a"], ["a", "a_1", "a_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),
        (["a_1", "a", "a"], ["a_1", "a", "a_2"]),
        (["a", "a", "a_1", "a_1"], ["a", "a_2", "a_1", "a_1_1"]),
        (["a", "a", "a", "a_2"], ["a", "a_1", "a_3", "a_2"]),
    ],
)
def test_a_repeated_name_gets_the_first_suffix_that_is_free(given_: list[str], expected: list[str]) -> None:
    assert unique(given_) == expected


@given(st.lists(st.sampled_from(["a", "a_1", "a_2", "a_1_1", "b", ""])))
def test_names_are_unique_and_the_first_of_each_stays(names: list[str]) -> None:
    found = unique(names)
    assert len(set(found)) == len(found) == len(names)
    firsts = {name: names.index(name) for name in names}
    assert all(found[place] == name for name, place in firsts.items())


def test_many_equal_names_are_numbered() -> None:
    """In linear time: else this would take half an hour."""
    assert unique(["a"] * 100_000)[-1] == "a_99999"
