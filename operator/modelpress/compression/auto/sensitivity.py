"""Which operators suffer most when their numbers become smaller: each is quantized alone, and the outputs are
compared with those of the float32 format on some rows.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.schemes import Scheme
from modelpress.compression.evaluation import evaluation, metrics
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.formats.base import MixedPrecisionFormats, Mixture, Operator
from modelpress.models.types import Array

_log = logging.getLogger(__name__)
MAX_TRIALS = 16  # groups that are quantized alone
ROWS = 256  # rows that a trial is measured on
WORST = metrics.WORST  # damage of an operator that cannot be quantized, or gives no numbers


@dataclass(frozen=True)
class Group:
    """Neighbouring operators that are tried together, and their damage."""

    operators: tuple[Operator, ...]
    damage: float  # relative to the outputs: 0.01 is an error of 1 %


@dataclass(frozen=True)
class Trial:
    """What single operators are quantized to, and the rows that show the damage."""

    scheme: Scheme
    data: Dataset
    batch: int


def ranked(
    formats: MixedPrecisionFormats, operators: Sequence[Operator], trial: Trial, folder: Path
) -> tuple[Group, ...]:
    """Return the groups of `operators`, those with most damage first; equal ones in the model's order."""
    expected = _outputs(formats.float32.model, trial, folder / "float32")
    found = []
    gathered = groups(operators, MAX_TRIALS)
    for number, group in enumerate(gathered):
        trial_folder = folder / str(number)
        mixture = Mixture(None, dict.fromkeys(group, trial.scheme))
        found.append(Group(group, _damage(formats, mixture, trial, expected, trial_folder)))
        shutil.rmtree(trial_folder, ignore_errors=True)
        _log.info("operator %d/%d %s: error %.2g", number + 1, len(gathered), group[0].name, found[-1].damage)
    shutil.rmtree(folder, ignore_errors=True)
    return tuple(sorted(found, key=lambda item: -item.damage))


def groups(operators: Sequence[Operator], most: int) -> list[tuple[Operator, ...]]:
    """Return at most `most` groups of neighbours; where there are more operators, of about equal bytes."""
    if len(operators) <= most:
        return [(item,) for item in operators]
    total = sum(item.bytes for item in operators) or 1
    found: dict[int, list[Operator]] = {}
    before = 0
    for item in operators:
        middle = before + item.bytes / 2
        found.setdefault(min(most - 1, int(most * middle / total)), []).append(item)
        before += item.bytes
    return [tuple(group) for group in found.values()]


def _damage(
    formats: MixedPrecisionFormats,
    mixture: Mixture,
    trial: Trial,
    expected: Mapping[str, Array],
    folder: Path,
) -> float:
    try:
        format = formats.trial(mixture, folder)
        return metrics.relative_error(expected, _outputs(format.model, trial, folder / "outputs"))
    except DataError as failed:
        if failed.reason is not Reason.UNSUPPORTED_MODEL:
            raise
        return WORST
    except MemoryError:  # the converter's process had too little
        return WORST


def _outputs(model: evaluation.CallableModel, trial: Trial, folder: Path) -> dict[str, Array]:
    return evaluation.predict(model, trial.data, folder, batch=trial.batch, step="find sensitive operators")
