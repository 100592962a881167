"""The lines of the log on the screen: only what is seen is drawn, and only when it has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.cache import LRUCache
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip

from devenv.logs.cells import breaks, cell_at, window
from devenv.logs.intake import Intake
from devenv.logs.lens import Lens
from devenv.logs.store import Entry, LogStore
from devenv.model.events import LogLine
from devenv.tui.log_paint import Columns, Piece, Styles, blank, columns, paint
from devenv.tui.log_scroll import LogScroll

_BEAT = 0.1
"""Seconds between two paintings: as fast as reading needs, and the loop stays free."""
_WORK = 0.004
"""Seconds of work at once; what is left is done after whatever waits, a key above all."""
_SOURCES = 5
_DRAWN = 128
"""Rows that are kept as they were drawn: a screen of them. Each is a cycle of some 25 objects (`Strip.divide`
keeps the strip in itself), so many that are kept for long make a long collection of garbage."""


class LogView(LogScroll):
    """Draws the rows that are in sight, and takes new lines in without ever holding up the loop."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log-view--time",
        *(f"log-view--source-{number}" for number in range(_SOURCES)),
        "log-view--match",
        "log-view--current",
        "log-view--mark",
    }
    DEFAULT_CSS = """
    LogView {
        background: $background;
        color: $foreground;
        overflow-x: auto;
        overflow-y: scroll;
        scrollbar-size: 0 1;
        & > .log-view--time { text-style: dim; }
        & > .log-view--source-0 { color: $text-primary; text-style: bold; }
        & > .log-view--source-1 { color: $text-success; text-style: bold; }
        & > .log-view--source-2 { color: $text-secondary; text-style: bold; }
        & > .log-view--source-3 { color: $text-warning; text-style: bold; }
        & > .log-view--source-4 { color: $text-accent; text-style: bold; }
        & > .log-view--match { text-style: reverse; }
        & > .log-view--current { text-style: bold reverse underline; }
        & > .log-view--mark { color: $text-warning; text-style: bold; }
    }
    """

    def __init__(self, store: LogStore, lens: Lens) -> None:
        super().__init__(lens)
        self.store = store
        self.wraps = False
        self.times = False
        self._intake = Intake(store)
        self._beat: asyncio.TimerHandle | None = None
        self._painted = 0.0
        self._styles: Styles | None = None
        self._columns: Columns | None = None
        self._strips: LRUCache[tuple[int, int, int], Strip] = LRUCache(_DRAWN)
        self._breaks: LRUCache[tuple[int, int], tuple[int, ...]] = LRUCache(64)

    def feed(self, lines: Iterable[LogLine]) -> None:
        """Take lines in, at the next beat. While none come, nothing is done at all."""
        self._intake.put(lines)
        self.touch()

    def flush(self) -> None:
        """Do at once all that is to do."""
        self.take_all()
        while self.lens.advance():
            pass
        self._paint()

    def take_all(self) -> None:
        """Bring all lines that were fed into the store, so that what comes next comes after them."""
        while self._intake:
            self._intake.take()

    def touch(self) -> None:
        """Something is new: paint at the next beat."""
        if self._beat is None and self.is_running:
            self._wake_in(self._painted + _BEAT - time.monotonic())

    def wrap(self, on: bool) -> None:
        self.wraps = on
        self._relayout()

    def show_times(self, on: bool) -> None:
        self.times = on
        self._relayout()

    def restyle(self) -> None:
        """What lines look like has changed: the search, the selection, the theme."""
        self._strips.clear()
        self.refresh()

    def reveal(self, seq: int) -> None:
        """Bring a line to the middle, and the match in it into sight; the end is not followed any more."""
        shown = self.lens.shown
        row = shown.row_of(seq)
        entry = self.lens.entry(row)
        if entry is None:
            return
        found = self.lens.search.occurrences(entry.text)
        y, x = shown.top(row), 0
        if found and shown.width is not None:
            y += sum(start <= found[0][0] for start in self._starts(entry)) - 1
        elif found:
            x = cell_at(entry.text, found[0][0])
        top = self.scroll_offset.y
        if not top <= y < top + max(1, self.room.height):
            top = y - self.room.height // 2
        body, left = self._layout.body, self.scroll_offset.x
        if not left <= x < left + body:
            left = max(0, x - body // 3)
        self.go(left, top)
        self.pause()
        self.restyle()

    def visible_lines(self) -> Iterator[Entry]:
        """The lines on the screen, also those that are seen in part."""
        shown = self.lens.shown
        if not shown.height or not self.room.height:
            return
        row = shown.at(self.scroll_offset.y)[0]
        bottom = self.scroll_offset.y + self.room.height
        while row < len(shown) and shown.top(row) < bottom:
            if (entry := self.lens.entry(row)) is not None:
                yield entry
            row += 1

    def render_line(self, y: int) -> Strip:
        width, styles, shown = self.room.width, self._look, self.lens.shown
        x, top = self.scroll_offset
        if top + y >= shown.height or not width:
            return blank(width, styles, self.store.end)
        row, sub = shown.at(top + y)
        entry = self.lens.entry(row)
        if entry is None:
            return blank(width, styles, self.store.end)
        wrapped = shown.width is not None
        key = (entry.seq, sub, 0 if wrapped else x)
        strip = self._strips.get(key)
        if strip is None:
            piece = self._piece(entry, sub) if wrapped else _scrolled(entry, x, self._layout.body)
            current = entry.seq == self.lens.current
            strip = paint(piece, self._layout, styles, self.lens.search, current, self.text_selection)
            self._strips[key] = strip
        return strip

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What is selected, by the numbers of its lines; lines that are not shown are not part of it."""
        shown = self.lens.shown
        first = shown.row_of(max(0, selection.start.y)) if selection.start else 0
        last = shown.row_of(selection.end.y + 1) if selection.end else len(shown)
        lines: list[str] = []
        for row in range(first, last):
            entry = self.lens.entry(row)
            span = selection.get_span(entry.seq) if entry else None
            if entry and span:
                end = None if span[1] == -1 else max(0, span[1])
                lines.append(entry.text[max(0, span[0]) : end])
        return "\n".join(lines), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.restyle()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = None
        self._strips.clear()

    def on_mount(self) -> None:
        self.touch()

    def on_resize(self, event: events.Resize) -> None:
        self._relayout()

    def on_unmount(self) -> None:
        if self._beat is not None:
            self._beat.cancel()

    @property
    def _look(self) -> Styles:
        if self._styles is None:
            base = self.rich_style

            def style(name: str) -> Style:
                return base + self.get_component_rich_style(name, partial=True)

            self._styles = Styles(
                base,
                style("log-view--time"),
                tuple(style(f"log-view--source-{number}") for number in range(_SOURCES)),
                self.get_component_rich_style("log-view--match", partial=True),
                self.get_component_rich_style("log-view--current", partial=True),
                style("log-view--mark"),
                self.screen.get_component_rich_style("screen--selection", partial=True),
            )
        return self._styles

    @property
    def _layout(self) -> Columns:
        return self._columns or columns(self.store.sources, self.room.width, self.times)

    def _work(self) -> None:
        """A slice of work, and a painting when it is time for one."""
        self._beat = None
        generation = self.store.generation
        until = time.monotonic() + _WORK
        while self._intake and time.monotonic() < until:
            self._intake.take()
        more = self.lens.advance()
        while more and time.monotonic() < until:
            more = self.lens.advance()
        due = time.monotonic() - self._painted >= _BEAT
        if due:
            self._paint()
        elif generation != self.store.generation:
            self._settle()
        if more or self._intake:
            self._wake_in(0)
        elif not due:
            self.touch()

    def _wake_in(self, seconds: float) -> None:
        # Textual's own timer is not safe here: where the loop is late for a single shot, it never fires.
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(max(0.0, seconds), self.call_next, self._work)

    def _paint(self) -> None:
        self._painted = time.monotonic()
        self._settle()
        self.refresh()
        self.post_message(self.Changed())

    def _relayout(self) -> None:
        self._strips.clear()
        self._breaks.clear()
        self._paint()

    def _settle(self) -> None:
        """Bring the view to where it belongs in what is shown now: to the end, or to its line."""
        if not self.room:
            return
        layout = columns(self.store.sources, self.room.width, self.times)
        if layout != self._columns:
            self._columns = layout
            self._strips.clear()
            self._breaks.clear()
        self.lens.wrap(layout.body if self.wraps else None)
        shown = self.lens.shown
        self.resize_content(Size(0 if self.wraps else layout.before + shown.widest, shown.height))
        self.rest()

    def _starts(self, entry: Entry) -> tuple[int, ...]:
        """Where the rows of a wrapped line start; known for the lines that are seen."""
        body = self._layout.body
        starts = self._breaks.get((entry.seq, body))
        if starts is None:
            starts = self._breaks[(entry.seq, body)] = tuple(breaks(entry.text, body))
        return starts

    def _piece(self, entry: Entry, sub: int) -> Piece:
        starts = self._starts(entry)
        length = len(entry.text)
        start = starts[sub] if sub < len(starts) else length
        end = starts[sub + 1] if sub + 1 < len(starts) else length
        return Piece(entry, start, end, first=sub == 0)


def _scrolled(entry: Entry, x: int, body: int) -> Piece:
    start, end, free = window(entry.text, x, body)
    return Piece(entry, start, end, blank=free)
