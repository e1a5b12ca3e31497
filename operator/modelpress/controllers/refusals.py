"""Memory of what the API server refused: the same is not asked for again at every look."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from modelpress.api.identity import digest
from modelpress.controllers.cluster import TemplateRefused
from modelpress.planning.types import Body, Key

_FIRST_SECONDS, _LONGEST_SECONDS = 60.0, 600.0  # between two attempts; a quota or a policy may have changed
_MOST = 16  # contents of one ModelDeployment


@dataclass(frozen=True)
class _Refused:
    refusal: TemplateRefused
    pause: float
    until: float


class Refusals:
    """Refusals by content; other content, or another value of the annotation retry, is asked for at once.

    Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Key, dict[str, _Refused]] = {}

    def expect(self, key: Key, body: Body, retry: str | None) -> None:
        """Raise the refusal of the same content again until its pause is over."""
        with self._lock:
            known = self._known.get(key, {}).get(_content(body, retry))
        if known is not None and self._clock() < known.until:
            raise TemplateRefused(known.refusal.reason, known.refusal.message)

    def refused(self, key: Key, body: Body, retry: str | None, refusal: TemplateRefused) -> None:
        """Remember a refusal; each of the same content doubles the pause."""
        content = _content(body, retry)
        with self._lock:
            mine = self._known.setdefault(key, {})
            before = mine.pop(content, None)
            pause = min(_LONGEST_SECONDS, 2 * before.pause) if before else _FIRST_SECONDS
            mine[content] = _Refused(refusal, pause, self._clock() + pause)
            while len(mine) > _MOST:
                del mine[next(iter(mine))]

    def accepted(self, key: Key, body: Body, retry: str | None) -> None:
        """Forget the refusal of what has been written after all."""
        with self._lock:
            mine = self._known.get(key)
            if mine is not None:
                mine.pop(_content(body, retry), None)
                if not mine:
                    del self._known[key]

    def forget(self, key: Key) -> None:
        """Forget a ModelDeployment that is gone."""
        with self._lock:
            self._known.pop(key, None)


def _content(body: Body, retry: str | None) -> str:
    return digest([body, retry])
