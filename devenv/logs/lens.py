"""What of a store is shown: the filter, the sources, the search. Work is done in slices, and none is long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from devenv.logs.index import Chosen, Index, Passes, is_mark
from devenv.logs.query import Query
from devenv.logs.store import Entry, LogStore

SLICE = 500
"""Lines of a slice; a millisecond or less."""
_SECONDS = 0.01
"""A slice ends then, however few lines it has come through: some patterns take long for each."""
NOTHING = Query()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which lines are shown. Marks are always."""

    filter: Query = NOTHING
    only: str = ""
    """The one source that is shown; empty: all are."""
    since: int = 0
    """Older lines are cleared away."""

    @property
    def passes(self) -> Passes | None:
        """None: all lines do."""
        if not self.filter and not self.only:
            return None
        look = self.filter.passes if self.filter else None
        only = self.only

        def passes(entry: Entry) -> bool:
            if is_mark(entry):
                return True
            if only and entry.source != only:
                return False
            return look is None or look(entry.line.text)

        return passes


class Lens:
    """After a change of what is shown, the lines shown before stay until the new ones are all found."""

    def __init__(self, store: LogStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self.choice = Choice()
        self.shown = Index(store)
        self.search = NOTHING
        self.matches = Chosen(store)
        self.current: int | None = None
        """The match that the search is at, by its line's number."""
        self._coming: Index | None = None
        self._searched = 0
        self._width: int | None = None

    def choose(
        self,
        *,
        filter: Query | None = None,  # noqa: A002 - it is the word
        only: str | None = None,
        since: int | None = None,
    ) -> None:
        """Show other lines; what is not named stays as it is."""
        chosen = self.choice
        chosen = replace(
            chosen,
            filter=chosen.filter if filter is None else filter,
            only=chosen.only if only is None else only,
            since=chosen.since if since is None else since,
        )
        if chosen != self.choice:
            self.choice = chosen
            self._coming = Index(self.store, chosen.passes, chosen.since, self._width)

    def look_for(self, query: Query) -> None:
        """Search; the count starts anew, in slices."""
        if query != self.search:
            self.search = query
            self._search_anew()

    def wrap(self, width: int | None) -> None:
        """At this width, or not at all."""
        self._width = width
        self.shown.wrap(width)
        if self._coming is not None:
            self._coming.wrap(width)

    def advance(self, lines: int = SLICE) -> bool:
        """Do about so much of what is to do, and tell whether there is more."""
        self.prune()
        end = self._clock() + _SECONDS

        def late() -> bool:
            return self._clock() > end

        if self._coming is not None:
            if self._coming.scan(lines, late):
                return True
            self.shown, self._coming = self._coming, None
            self._search_anew()
            return True
        if self.shown.scan(lines, late):
            return True
        return self._search_on(lines, late)

    def prune(self) -> bool:
        """Let lines go that the store let go; tell whether any were shown."""
        if self._coming is not None:
            self._coming.prune()
        self.matches.prune()
        return self.shown.prune()

    @property
    def settled(self) -> bool:
        """Whether what is shown and counted is all there is."""
        return self._coming is None and self._searched >= self._last

    @property
    def lines(self) -> int:
        """Lines that are shown, or would be if the screen were large enough."""
        return len(self.shown)

    @property
    def position(self) -> tuple[int, int]:
        """Which match the search is at, and how many there are: `3/41`. The first is 0 when it is at none."""
        row = self.matches.row_of(self.current) if self.current is not None else 0
        at_one = row < len(self.matches) and self.matches.seqs[row] == self.current
        return (row + 1 if at_one else 0), len(self.matches)

    def next_match(self, seq: int) -> int | None:
        """The match after this line; after the last one comes the first."""
        row = self.matches.row_of(seq + 1)
        return self._go(row if row < len(self.matches) else 0)

    def previous_match(self, seq: int) -> int | None:
        """The match before this line; before the first one comes the last."""
        row = self.matches.row_of(seq)
        return self._go(row - 1 if row else len(self.matches) - 1)

    def entry(self, row: int) -> Entry | None:
        """The line at this place; None beyond the last one, or when the store has just let it go."""
        return self.store.get(self.shown.seqs[row]) if 0 <= row < len(self.shown) else None

    @property
    def _last(self) -> int:
        return self.shown.seqs[-1] + 1 if self.search and len(self.shown) else 0

    def _go(self, row: int) -> int | None:
        if len(self.matches):
            self.current = self.matches.seqs[row]
            return self.current
        return None

    def _search_anew(self) -> None:
        self.matches = Chosen(self.store)
        self._searched = 0
        self.current = None if not self.search else self.current

    def _search_on(self, lines: int, late: Callable[[], bool]) -> bool:
        if not self.search:
            return False
        passes = replace(self.search, inverse=False).passes
        seqs = self.shown.seqs
        row = self.shown.row_of(self._searched)
        while row < len(seqs) and lines > 0:
            entry = self.store.get(seqs[row])
            if entry and not is_mark(entry):
                lines -= len(entry.line.text) // 256
                if passes(entry.line.text):
                    self.matches.add(entry)
            lines -= 1
            row += 1
            if late():
                break
        self._searched = seqs[row - 1] + 1 if row else self._searched
        return row < len(seqs)
