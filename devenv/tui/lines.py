"""The way of all text onto the screen: in lines, which can neither steer the terminal nor begin another one.

Nothing in them is read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.content import Content, Span
from textual.widgets import Input, Static

from devenv.logs import harmless

Run = Content | str | tuple[str, str]
"""Text, or text and its style."""
Lines = Sequence[Content | str]


def line(*parts: Run, longest: int = harmless.LONGEST) -> Content:
    """One line of the screen; a break in a part is shown as ⏎."""
    content = Content.assemble(*parts)
    if harmless.line(content.plain, longest) == content.plain:
        return content
    edges = sorted({edge for span in content.spans for edge in span[:2]} - {0, len(content.plain)})
    return Content.assemble(*(_harmless(run, longest) for run in content.divide(edges)))


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


def _harmless(run: Content, longest: int) -> Content:
    """Of one look: its spans are over all of it."""
    text = harmless.line(run.plain, longest)
    return Content(text, [Span(0, len(text), span.style) for span in run.spans])
