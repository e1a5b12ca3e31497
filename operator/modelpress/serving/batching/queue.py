"""Forms batches from whatever waits while the device is busy. One event loop.

Requests whose rows have equal shapes share a batch. A request larger than maxBatchSize is computed in
several batches and joined; a smaller one is never split. Its parts take turns with the others: each queues
again behind those that came meanwhile, and all such requests together hold at most half of the queue. A batch
that the model refuses is computed again request by request, so that only the one at fault fails.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelpress.api.spec import Serving
from modelpress.serving.batching.request import Answer, Part, Request, to_nobody
from modelpress.serving.errors import (
    BadRequest,
    DeadlineExceeded,
    ModelFault,
    Overloaded,
    TooLarge,
)
from modelpress.serving.executors.base import (
    Array,
    Arrays,
    InputError,
    RowError,
    check_rows,
    concatenate,
)
from modelpress.serving.placement.devices import Device
from modelpress.serving.placement.parallelism import Result

Shapes = tuple[tuple[int, ...], ...]

HELD_REQUESTS = 4  # rows that wait, and bodies that arrive, may hold this many times maxRequestBytes
_WAITING_BATCHES = 64
_MIN_WAITING_ROWS = 1024
_MAX_BATCHES = 256  # that the rows of one request fill

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How a batcher forms batches, and what it takes."""

    max_batch_size: int
    max_delay_seconds: float
    timeout_seconds: float
    max_waiting_rows: int
    max_waiting_bytes: int

    @classmethod
    def of(cls, serving: Serving) -> "Limits":
        """Return what the spec says, and what follows from it."""
        return cls(
            max_batch_size=serving.max_batch_size,
            max_delay_seconds=serving.max_batch_delay_milliseconds / 1000,
            timeout_seconds=serving.request_timeout_seconds,
            max_waiting_rows=max(_MIN_WAITING_ROWS, _WAITING_BATCHES * serving.max_batch_size),
            max_waiting_bytes=HELD_REQUESTS * serving.request_bytes,
        )

    @property
    def max_rows(self) -> int:
        """The rows that one request may have."""
        return self.max_batch_size * _MAX_BATCHES


class Observer(Protocol):
    """Told of each batch, for metrics."""

    def batch(self, size: int, queue_seconds: float, compute_seconds: float) -> None:
        """Note a batch of `size` rows whose oldest request waited `queue_seconds`."""


@dataclass(frozen=True, slots=True)
class _Batch:
    parts: list[Part]
    size: int
    started: float


def _age(group: deque[Request]) -> float:
    """Return since when the first of a group waits."""
    return group[0].since


def _has_room(count: int, is_long: bool, waiting: int, long: int, most: int) -> bool:
    """Whether a queue of up to `most` takes `count` more, of which `long` of `waiting` are of long requests.

    Long ones, of more than one batch, share one half of it, and leave the other to those that are not. A half
    that is empty takes a request of any size.
    """
    short, half = waiting - long, most // 2
    if is_long:
        return short <= half and (not long or long + count <= half)
    return not short or short + count <= most - min(long, half)


def _client_error(error: Exception) -> Exception:
    """Return the error that a client gets for one of the device."""
    if isinstance(error, InputError):
        logger.info("The model refused a request: %s", error)
        return BadRequest("the model cannot compute these values: is an index out of range?")
    if isinstance(error, RowError):
        logger.error("The model cannot be served for such a request: %s", error)
        return ModelFault(f"the model does not give one entry for each row, alike for all: {error}")
    return error


