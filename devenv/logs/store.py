"""The lines of all sources, in one sequence, within a budget of memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from sys import getsizeof
from typing import NamedTuple

from devenv.logs.ansi import Clean, Span, clean, visible
from devenv.model.events import LogLine

LIMIT = 16 * 1024 * 1024
MARK = "\x00mark"
"""The source of a mark: a line of ours between the others, that counts as none. No container is called so."""

_LINE = 112
"""Bytes of a line beside its text and spans: its place in our columns, and in those of whoever shows it."""
_SPANS, _SPAN = 64, 104
"""Bytes of having spans at all, and of each."""
_ROOM = 16
"""When the budget is exceeded, this part of it is freed at once: freeing costs a walk over the lines."""

_Packed = tuple[int | str, ...]


class Entry(NamedTuple):
    seq: int
    source: str
    time: float
    line: Clean

    @property
    def text(self) -> str:
        return self.line.text


@dataclass(slots=True)
class _Source:
    name: str
    number: int
    lines: int = 0
    dropped: int = 0
    bytes: int = 0
    first: int = 0
    """No line of this source before this one is kept."""


class LogStore:
    """When it is full, the oldest lines of the source with the most bytes go: a noisy service never takes the
    lines of a quiet one. A line keeps its number for ever.

    Lines are kept as columns of plain values. As objects, of which there would be some 100,000, the garbage
    collector would look at each of them again and again, and hold up the screen for 40 ms each time.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.bytes = 0
        self.generation = 0
        """Grows whenever lines went."""
        self.end = 0
        """The number that the next line gets."""
        self._seqs = array("Q")
        self._times = array("d")
        self._kinds = array("H")
        self._texts: list[str] = []
        self._spans: list[_Packed] = []
        self._sources: list[_Source] = []
        self._by_name: dict[str, _Source] = {}
        """Also by the names that are not safe to show, as they come."""

    def append(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            source = self._by_name.get(line.source) or self._source(line.source)
            text, spans = clean(line.text)
            packed: _Packed = tuple(value for span in spans for value in span) if spans else ()
            self._seqs.append(self.end)
            self._times.append(line.time)
            self._kinds.append(source.number)
            self._texts.append(text)
            self._spans.append(packed)
            self.end += 1
            size = _size(text, packed)
            source.lines += 1
            source.bytes += size
            self.bytes += size
            if self.bytes > self.limit:
                self._make_room()

    @property
    def first(self) -> int:
        """The number of the oldest line that is kept; `end` where there is none."""
        return self._seqs[0] if self._seqs else self.end

    def __len__(self) -> int:
        """Marks are no lines."""
        return len(self._seqs) - self.count(MARK)

    @property
    def sources(self) -> tuple[str, ...]:
        """In the order of their first lines; a source stays, also when all its lines went."""
        return tuple(source.name for source in self._sources if source.name != MARK)

    @property
    def dropped(self) -> int:
        return sum(source.dropped for source in self._sources if source.name != MARK)

    def count(self, source: str) -> int:
        found = self._by_name.get(source)
        return found.lines if found else 0

    def first_of(self, source: str) -> int:
        """All lines of this source that have a lower number are gone."""
        found = self._by_name.get(source)
        return found.first if found else 0

    def get(self, seq: int) -> Entry | None:
        """The line of that number; None when it is gone, or not yet there."""
        at = bisect_left(self._seqs, seq)
        return self._entry(at) if at < len(self._seqs) and self._seqs[at] == seq else None

    def after(self, seq: int, count: int) -> list[Entry]:
        """Up to `count` lines from this number on, in their sequence."""
        at = bisect_left(self._seqs, seq)
        return [self._entry(place) for place in range(at, min(at + count, len(self._seqs)))]

    def _entry(self, at: int) -> Entry:
        source = self._sources[self._kinds[at]]
        packed = self._spans[at]
        line = Clean(self._texts[at], _unpacked(packed) if packed else ())
        return Entry(self._seqs[at], source.name, self._times[at], line)

    def _source(self, raw: str) -> _Source:
        name = raw if raw == MARK else visible(raw) or "?"
        source = self._by_name.get(name)
        if source is None:
            source = _Source(name, len(self._sources))
            self._sources.append(source)
            self._by_name[name] = source
        self._by_name[raw] = source
        return source

    def _make_room(self) -> None:
        """Bring the largest sources down to one level, by their oldest lines; in one walk over the lines."""
        level = _level([source.bytes for source in self._sources], self.limit - self.limit // _ROOM)
        above = {source.number for source in self._sources if source.bytes > level}
        kept: list[int] = []
        edge = 0
        for kind in self._kinds:
            if not above:
                break
            if kind in above:
                source = self._sources[kind]
                self._forget(source, edge)
                if source.bytes <= level:
                    above.discard(kind)
            else:
                kept.append(edge)
            edge += 1
        self._seqs[:edge] = array("Q", [self._seqs[at] for at in kept])
        self._times[:edge] = array("d", [self._times[at] for at in kept])
        self._kinds[:edge] = array("H", [self._kinds[at] for at in kept])
        self._texts[:edge] = [self._texts[at] for at in kept]
        self._spans[:edge] = [self._spans[at] for at in kept]
        self.generation += 1

    def _forget(self, source: _Source, at: int) -> None:
        size = _size(self._texts[at], self._spans[at])
        source.bytes -= size
        self.bytes -= size
        source.lines -= 1
        source.dropped += 1
        source.first = self._seqs[at] + 1


def _level(sizes: list[int], goal: int) -> int:
    """The height at which all sizes have to be cut, so that what is left of them fits into the goal."""
    rest = goal
    for left, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        if size > rest // left:
            return rest // left
        rest -= size
    return max(sizes)


def _size(text: str, packed: _Packed) -> int:
    return _LINE + getsizeof(text) + (_SPANS + _SPAN * (len(packed) // 3) if packed else 0)


def _unpacked(packed: _Packed) -> tuple[Span, ...]:
    columns = zip(packed[::3], packed[1::3], packed[2::3], strict=True)
    return tuple(Span(int(start), int(end), str(style)) for start, end, style in columns)
