"""Which metric fits an output and its labels: chosen where none is named, refused where it would mislead.

A metric that cannot see a loss would pass a broken model. Each refusal names the metric that fits. All is
decided from the outputs of the original, so that every model is scored alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.evaluation import DECIDING, Evaluation, Metric
from modelpress.api.values import parse_decimal
from modelpress.compression.evaluation import blindness, decisions, metrics
from modelpress.compression.evaluation.dataset import invalid
from modelpress.compression.evaluation.decisions import Decider, LabelKind, Reading
from modelpress.models.types import Array, TensorSpec

_MOST_OUTPUTS = 16  # that have room in a termination message
_LONGEST_NAME = 64
TOP = 5  # columns of TopKAccuracy
NEEDS_LABELS = frozenset(Metric) - {Metric.AGREEMENT, Metric.COSINE_SIMILARITY, Metric.FIDELITY}


@dataclass(frozen=True)
class Rule:
    """How one output is scored, of the original and of every other model."""

    metric: Metric
    decider: Decider
    by_column: bool = False  # each column is a label of its own
    axis: int = -1  # the columns of Fidelity
    note: str | None = None  # what a reader must know of it


def of_outputs(
    wanted: Evaluation, labels: Mapping[str, Array], original: Mapping[str, Array]
) -> dict[str, Rule]:
    """Return the rule of each output of the original. Raises InvalidData where a metric does not fit."""
    found = {}
    for name, outputs in original.items():
        asked = wanted.of_output(name)
        threshold = None if asked.threshold is None else parse_decimal(asked.threshold)
        try:
            found[name] = rule(asked.metric, threshold, labels.get(name), outputs)
        except ValueError as error:
            metric = f"{asked.metric.value}: " if asked.metric else ""
            raise invalid(f"data.evaluation, output {name}: {metric}{error}") from error
    return found


def check_outputs(wanted: Evaluation, outputs: Sequence[TensorSpec]) -> None:
    """Refuse evaluation.outputs that the model has not, or that no status has room for (InvalidSpec)."""
    if not wanted.outputs:
        return
    names = [spec.name for spec in outputs]
    listed = ", ".join(names)
    for item in wanted.outputs:
        if item.name not in names:
            raise UsageError(
                Reason.INVALID_SPEC,
                f"evaluation.outputs: the model has no output {item.name}; it has {listed}",
            )
    if len(names) > _MOST_OUTPUTS or max(map(len, names)) > _LONGEST_NAME:
        raise UsageError(
            Reason.INVALID_SPEC,
            f"evaluation.outputs: works for models of at most {_MOST_OUTPUTS} outputs with names of at most"
            f" {_LONGEST_NAME} characters; it has {listed}",
        )


def needs_labels(wanted: Evaluation) -> bool | None:
    """Return whether all outputs need labels; None where that depends on what is there."""
    if wanted.metric is None or wanted.outputs:
        return None
    return wanted.metric in NEEDS_LABELS


def rule(metric: Metric | None, threshold: float | None, labels: Array | None, original: Array) -> Rule:
    """Return the rule of an output (rows, ...); without `metric` that which fits.

    Raises ValueError, with the metric that fits, where this one does not.
    """
    fits = chosen(labels, original)
    metric = metric or fits
    if labels is None and metric in NEEDS_LABELS:
        raise ValueError("there are no labels")
    case = _Case(metric, labels, original)
    try:
        note = _CHECKS[metric](case)
    except ValueError as error:
        raise ValueError(f"{error}{_advice(metric, fits, case)}") from error
    if metric not in DECIDING:
        if threshold is not None:
            raise ValueError(f"evaluation.threshold: {metric.value} decides nothing")
        return Rule(metric, case.decider, case.by_column, case.axis, note)
    decider = decisions.decider(original, labels, threshold, by_column=case.by_column)
    if threshold is None and decider.reading is Reading.THRESHOLD and decider.threshold == 0:
        note = _joined("it is decided at 0, because the outputs are no probabilities", note)
    return Rule(metric, decider, case.by_column, note=note)


def chosen(labels: Array | None, original: Array) -> Metric:
    """Return the metric that fits: by the labels, and without any by the outputs."""
    if labels is None:
        shared = decisions.several(original.shape) and decisions.probabilities(original)
        return Metric.AGREEMENT if shared or decisions.is_integers(original) else Metric.FIDELITY
    kind = decisions.label_kind(labels, original)
    return {
        LabelKind.CLASSES: Metric.ACCURACY,
        LabelKind.MULTI_HOT: Metric.MULTI_LABEL_ACCURACY,
        LabelKind.NUMBERS: Metric.R2 if original.dtype.kind == "f" else Metric.AGREEMENT,
    }[kind]


class _Case:
    """What the metric is asked of: the labels and the outputs of the original."""

    def __init__(self, metric: Metric, labels: Array | None, original: Array) -> None:
        self.labels, self.original = labels, original
        self.kind = None if labels is None else decisions.label_kind(labels, original)
        multi = metric in (Metric.F1, Metric.AUC) and self.kind is LabelKind.MULTI_HOT
        self.by_column = metric is Metric.MULTI_LABEL_ACCURACY or multi
        self.decider = decisions.decider(original, labels, by_column=self.by_column)
        self.axis = blindness.unlike_axis(original) if metric is Metric.FIDELITY else -1


def _joined(first: str, second: str | None) -> str:
    return f"{first}; {second}" if second else first


def _advice(metric: Metric, fits: Metric, case: _Case) -> str:
    """Return which metric fits instead; that which compares numbers with the original fits all of them."""
    if fits is not metric:
        return f"; {fits.value} fits"
    floats = case.original.dtype.kind == "f" and len(case.original) > 1
    return f"; {Metric.FIDELITY.value} fits" if floats and metric is not Metric.FIDELITY else ""


def expected(rule: Rule, labels: Array, shape: tuple[int, ...]) -> Array:
    """Return labels as decisions of the rule, for outputs of `shape`. Raises ValueError."""
    flat = shape[:-1] if shape[-1] == 1 and len(shape) > 1 else shape
    if rule.by_column:
        return decisions.label_flags(labels, flat)
    if rule.decider.reading is Reading.INTEGERS:
        return decisions.label_integers(labels, flat)
    return decisions.label_decisions(labels, shape)


def _accuracy(case: _Case) -> str | None:
    return _same(_classes(case))


def _classes(case: _Case) -> Array:
    """Return the different classes of the labels. Raises ValueError where they are no classes."""
    assert case.labels is not None
    if case.kind is LabelKind.CLASSES:
        found = expected(Rule(Metric.ACCURACY, case.decider), case.labels, case.original.shape)
        return np.unique(found[found != decisions.IGNORED])
    if case.kind is LabelKind.MULTI_HOT:
        raise ValueError(
            "the labels are neither classes nor one-hot: several columns of a row are 1, or none"
        )
    if decisions.several(case.original.shape) and case.labels.shape == case.original.shape:
        raise ValueError("the labels are numbers, neither classes nor one-hot")
    expected(Rule(Metric.ACCURACY, case.decider), case.labels, case.original.shape)
    raise ValueError("the labels are numbers, no classes")


def _same(classes: Array) -> str | None:
    if len(classes) > 1:
        return None
    return f"all labels are {classes[0]}: a model that always decides so scores 100 %"


def _of_classes(case: _Case) -> str | None:
    """Check metrics that compare classes with each other."""
    found = _classes(case)
    if len(found) < 2:
        raise ValueError(f"all labels are {found[0]}; it needs two classes")
    return None


def _of_classes_or_columns(case: _Case) -> str | None:
    return None if case.by_column else _of_classes(case)


def _area(case: _Case) -> str | None:
    _check_floats(case)
    return _of_classes_or_columns(case)


def _top(case: _Case) -> str | None:
    _check_floats(case)
    _accuracy(case)
    columns = case.original.shape[-1] if decisions.several(case.original.shape) else 1
    if columns <= TOP:
        raise ValueError(f"the output has {columns} columns: every label is among the first {TOP}")
    return None


def _multi_label(case: _Case) -> str | None:
    assert case.labels is not None
    shared = decisions.several(case.original.shape) and decisions.probabilities(case.original)
    if case.kind is LabelKind.CLASSES and shared:
        raise ValueError("the columns share one decision; no single one of them says yes or no")
    rule = Rule(Metric.MULTI_LABEL_ACCURACY, case.decider, by_column=True)
    found = expected(rule, case.labels, case.original.shape)
    return _same(np.unique(found[found != decisions.IGNORED]))


def _agreement(case: _Case) -> str | None:
    if case.kind is LabelKind.MULTI_HOT:
        raise ValueError("the labels are several for a row; Agreement compares one decision of each")
    if case.kind is LabelKind.NUMBERS and case.decider.reading is not Reading.INTEGERS:
        raise ValueError("the labels are numbers, so that the outputs decide nothing")
    hidden = blindness.hidden_columns(case.original) if case.labels is None else None
    if hidden and case.decider.reading is Reading.GREATEST:
        raise ValueError(hidden)
    found = case.decider.decisions(case.original)
    if found.size and (found == found.flat[0]).all():
        raise ValueError(
            f"the original decides {found.flat[0]} for every row: a model that always does would agree"
        )
    return None


def _cosine(case: _Case) -> str | None:
    _check_floats(case)
    if reason := blindness.of_cosine(case.original):
        raise ValueError(reason)
    return None


def _fidelity(case: _Case) -> str | None:
    _check_floats(case)
    return _constant(columns(case.original, case.axis), "the original's outputs")


def _r2(case: _Case) -> str | None:
    _check_floats(case)
    assert case.labels is not None
    if case.labels.size != case.original.size:
        raise ValueError(f"labels have shape {case.labels.shape}, the outputs {case.original.shape}")
    if len(case.labels) < 2:
        raise ValueError("a single row has no variance to explain: give more rows")
    return _constant(case.labels.reshape(len(case.labels), 1, -1), "the labels")


def columns(outputs: Array, axis: int) -> Array:
    """Return outputs as (rows, positions, columns) for Fidelity, with the columns of an axis."""
    if outputs.ndim == 1:
        return outputs.reshape(-1, 1, 1)
    moved = np.moveaxis(outputs, axis, -1)
    return moved.reshape(len(outputs), -1, moved.shape[-1])


def _constant(values: Array, what: str) -> str | None:
    varies = metrics.varying(values)
    if not varies.any():
        raise ValueError(f"{what} are constant: there is no variance to explain")
    if varies.all():
        return None
    return f"columns in which {what} are constant are left out: {blindness.listed(np.flatnonzero(~varies))}"


def _check_floats(case: _Case) -> None:
    if case.original.dtype.kind != "f":
        raise ValueError(f"the outputs are integers ({case.original.dtype}), which are compared for equality")


_CHECKS: Mapping[Metric, Callable[[_Case], str | None]] = {
    Metric.ACCURACY: _accuracy,
    Metric.AGREEMENT: _agreement,
    Metric.COSINE_SIMILARITY: _cosine,
    Metric.R2: _r2,
    Metric.FIDELITY: _fidelity,
    Metric.BALANCED_ACCURACY: _of_classes,
    Metric.F1: _of_classes_or_columns,
    Metric.MULTI_LABEL_ACCURACY: _multi_label,
    Metric.AUC: _area,
    Metric.TOP_K_ACCURACY: _top,
}