class Batcher:
    """The queue in front of a device. Every method must be called in the event loop."""

    def __init__(self, device: Device, limits: Limits, observer: Observer) -> None:
        self._device = device
        self._limits = limits
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._groups: dict[Shapes, deque[Request]] = {}
        self._alone: deque[Part] = deque()  # parts of refused batches, each computed alone
        # those not answered, in the order of arrival and of deadlines
        self._pending: deque[Request] = deque()
        self._busy = 0
        self._planned = False
        self._delay: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_rows = 0
        self.waiting_bytes = 0
        self._long_rows = 0  # what requests of more than one batch have of the two above
        self._long_bytes = 0
        self._queued = 0  # requests in all groups
        self._dropped = 0  # those among the queued that nobody waits for

    def submit(self, inputs: Arrays, answer: Callable[[Answer], None]) -> Request:
        """Queue a request; `answer` is called once, unless it is abandoned. Raises TooLarge, Overloaded."""
        request = Request(inputs, answer)
        request.is_long = request.rows > self._limits.max_batch_size
        self._admit(request)
        shapes = tuple([array.shape[1:] for array in inputs])
        group = self._groups.get(shapes)
        if group is None:
            group = self._groups[shapes] = deque()
        self._queued += 1
        group.append(request)
        self._enter(request, request.rows)
        self._pending.append(request)
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.timeout_seconds, self._expire)
        self._plan()
        return request

    def abandon(self, request: Request) -> None:
        """Drop a request whose client left: rows that still wait are neither computed, counted nor kept."""
        request.finished = True
        request.inputs = []
        request.results = []
        request.answer = to_nobody  # the one before may hold much
        if request.waiting:
            self._dropped += 1
            self._enter(request, -request.waiting)
            request.waiting = 0
            if 2 * self._dropped > self._queued:
                self._sweep()
        while self._pending and self._pending[0].finished:
            self._pending.popleft()

    def close(self) -> None:
        """Free the device. Whoever still waits gets no answer: drain before."""
        for timer in (self._timer, self._delay):
            if timer is not None:
                timer.cancel()
        self._device.close()

    def _admit(self, request: Request) -> None:
        limits = self._limits
        most = limits.max_rows
        if request.rows > most:
            raise TooLarge(f"the request has {request.rows} rows; at most {most} are accepted")
        if not self.waiting_rows:
            return
        size, is_long = request.rows * request.row_bytes, request.is_long
        if (
            2 * (self.waiting_rows + request.rows) <= limits.max_waiting_rows
            and 2 * (self.waiting_bytes + size) <= limits.max_waiting_bytes
        ):
            return  # a half of the queue has room for all
        if not (
            _has_room(request.rows, is_long, self.waiting_rows, self._long_rows, limits.max_waiting_rows)
            and _has_room(size, is_long, self.waiting_bytes, self._long_bytes, limits.max_waiting_bytes)
        ):
            raise Overloaded("too many requests wait; try again later")

    def _enter(self, request: Request, count: int) -> None:
        """Count rows of a request into the queue, or out of it."""
        size = count * request.row_bytes
        self.waiting_rows += count
        self.waiting_bytes += size
        if request.is_long:
            self._long_rows += count
            self._long_bytes += size

    def _plan(self) -> None:
        """Form a batch at the end of this turn of the loop: requests that arrive in one turn share it."""
        waits = self.waiting_rows or self._alone
        if not self._planned and self._busy < self._device.depth and waits:
            self._planned = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._planned = False
        if self._busy >= self._device.depth or (not self._alone and self._delayed()):
            return
        parts, size = self._take()
        if parts:
            self._start(parts, size)
        self._plan()

    def _delayed(self) -> bool:
        """Whether maxBatchDelayMilliseconds says to wait for more rows; sees to a later dispatch then."""
        delay = self._limits.max_delay_seconds
        if not delay:
            return False
        self._trim()
        if not self._groups or any(map(self._full, self._groups.values())):
            return False
        left = min(map(_age, self._groups.values())) + delay - time.perf_counter()
        if left <= 0:
            return False
        if self._delay is None:
            self._delay = self._loop.call_later(left, self._delay_over)
        return True

    def _next_group(self) -> deque[Request]:
        """Return the group with the oldest request; before its delay is over, one that is full."""
        groups = self._groups.values()
        oldest = min(groups, key=_age)
        delay = self._limits.max_delay_seconds
        if not delay or _age(oldest) + delay <= time.perf_counter():
            return oldest
        return min(filter(self._full, groups), key=_age, default=oldest)

    def _full(self, group: deque[Request]) -> bool:
        """Whether a group has the rows of a whole batch."""
        size = 0
        for request in group:
            size += request.waiting  # none, if nobody waits for it
            if size >= self._limits.max_batch_size:
                return True
        return False

    def _trim(self) -> None:
        """Forget dropped requests that are older than all others of their group."""
        for group in self._groups.values():
            while group and group[0].finished:
                self._forget(group)
        self._groups = {shapes: group for shapes, group in self._groups.items() if group}

    def _delay_over(self) -> None:
        self._delay = None
        self._plan()

    def _take(self) -> tuple[list[Part], int]:
        """Remove one batch from the group whose turn it is; rows nobody waits for are dropped.

        What was refused together goes first, each part alone.
        """
        while self._alone:
            part = self._alone.popleft()
            if not part.request.finished:
                return [part], part.rows
        parts: list[Part] = []
        size = 0
        while self._groups and not parts:
            group = self._next_group()
            size = self._fill(group, parts)
            self._groups = {shapes: group for shapes, group in self._groups.items() if group}
        return parts, size

    def _fill(self, group: deque[Request], parts: list[Part]) -> int:
        """Move what fits into one batch from a group to `parts`; returns its rows."""
        size, most = 0, self._limits.max_batch_size
        again = []  # requests with more rows
        while group and size < most:
            request, left = group[0], most - size
            if request.finished:
                self._forget(group)
                continue
            if request.waiting > left and not request.is_long:
                break
            group.popleft()
            count = min(request.waiting, left)
            parts.append(request.take(count))
            self._enter(request, -count)
            size += count
            if request.waiting:
                again.append(request)
            else:
                self._queued -= 1
        group.extend(again)
        return size

    def _forget(self, group: deque[Request]) -> None:
        """Remove the first request of a group, which was dropped."""
        group.popleft()
        self._dropped -= 1
        self._queued -= 1

    def _sweep(self) -> None:
        """Forget all dropped requests; done when they are more than the others, so that it costs little."""
        self._queued -= self._dropped
        self._dropped = 0
        self._pending = deque(request for request in self._pending if not request.finished)
        groups = {}
        for shapes, group in self._groups.items():
            living = deque(request for request in group if not request.finished)
            if living:
                groups[shapes] = living
        self._groups = groups

    def _start(self, parts: list[Part], size: int) -> None:
        self._busy += 1
        batch = _Batch(parts, size, time.perf_counter())
        try:
            inputs = concatenate([part.inputs() for part in parts])
        except Exception as error:  # no memory
            self._finish(batch, error)
            return
        alone = len(self._pending) == 1
        self._device.start(inputs, lambda result: self._finish(batch, result), alone)

    def _finish(self, batch: _Batch, result: Result) -> None:
        self._busy -= 1
        if not isinstance(result, Exception):
            try:
                check_rows(result, batch.size)
            except RowError as error:
                result = error
        if isinstance(result, Exception):
            self._failed(batch, result)
        else:
            now = time.perf_counter()
            oldest = min([part.since for part in batch.parts])
            self._observer.batch(batch.size, batch.started - oldest, now - batch.started)
            start = 0
            for part in batch.parts:
                stop = start + part.rows
                self._deliver(part, [array[start:stop] for array in result])
                start = stop
        self._plan()

    def _failed(self, batch: _Batch, error: Exception) -> None:
        """Let each part be computed alone, or answer the only one with the error."""
        if len(batch.parts) > 1:
            self._alone.extend(batch.parts)
            self._plan()
            return
        self._answer(batch.parts[0].request, _client_error(error))

    def _deliver(self, part: Part, outputs: list[Array]) -> None:
        request = part.request
        if request.finished:
            return
        if part.rows == request.rows:
            self._answer(request, outputs)
            return
        results = request.deliver(part, outputs)
        if results is None:
            return
        answer: Answer
        try:
            answer = concatenate(results)
        except Exception as error:
            answer = _client_error(error)
        self._answer(request, answer)

    def _answer(self, request: Request, answer: Answer) -> None:
        if not request.finished:
            give = request.answer
            self.abandon(request)
            try:
                give(answer)
            except Exception:  # the others of the batch wait for theirs
                logger.exception("An answer could not be given.")

    def _expire(self) -> None:
        """Answer every request whose deadline has passed."""
        self._timer = None
        timeout = self._limits.timeout_seconds
        now = time.perf_counter()
        while self._pending:
            request = self._pending[0]
            left = request.arrived + timeout - now
            if not request.finished and left > 0:
                self._timer = self._loop.call_later(left, self._expire)
                return
            self._pending.popleft()
            if not request.finished:
                self._answer(request, DeadlineExceeded(f"no answer within {timeout:g} seconds"))
