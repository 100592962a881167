"""A line of the log as a row of the screen. Text is only ever text: nothing in it is read as markup."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.selection import Selection
from textual.strip import Strip

from devenv.logs.ansi import Span
from devenv.logs.cells import width_of
from devenv.logs.index import is_mark
from devenv.logs.query import Query
from devenv.logs.store import Entry

_NARROW = 40
"""A screen that is narrower shows the times not at all, and the sources in a few letters."""
_WIDEST_NAME = 16


@dataclass(frozen=True, slots=True)
class Styles:
    """What the theme says; where it says nothing about colour, emphasis and signs are left."""

    base: Style
    time: Style
    sources: tuple[Style, ...]
    match: Style
    current: Style
    mark: Style
    selection: Style


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands before each line, and how much room is left for it."""

    width: int
    times: bool
    names: dict[str, str]
    """As they are shown: of one width, and no two alike."""

    @property
    def before(self) -> int:
        name = next(iter(self.names.values()), "")
        return (13 if self.times else 0) + (width_of(name) + 3 if name else 0)

    @property
    def body(self) -> int:
        return max(2, self.width - self.before)


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a line that one row of the screen shows."""

    entry: Entry
    start: int
    end: int
    blank: int = 0
    """Cells left free before it, where a wide character is cut."""
    first: bool = True


def columns(sources: Sequence[str], width: int, times: bool) -> Columns:
    room = max(3, min(_WIDEST_NAME, width // 4))
    return Columns(width, times and width >= _NARROW, short_names(tuple(sources), room))


@lru_cache(64)
def short_names(sources: tuple[str, ...], room: int) -> dict[str, str]:
    """Names that fit, told apart by their text: what all begin with goes, then what is in their middle."""
    words = [name.split("-") for name in sources]
    # Names begin with the project's; what is left has to say more than a number.
    common = int(len(words) > 1 and all(len(some) > 2 and some[0] == words[0][0] for some in words))
    short: dict[str, str] = {}
    for number, (name, some) in enumerate(zip(sources, words, strict=True), 1):
        made = _squeeze("-".join(some[common:]), room)
        if made in short.values():
            ending = f"~{number}"
            made = _squeeze(made, room - len(ending)) + ending
        short[name] = made
    widest = min(room, max(map(width_of, short.values()), default=0))
    return {name: set_cell_size(made, widest) for name, made in short.items()}


def _squeeze(name: str, room: int) -> str:
    """The end of a name counts more than its middle: it is the number of an instance."""
    if width_of(name) <= room:
        return name
    if room < 3:
        return set_cell_size(name, room)
    tail = (room - 1) // 2
    return set_cell_size(name, room - 1 - tail) + "…" + name[-tail:]


@lru_cache(256)
def _second(seconds: int) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


def clock(moment: float) -> str:
    """Local time to the millisecond."""
    return f"{_second(int(moment))}.{int(moment * 1000) % 1000:03}"


def in_words(entry: Entry, times: bool) -> str:
    """The line as text, to be copied or saved."""
    moment = f"{clock(entry.time)} " if times else ""
    if is_mark(entry):
        return f"{moment}--- mark {clock(entry.time)[:8]} ---"
    return f"{moment}{entry.source} | {entry.text}"


def paint(
    piece: Piece,
    layout: Columns,
    styles: Styles,
    search: Query,
    current: bool,
    selection: Selection | None,
) -> Strip:
    """The row. Places in it are the line's number and characters: a selection stays where lines move."""
    entry = piece.entry
    if is_mark(entry):
        return _rule(entry, layout.width, styles)
    before = _before(piece, layout, styles, current)
    layers = list(_seen(entry.line.spans, piece))
    if search:
        style = styles.current if current else styles.match
        layers += [(start, end, style) for start, end in search.occurrences(entry.text)]
    if selection is not None and (span := selection.get_span(entry.seq)) is not None:
        end = len(entry.text) if span[1] == -1 else span[1]
        layers.append((max(0, span[0]), end, styles.selection))
    strip = Strip([*before, *_body(piece, styles.base, layers)]).adjust_cell_length(layout.width, styles.base)
    return strip.apply_offsets(piece.start - sum(len(one.text) for one in before), entry.seq)


def blank(width: int, styles: Styles, after: int) -> Strip:
    """Below the last line; whoever selects from here selects from the end."""
    return Strip.blank(width, styles.base).apply_offsets(0, after)


def _before(piece: Piece, layout: Columns, styles: Styles, current: bool) -> list[Segment]:
    found: list[Segment] = []
    name = layout.names.get(piece.entry.source, "")
    if not piece.first:
        # Rows of one line hang under its text.
        found.append(Segment(" " * (layout.before - 2 if name else layout.before), styles.base))
    else:
        if layout.times:
            found.append(Segment(f"{clock(piece.entry.time)} ", styles.time))
        if name:
            number = list(layout.names).index(piece.entry.source)
            found.append(Segment(f"{name} ", styles.sources[number % len(styles.sources)]))
    if name:
        found.append(Segment("▶ " if current and piece.first else "│ ", styles.time))
    if piece.blank:
        found.append(Segment(" " * piece.blank, styles.base))
    return [one for one in found if one.text]


def _seen(spans: Iterable[Span], piece: Piece) -> Iterable[tuple[int, int, Style]]:
    for start, end, style in spans:
        if start >= piece.end:
            break
        if end > piece.start:
            yield start, end, Style.parse(style)


def _body(piece: Piece, base: Style, layers: Sequence[tuple[int, int, Style]]) -> Iterable[Segment]:
    """The text of a piece, with styles over characters of its line; what lies outside of it is left out."""
    text = piece.entry.text[piece.start : piece.end]
    if not layers:
        return [Segment(text, base)] if text else []
    looks = [base] * len(text)
    for start, end, style in layers:
        first, last = max(start - piece.start, 0), min(end - piece.start, len(looks))
        for at in range(first, last):
            looks[at] = looks[at] + style
    body, at = [], 0
    for look, run in groupby(looks):
        length = len(list(run))
        body.append(Segment(text[at : at + length], look))
        at += length
    return body


def _rule(entry: Entry, width: int, styles: Styles) -> Strip:
    label = f"── mark {clock(entry.time)[:8]} "
    text = set_cell_size(label + "─" * max(0, width - len(label)), width)
    return Strip([Segment(text, styles.mark)], width).apply_offsets(0, entry.seq)
