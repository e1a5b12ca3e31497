"""When the float32 format computes the same as the model, and when it is refused."""

import numpy as np
import pytest

from modelpress.api.errors import DataError
from modelpress.compression.formats.base import check_equal

WANTED = np.linspace(-2, 2, 1000, dtype=np.float32)
TOLERANCE = 1e-4  # of outputs up to 2: 2e-4


def changed(places: slice, by: float) -> dict[str, np.ndarray]:
    values = WANTED.copy()
    values[places] += by
    return {"y": values}


@pytest.mark.parametrize(("places", "by"), [(slice(None), 1e-4), (slice(0, 5), 1.5e-3)])
def test_what_float32_does_is_accepted(places: slice, by: float) -> None:
    check_equal({"y": WANTED}, changed(places, by), TOLERANCE)


@pytest.mark.parametrize(
    ("places", "by"),
    [(slice(None), 4e-4), (slice(0, 1), 7e-3), (slice(0, 100), 1.5e-3), (slice(0, 1), np.nan)],
)
def test_other_outputs_are_refused_with_the_difference(places: slice, by: float) -> None:
    with pytest.raises(DataError, match="output y differs by"):
        check_equal({"y": WANTED}, changed(places, by), TOLERANCE)


def test_numbers_that_are_none_must_be_none_in_both() -> None:
    values = WANTED.copy()
    values[:3] = np.nan, np.inf, -np.inf
    check_equal({"y": values}, {"y": values.copy()}, TOLERANCE)
