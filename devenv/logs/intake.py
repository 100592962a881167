"""Lines on their way into the store: cleaning them is the dear part, so it is done in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from devenv.logs.store import LogStore
from devenv.model.events import LogLine

_LINES, _TEXT = 100, 16 * 1024
"""Lines and characters of a piece: some milliseconds at worst."""
_MOST = 50_000
_MOST_TEXT = 8 * 1024 * 1024
"""What may wait. Beyond, whoever brings more has to wait itself, so that memory does not grow."""


class Intake:
    """False when nothing waits."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._waiting: deque[LogLine] = deque()
        self._text = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            self._waiting.append(line)
            self._text += len(line.text)
            while len(self._waiting) > _MOST or self._text > _MOST_TEXT:
                self.take()

    def take(self) -> None:
        """Bring a piece into the store."""
        some: list[LogLine] = []
        text = 0
        while self._waiting and len(some) < _LINES and text < _TEXT:
            line = self._waiting.popleft()
            some.append(line)
            text += len(line.text)
        self._text -= text
        self._store.append(some)
