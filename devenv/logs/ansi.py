"""What a line of a log says, without what it does to a terminal.

Colours and emphasis stay, as spans beside the text. Whatever else a program may send to a terminal goes:
titles, the clipboard, the cursor, the alternate screen; whole, also where its end is missing. What a terminal
would hide is made visible. The time is linear in the line, which is cut where nobody reads on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rich.cells import cell_len

from devenv.logs.pen import Pen

LONGEST = 16 * 1024
"""Characters of a line that are kept; a person reads no further, and a paint must not take longer."""
MOST_SPANS = 1000
"""Spans that are kept of a line: a line that colours each letter is short, or it is hostile."""
_LONGEST_RAW = 2 * LONGEST
_MOST_RETURNS = 200
"""A progress bar is shown as its last states left it; older ones are overwritten for sure."""
_NOTE = "dim italic"

_TOKEN = re.compile(
    r"(?:\x1b\[|\x9b)(?P<parameters>[0-?]*)(?P<between>[ -?]*)(?P<final>[@-~]?)"
    r"|(?:\x1b\]|\x9d)[^\x07\x18\x1a\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x18\x1a\x1b\x9c]*(?:\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|(?P<back>\x08+)|(?P<tab>\t)|(?P<return>\r+)"
)
"""Each alternative can always end where it is, so that nothing is ever read twice."""

_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
_JOINED = f"[^\x00-\x7f\u200c\u200d{_HIDDEN}]"
_ODD = re.compile(
    # Joiners belong to emoji and to scripts; among plain letters they only hide something.
    f"[{_HIDDEN}]|(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})"
)
"""Controls, and what is invisible or turns the text around."""


class Span(NamedTuple):
    """Characters from `start` to `end` look so: `style` is in Rich's syntax."""

    start: int
    end: int
    style: str


class Clean(NamedTuple):
    text: str
    spans: tuple[Span, ...] = ()


def clean(raw: str) -> Clean:
    """The line as it is safe to print; a line without controls passes as it is."""
    if len(raw) <= LONGEST and raw.isprintable():
        return Clean(raw)
    piece, lost = _window(raw)
    line = _Line()
    at = 0
    for token in _TOKEN.finditer(piece):
        line.write(piece[at : token.start()])
        line.obey(token)
        at = token.end()
    line.write(piece[at:])
    return _cut(line.text, line.spans, lost)


def visible(text: str) -> str:
    """The text with each control and each invisible character shown as a sign."""
    return text if text.isprintable() else _ODD.sub(_sign, text)


def _window(raw: str) -> tuple[str, int]:
    """The part of a line that is read at all, and how many characters come after it."""
    raw = raw.rstrip("\r\n\b")
    if raw.count("\r") > _MOST_RETURNS:
        raw = "\r".join(raw.rsplit("\r", _MOST_RETURNS)[1:])
    if len(raw) <= _LONGEST_RAW:
        return raw, 0
    start = raw.find("\r", len(raw) - _LONGEST_RAW) + 1
    if start:
        return raw[start:], 0
    last = raw[raw.rfind("\r") + 1 :]
    return last[:_LONGEST_RAW], len(last) - _LONGEST_RAW


def _cut(text: str, spans: list[Span], lost: int) -> Clean:
    lost += max(0, len(text) - LONGEST)
    if lost:
        note = f" … {lost:,} characters more, whole in the full log"
        text = text[:LONGEST]
        end = len(text)
        spans = [Span(one.start, min(one.end, end), one.style) for one in spans if one.start < end]
        spans = [*spans[: MOST_SPANS - 1], Span(end, end + len(note), _NOTE)]
        text += note
    return Clean(text, tuple(spans[:MOST_SPANS]))


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"<U+{code:04X}>"


class _Line:
    """A terminal of one line: what is written now lies over what was there before the last return."""

    def __init__(self) -> None:
        self._pen = Pen()
        self._parts: list[str] = []
        self._length = 0
        self._cells = 0
        """Of the first `_measured` parts."""
        self._measured = 0
        self._spans: list[Span] = []
        self._under = ""
        self._under_spans: list[Span] = []

    @property
    def text(self) -> str:
        return "".join(self._parts) + self._under[self._length :]

    @property
    def spans(self) -> list[Span]:
        below = [
            Span(max(one.start, self._length), one.end, one.style)
            for one in self._under_spans
            if one.end > self._length
        ]
        return self._spans + below

    def write(self, run: str) -> None:
        if not run:
            return
        run = visible(run)
        start, self._length = self._length, self._length + len(run)
        self._parts.append(run)
        if style := self._pen.style:
            last = self._spans[-1] if self._spans else None
            if last and last.end == start and last.style == style:
                self._spans[-1] = Span(last.start, self._length, style)
            elif len(self._spans) < MOST_SPANS:
                self._spans.append(Span(start, self._length, style))

    def obey(self, token: re.Match[str]) -> None:
        """Do what a token asks for; most of them ask for what a line of a log must not do."""
        if token["final"] == "m" and not token["between"]:
            self._pen.change(token["parameters"])
        elif token["final"] == "K":
            self._erase(token["parameters"])
        elif token["return"] or (token["final"] == "G" and token["parameters"] in ("", "0", "1")):
            self._return()
        elif token["tab"]:
            self.write(" " * (8 - self._column() % 8))
        elif token["back"]:
            self._back(len(token["back"]))

    def _column(self) -> int:
        """Where the cursor is, in cells; each part is measured once."""
        self._cells += sum(map(cell_len, self._parts[self._measured :]))
        self._measured = len(self._parts)
        return self._cells

    def _replace(self, parts: list[str]) -> None:
        self._parts, self._spans = parts, []
        self._length = sum(map(len, parts))
        self._cells = self._measured = 0

    def _return(self) -> None:
        self._under, self._under_spans = self.text, self.spans
        self._replace([])

    def _erase(self, what: str) -> None:
        if what in ("", "0", "2"):
            self._under = self._under[: self._length]
            self._under_spans = []
        if what in ("1", "2"):
            self._replace([" " * self._length])

    def _back(self, count: int) -> None:
        while count and self._parts:
            part = self._parts.pop()
            if self._measured > len(self._parts):
                self._measured -= 1
                self._cells -= cell_len(part)
            if len(part) > count:
                self._parts.append(part[:-count])
            self._length -= min(count, len(part))
            count -= min(count, len(part))
        while self._spans and self._spans[-1].end > self._length:
            start, _, style = self._spans.pop()
            if start < self._length:
                self._spans.append(Span(start, self._length, style))
