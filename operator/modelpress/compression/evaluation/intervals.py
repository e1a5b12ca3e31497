"""95 % confidence intervals of scores, in percent. Pure numpy.

All are computed from one score for each row of the data, so that two models are compared on the same rows.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]  # one score for each row, in percent
Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
WILSON = "Wilson score"
NORMAL = "normal"
BONETT_PRICE = "Bonett-Price"
PAIRED_NORMAL = "paired normal"


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in percent or percentage points, and how it was made."""

    low: float
    high: float
    method: str

    @property
    def bounds(self) -> tuple[float, float]:
        """Return (low, high)."""
        return self.low, self.high


def of_mean(rows: Rows) -> Interval | None:
    """Return the normal approximation of the mean of `rows`, at most 100; None for a single row."""
    if len(rows) < 2:
        return None
    mean, half = float(rows.mean()), _half_width(rows)
    return Interval(mean - half, min(100.0, mean + half), NORMAL)


def of_decisions(rows: Rows) -> Interval | None:
    """Return the interval of the share of right decisions.

    Rows that are right or wrong (0 or 100): Wilson's score interval; rows of several positions: as `of_mean`.
    """
    if is_binary(rows):
        return wilson(int((rows == 100).sum()), len(rows))
    return of_mean(rows)


def of_mean_drop(original: Rows, compressed: Rows) -> Interval | None:
    """Return the normal approximation of the mean difference, paired by row; None for a single row."""
    if len(original) < 2:
        return None
    difference = original - compressed
    mean, half = float(difference.mean()), _half_width(difference)
    return Interval(mean - half, mean + half, PAIRED_NORMAL)


def of_decisions_drop(original: Rows, compressed: Rows) -> Interval | None:
    """Return the interval of the lost share of right decisions, paired by row; None for a single row.

    Rows that are right or wrong, and where no row changed: Bonett-Price, which has a width also then.
    """
    binary = is_binary(original) and is_binary(compressed)
    if len(original) < 2 or not (binary or np.array_equal(original, compressed)):
        return of_mean_drop(original, compressed)
    lost, won = int((original > compressed).sum()), int((original < compressed).sum())
    return bonett_price(lost, won, len(original))


def wilson(successes: int, rows: int) -> Interval:
    """Return Wilson's score interval of a proportion (J. Am. Stat. Assoc. 22, 1927), in percent."""
    share, square = successes / rows, Z * Z
    scale = 1 + square / rows
    center = (share + square / (2 * rows)) / scale
    half = Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows)) / scale
    low = 0.0 if successes == 0 else 100 * (center - half)  # exact at the ends, without a rounding error
    high = 100.0 if successes == rows else 100 * (center + half)
    return Interval(low, high, WILSON)


def bonett_price(lost: int, won: int, rows: int) -> Interval:
    """Return the adjusted Wald interval of a difference of paired proportions, in percentage points.

    Bonett and Price, J. Educ. Behav. Stat. 37 (2012): one is added to the rows that were lost and to those
    that were won.
    """
    first, second, total = (lost + 1) / (rows + 2), (won + 1) / (rows + 2), rows + 2
    difference = first - second
    half = Z * math.sqrt((first + second - difference * difference) / total)
    return Interval(100 * max(-1.0, difference - half), 100 * min(1.0, difference + half), BONETT_PRICE)


def is_binary(rows: Rows) -> bool:
    """Whether each row is right (100) or wrong (0)."""
    return bool(((rows == 0) | (rows == 100)).all())


def _half_width(values: Rows) -> float:
    return Z * float(values.std(ddof=1)) / math.sqrt(len(values))
