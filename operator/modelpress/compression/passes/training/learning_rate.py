"""The learning rate: a formula where the spec sets none, and its course over the steps."""

from dataclasses import dataclass

WARM = 0.7  # share of the steps at the full rate; over the same steps l0Penalty is raised


@dataclass(frozen=True)
class LearningRate:
    """A rate and what it follows from: the numbers that the formula takes."""

    value: float
    batch: int  # rows of a training batch
    layers: int  # kernels and embeddings: one for each layer, for recurrent and attention layers one for each
    parameters: int  # elements that are trained
    given: bool  # True: the spec sets it; False: the formula


def choose(given: float | None, *, batch: int, layers: int, parameters: int) -> LearningRate:
    """Return the given rate, or that of the formula."""
    value = formula(batch, layers, parameters) if given is None else given
    return LearningRate(value, batch, layers, parameters, given is not None)


def formula(batch: int, layers: int, parameters: int) -> float:
    """Return alpha = 0.01 * batch^-0.5 * layers^-0.25 * parameters^-0.1; all numbers are at least 1."""
    return float(0.01 * batch**-0.5 * layers**-0.25 * parameters**-0.1)


def decay(step: int, steps: int) -> float:
    """Return the factor of the rate in step 0..steps-1: 1 for the first 70 %, then falling towards 0."""
    done = step / steps
    return 1.0 if done <= WARM else (1.0 - done) / (1.0 - WARM)


def ramp(step: int, steps: int) -> float:
    """Return the factor of the penalty in step 0..steps-1: rising to 1 over the first 70 % of the steps.

    A penalty that starts at its full height removes weights before the others can take over their part.
    """
    return min(1.0, (step + 1) / (WARM * steps))
