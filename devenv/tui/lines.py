"""The way of all text onto the screen: in lines, which can neither steer the terminal nor begin another one.

Nothing in them is read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text
from textual.content import Content, Span
from textual.widgets import Input, Static

from devenv.logs import harmless

Run = Content | str | tuple[str, str]
"""Text, or text and its style."""
Lines = Sequence[Content | str]


def line(*parts: Run, longest: int = harmless.LONGEST) -> Content:
    """One line of the screen; a break in a part is shown as ⏎."""
    return Content.assemble(*(one for part in parts for one in _harmless(part, longest)))


def lines(of: Iterable[Content | str]) -> Content:
    return Content("\n").join(line(one) for one in of)


def cell(text: str, style: str = "") -> Text:
    """One of a table."""
    return Text(harmless.line(text), style)


class Words(Static):
    """Some lines, by default none."""

    def __init__(self, of: Lines = (), *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(lines(of), id=id, classes=classes, markup=False)


class Field(Input):
    """One line to type in; what is pasted into it, too, is made harmless."""

    def validate_value(self, value: str) -> str:
        return harmless.line(value)


def _harmless(part: Run, longest: int) -> Iterator[Run]:
    """The part, or what may be shown of it. Textual goes through all that it is given: the short one."""
    if isinstance(part, str):
        yield harmless.line(part, longest)
    elif isinstance(part, tuple):
        yield harmless.line(part[0], longest), part[1]
    elif harmless.line(part.plain, longest) == part.plain:
        yield part
    else:
        edges = sorted({edge for span in part.spans for edge in span[:2]} - {0, len(part.plain)})
        for run in part.divide(edges):
            text = harmless.line(run.plain, longest)
            # Of one look: its spans are over all of it.
            yield Content(text, [Span(0, len(text), span.style) for span in run.spans])
