"""A caller's rows on their way through the queue, and the parts that go into one batch each. Pure data."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from modelpress.serving.executors.base import Array, Arrays, rows

Answer = list[Array] | Exception  # a RequestError, or a fault


class Request:
    """One caller's rows, until `answer` was called or the caller left."""

    # `waiting` counts the rows that no batch has taken
    __slots__ = (
        "answer",
        "arrived",
        "finished",
        "inputs",
        "missing",
        "results",
        "row_bytes",
        "rows",
        "waiting",
    )

    def __init__(self, inputs: Arrays, answer: Callable[[Answer], None]) -> None:
        self.inputs: Arrays = inputs
        self.rows = self.waiting = rows(inputs)
        size = 0
        for array in inputs:
            size += array.nbytes
        self.row_bytes = size // self.rows
        self.answer = answer
        self.arrived = time.perf_counter()
        self.finished = False
        self.missing = 0
        self.results: list[list[Array]] = []


@dataclass(slots=True)  # frozen would take three times as long to make
class Part:
    """Rows start..stop-1 of a request: what goes into one batch as a whole."""

    request: Request
    place: int
    start: int
    stop: int

    def inputs(self) -> Arrays:
        """Return its rows, as views."""
        if self.stop - self.start == self.request.rows:
            return self.request.inputs
        return [array[self.start : self.stop] for array in self.request.inputs]


def to_nobody(_: Answer) -> None:
    """Take the place of a caller who left."""


def parts_of(request: Request, step: int) -> list[Part]:
    """Cut a request into parts of up to `step` rows."""
    if request.rows <= step:
        return [Part(request, 0, 0, request.rows)]
    starts = range(0, request.rows, step)
    request.missing = len(starts)
    request.results = [[] for _ in starts]
    return [
        Part(request, place, start, min(start + step, request.rows)) for place, start in enumerate(starts)
    ]
