"""Which lines of a store are shown, and in which rows of the screen; any of them is found by bisection."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate, compress

from devenv.logs.cells import breaks, is_plain, rows, width_of
from devenv.logs.store import MARK, Entry, LogStore

Passes = Callable[[Entry], bool]

_CHEAP, _DEAR = 256, 16
"""Characters that are as much work as a line: of plain text, and of text whose cells are counted singly."""


class Chosen:
    """Numbers of lines that were chosen from a store, without those that it dropped since."""

    def __init__(self, store: LogStore) -> None:
        self.store = store
        self.seqs = array("Q")
        self._kinds = array("H")
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._generation = store.generation

    def __len__(self) -> int:
        return len(self.seqs)

    def row_of(self, seq: int) -> int:
        """The place of that line, or of the next one where it is not chosen."""
        return bisect_left(self.seqs, seq)

    def add(self, entry: Entry) -> None:
        number = self._numbers.get(entry.source)
        if number is None:
            number = self._numbers[entry.source] = len(self._names)
            self._names.append(entry.source)
        self.seqs.append(entry.seq)
        self._kinds.append(number)

    def prune(self) -> bool:
        """Let go what the store let go; tell whether that was anything."""
        if self._generation == self.store.generation:
            return False
        self._generation = self.store.generation
        firsts = [self.store.first_of(name) for name in self._names]
        edge = self.row_of(max(firsts, default=0))
        kinds = self._kinds
        kept = [row for row in range(edge) if self.seqs[row] >= firsts[kinds[row]]]
        if len(kept) == edge:
            return False
        self._keep(edge, kept)
        return True

    def _keep(self, edge: int, kept: list[int]) -> None:
        """Of the first `edge` rows, only those; what comes after them stays."""
        self.seqs[:edge] = array("Q", [self.seqs[row] for row in kept])
        self._kinds[:edge] = array("H", [self._kinds[row] for row in kept])


class Index(Chosen):
    """The chosen lines as rows of a screen: one each, or as many as their text takes at a width."""

    def __init__(
        self, store: LogStore, passes: Passes | None = None, since: int = 0, width: int | None = None
    ) -> None:
        super().__init__(store)
        self._passes = passes
        self._next = since
        self._width = width
        self._cells = array("L")
        self._ends = array("q")
        """Where each row ends, counted from `_base` on: so neither end of the list moves what is between."""
        self._base = 0
        self._wide = bytearray()
        """1: a line with characters that are not one cell each."""
        self._unmeasured: list[int] = []
        self.widest = 0
        """Cells of the longest line so far."""

    @property
    def width(self) -> int | None:
        """None: lines are not wrapped."""
        return self._width

    @property
    def height(self) -> int:
        if self._width is None:
            return len(self.seqs)
        return self._ends[-1] - self._base if self._ends else 0

    def at(self, y: int) -> tuple[int, int]:
        """The row of the screen as a line's place, and which of that line's rows it is."""
        if self._width is None:
            return y, 0
        row = bisect_right(self._ends, self._base + y)
        return row, y - self.top(row)

    def top(self, row: int) -> int:
        """The first row of the screen that the line at this place takes."""
        if self._width is None:
            return min(row, len(self.seqs))
        return self._ends[min(row, len(self._ends)) - 1] - self._base if row and self._ends else 0

    def add(self, entry: Entry) -> None:
        super().add(entry)
        text = entry.line.text
        cells = width_of(text)
        self._cells.append(cells)
        self.widest = max(self.widest, cells)
        wide = not is_plain(text)
        self._wide.append(wide)
        if self._width is not None:
            height = len(breaks(text, self._width)) if wide else rows(cells, self._width)
            self._ends.append((self._ends[-1] if self._ends else self._base) + height)

    def scan(self, lines: int, late: Callable[[], bool] = lambda: False) -> bool:
        """Look at about so many lines that are new, fewer when it is `late`; tell whether there are more."""
        passes = self._passes
        lines = self._measure(lines)
        if lines <= 0:
            return True
        for entry in self.store.after(self._next, lines):
            self._next = entry.seq + 1
            if passes is None or passes(entry):
                self.add(entry)
            text = entry.line.text
            lines -= 1 + len(text) // (_CHEAP if text.isascii() else _DEAR)
            if lines <= 0 or late():
                return self._next < self.store.end or bool(self._unmeasured)
        return bool(self._unmeasured)

    def wrap(self, width: int | None) -> None:
        """Lay the lines out anew. Lines of wide characters are guessed first, and measured by `scan`."""
        if width == self._width:
            return
        self._width = width
        self._base = 0
        self._ends = array("q")
        self._unmeasured = []
        if width is not None:
            self._ends = array("q", accumulate([-(-cells // width) or 1 for cells in self._cells]))
            self._unmeasured = list(compress(self.seqs, self._wide))

    def _measure(self, lines: int) -> int:
        """Count rows of lines of wide characters; tell how much work is left to do otherwise."""
        if self._width is None or not self._unmeasured:
            return lines
        changes: dict[int, int] = {}
        # The newest first: they are looked at.
        while self._unmeasured and lines > 0:
            seq = self._unmeasured.pop()
            entry = self.store.get(seq)
            row = self.row_of(seq)
            if entry is None or row >= len(self) or self.seqs[row] != seq:
                continue
            lines -= 1 + len(entry.line.text) // _DEAR
            change = len(breaks(entry.line.text, self._width)) - (self.top(row + 1) - self.top(row))
            if change:
                changes[row] = change
        if changes:
            first = min(changes)
            steps = [changes.get(row, 0) for row in range(first, len(self))]
            moved = zip(self._ends[first:], accumulate(steps), strict=True)
            self._ends[first:] = array("q", [end + step for end, step in moved])
        return lines

    def _keep(self, edge: int, kept: list[int]) -> None:
        if self._width is not None:
            heights = [self.top(row + 1) - self.top(row) for row in kept]
            self._base = self._ends[edge - 1] - sum(heights)
            self._ends[:edge] = array("q", [end + self._base for end in accumulate(heights)])
        self._cells[:edge] = array("L", [self._cells[row] for row in kept])
        self._wide[:edge] = bytes([self._wide[row] for row in kept])
        super()._keep(edge, kept)


def is_mark(entry: Entry) -> bool:
    return entry.source == MARK
