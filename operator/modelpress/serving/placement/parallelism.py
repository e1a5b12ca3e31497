"""Data and pipeline parallelism inside a pod: DataParallel([Pipeline([Stage...])...]).

A stage is an executor with a thread of its own. A batch is split over the copies and, in each, into
micro-batches that flow through the stages, unless these are filled already; outputs are joined in order.
Results come through callbacks, on the thread that finished last; nothing here knows of event loops.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from modelpress.serving.executors.base import Array, Arrays, Executor, concatenate, rows

Result = list[Array] | Exception
Done = Callable[[Result], None]

# XNNPACK computes rows in tiles of 7 or 8: smaller micro-batches would cost as much each.
MICRO_BATCH_ROWS = 8
_QUEUE_LENGTH = 2  # batches or micro-batches that wait before a later stage; more would only add memory


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    values: Arrays
    done: Done


class Stage:
    """An executor and the thread that owns it; works in the order of arrival."""

    def __init__(self, executor: Executor, name: str) -> None:
        self._executor = executor
        self._next: Stage | None = None
        self._waiting: queue.Queue[_Work | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self, following: "Stage | None") -> None:
        """Start the thread; results go to `following`, or to the work's callback."""
        if following is not None:
            following._waiting = queue.Queue(_QUEUE_LENGTH)
        self._next = following
        self._thread.start()

    def put(self, work: _Work | None) -> None:
        """Add work; blocks while a later stage's queue is full. None ends this stage and those behind it."""
        self._waiting.put(work)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            try:
                self._step(work)
            except Exception:  # the thread must outlive whatever one batch does
                logger.exception("A batch was lost.")
            del work  # its arrays would be kept while the thread waits
        if self._next is not None:
            self._next.put(None)
        self._executor.close()

    def _step(self, work: _Work) -> None:
        try:
            outputs = self._executor.run(work.values)
        except Exception as error:
            work.done(error)
            return
        if self._next is None:
            work.done(outputs)
        else:
            self._next.put(_Work(outputs, work.done))


class Gather:
    """Joins the results of the parts of a batch; any thread may deliver one. The first error wins."""

    def __init__(self, parts: int, done: Done) -> None:
        self._lock = threading.Lock()
        self._results: list[Result | None] = [None] * parts
        self._missing = parts
        self._done = done

    def part(self, index: int) -> Done:
        """Return the callback of one part."""

        def deliver(result: Result) -> None:
            with self._lock:
                self._results[index] = result
                self._missing -= 1
                if self._missing:
                    return
            try:
                result = self._join()
            except Exception as error:
                result = error
            self._done(result)

        return deliver

    def _join(self) -> Result:
        parts: list[list[Array]] = []
        for result in self._results:
            if isinstance(result, Exception):
                return result
            assert result is not None
            parts.append(result)
        return concatenate(parts)


class Pipeline:
    """Stages in a row: micro-batches flow, each stage works on another one at the same time.

    A batch that comes while another is under way flows as a whole: the stages are filled then, and many rows
    at a time cost less each.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)
        self._lock = threading.Lock()
        self.under_way = 0  # batches
        for stage, following in zip(self._stages, [*self._stages[1:], None], strict=True):
            stage.start(following)

    def submit(self, inputs: Arrays, done: Done) -> None:
        """Compute `inputs`; never blocks. `done` is called once, on the last stage's thread."""
        parts = split(rows(inputs), 1 if self.under_way else micro_batches(rows(inputs), len(self._stages)))

        def leave(result: Result) -> None:
            self._count(-1)
            done(result)

        self._count(1)
        gather = Gather(len(parts), leave)
        for index, (start, stop) in enumerate(parts):
            self._stages[0].put(_Work([array[start:stop] for array in inputs], gather.part(index)))

    def _count(self, batches: int) -> None:
        with self._lock:
            self.under_way += batches

    def close(self) -> None:
        """Finish what was submitted, then end the threads."""
        self._stages[0].put(None)
        for stage in self._stages:
            stage.join()


class DataParallel:
    """Copies of a model beside each other; each computes its share of a batch."""

    def __init__(self, copies: Sequence[Pipeline]) -> None:
        self._copies = list(copies)

    def submit(self, inputs: Arrays, done: Done) -> None:
        """Compute `inputs`; never blocks. `done` is called once, on the thread that finished last."""
        parts = split(rows(inputs), len(self._copies))
        gather = Gather(len(parts), done)
        copies = self._copies
        if len(parts) < len(copies):
            copies = sorted(copies, key=lambda copy: copy.under_way)
        for index, ((start, stop), copy) in enumerate(zip(parts, copies, strict=False)):
            copy.submit([array[start:stop] for array in inputs], gather.part(index))

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute `inputs` and wait for the outputs. Raises what a stage raised."""
        results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.submit(inputs, results.put)
        result = results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Finish what was submitted, then end all threads."""
        for copy in self._copies:
            copy.close()


def split(count: int, parts: int) -> list[tuple[int, int]]:
    """Return (start, stop) of `parts` nearly equal, non-empty shares of `count` rows, larger ones first.

    Fewer where there are fewer rows than parts: split(5, 2) is [(0, 3), (3, 5)], split(1, 2) is [(0, 1)].
    """
    parts = min(parts, count)
    share, rest = divmod(count, parts)
    bounds = [part * share + min(part, rest) for part in range(parts + 1)]
    return list(pairwise(bounds))


def micro_batches(count: int, stages: int) -> int:
    """Return into how many micro-batches `count` rows go: enough to fill the stages, none too small."""
    if stages == 1:
        return 1
    return max(1, min(count // MICRO_BATCH_ROWS, 2 * stages))
