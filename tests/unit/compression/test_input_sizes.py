"""Which sizes of inputs are tried, by what the calls before them took."""

from collections.abc import Callable

import pytest

from modelpress.compression.evaluation.input_sizes import Answer, Refused, Took, TooMuch, grow

MIB = 2**20


def model(
    smallest: int = 1, positions: int | None = None, cost: Callable[[int], int] = lambda _: 0
) -> tuple[list[int], Callable[[int], Answer]]:
    """Return the sizes that were tried, and what a model answers that computes those it has positions for."""
    tried: list[int] = []

    def call(size: int) -> Answer:
        tried.append(size)
        if size < smallest or (positions is not None and size > positions):
            return Refused()
        return Took(cost(size)) if cost(size) <= 1024 * MIB else TooMuch()

    return tried, call


def test_sizes_double_until_one_takes_more_than_a_batch_may() -> None:
    tried, call = model(cost=lambda size: size * MIB)
    assert grow(16, call) == {2**power: 2**power * MIB for power in range(11)}
    assert tried == [2**power for power in range(11)]


def test_what_takes_too_much_is_the_end_and_not_in_the_result() -> None:
    _, call = model(cost=lambda size: size**3 * MIB)
    assert grow(16, call) == {1: MIB, 2: 8 * MIB, 4: 64 * MIB, 8: 512 * MIB}


@pytest.mark.parametrize("positions", [1, 2, 16, 100, 255, 256, 500])
def test_the_last_size_that_a_model_has_positions_for_is_found_exactly(positions: int) -> None:
    _, call = model(positions=positions)
    assert max(grow(min(positions, 16), call)) == positions


def test_a_refusal_where_memory_may_have_run_out_is_the_end() -> None:
    tried, call = model(positions=300, cost=lambda size: size * MIB)
    assert max(grow(16, call)) == 256
    assert tried[-1] == 512


def test_a_model_may_refuse_sizes_that_are_too_small_for_it() -> None:
    _, call = model(smallest=5, positions=40)
    found = grow(6, call)
    assert min(found) == 6
    assert max(found) == 40


def test_a_model_that_computes_nothing_is_asked_for_no_more_than_what_works() -> None:
    tried, call = model(smallest=1000)
    assert grow(6, call) == {}
    assert max(tried) == 6


def test_no_call_is_made_when_the_time_is_over() -> None:
    tried, call = model()
    assert grow(16, call, seconds=0) == {}
    assert tried == []
