"""A client's rows on their way through the queue, and the parts that go into one batch each. Pure data."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from modelpress.serving.executors.base import Array, Arrays, rows

Answer = list[Array] | Exception  # a RequestError, or a fault


class Request:
    """One client's rows, until `answer` was called or the client left."""

    # `waiting` counts the rows that no batch has taken, `missing` those whose outputs are not there
    __slots__ = (
        "answer",
        "arrived",
        "finished",
        "inputs",
        "is_long",
        "missing",
        "requeued",
        "results",
        "row_bytes",
        "rows",
        "waiting",
    )

    def __init__(self, inputs: Arrays, answer: Callable[[Answer], None]) -> None:
        self.inputs: Arrays = inputs
        self.rows = self.waiting = self.missing = rows(inputs)
        size = 0
        for array in inputs:
            size += array.nbytes
        self.row_bytes = size // self.rows
        self.is_long = False  # has more rows than one batch
        self.answer = answer
        self.arrived = time.perf_counter()
        self.requeued = 0.0  # when its last rows were taken and the others queued again
        self.finished = False
        self.results: list[tuple[int, list[Array]]] = []  # with the first row of each

    @property
    def since(self) -> float:
        """Return since when it waits for its turn, as time.perf_counter() gives it."""
        return self.requeued or self.arrived

    def take(self, count: int) -> "Part":
        """Return the next rows as a part; the others, if any are left, queue again."""
        start = self.rows - self.waiting
        part = Part(self, start, count, self.since)
        self.waiting -= count
        if self.waiting:
            self.requeued = time.perf_counter()
        return part

    def deliver(self, part: "Part", outputs: list[Array]) -> list[list[Array]] | None:
        """Keep the outputs of a part; return those of all parts in order once they are there."""
        self.results.append((part.start, outputs))
        self.missing -= part.rows
        if self.missing:
            return None
        return [found for _, found in sorted(self.results, key=itemgetter(0))]


@dataclass(slots=True)  # frozen would take three times as long to make
class Part:
    """Rows of a request from `start` on: what goes into one batch as a whole."""

    request: Request
    start: int
    rows: int
    since: float  # when it began to wait for its turn

    def inputs(self) -> Arrays:
        """Return its rows, as views."""
        if self.rows == self.request.rows:
            return self.request.inputs
        return [array[self.start : self.start + self.rows] for array in self.request.inputs]


def to_nobody(_: Answer) -> None:
    """Take the answer to a client that left."""
