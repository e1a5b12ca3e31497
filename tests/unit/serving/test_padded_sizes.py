"""Which batch sizes are compiled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.executors.tensorflow.sizes import padded, padded_sizes


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (32, [1, 2, 4, 8, 16, 32]), (48, [1, 2, 4, 8, 16, 32, 48])],
)
def test_powers_of_two_and_the_largest(most: int, sizes: list[int]) -> None:
    assert padded_sizes(most) == sizes


@given(st.integers(1, 4096), st.data())
def test_every_batch_has_a_size_and_less_than_half_of_it_is_padding(most: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, most))
    sizes = padded_sizes(most)
    size = padded(rows, sizes)
    assert size in sizes
    assert rows <= size < 2 * rows or size == rows == 1


def test_a_larger_batch_is_never_compiled() -> None:
    with pytest.raises(ValueError, match="33 rows is larger than the largest compiled one, 32"):
        padded(33, padded_sizes(32))
