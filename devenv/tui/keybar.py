"""The last line: the few actions that matter here, with their keys. Each can be clicked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.content import Content

from devenv.model.actions import Action, shown
from devenv.model.freshness import Verdict
from devenv.model.state import State
from devenv.model.words import short
from devenv.tui.lines import Words, lines

STACK = ("upgrade", "rollback", "verify", "probe", "open", "help", "quit")
NOTHING = ("up", "failure", "doctor", "build", "logs", "help", "quit")
BUSY = ("cancel", "probe", "logs", "view commands", "help", "quit")
LOGS = ("log follow", "log search", "log filter", "log wrap", "log copy", "help", "quit")


_STYLES: dict[Verdict, str] = {
    "current": "$text-muted",
    "stale": "bold $text-warning",
    "older": "bold $text-warning",
    "unknown": "$text-muted",
}


class KeyBar(Words):
    DEFAULT_CSS = """
    KeyBar { height: 1; background: $panel; color: $foreground; text-wrap: nowrap; text-overflow: ellipsis; }
    KeyBar { link-style: none; }
    """

    def show(self, actions: Sequence[Action], keys: dict[str, str], state: State) -> None:
        """`keys`: those in effect, by the name of the action."""
        parts: list[Content] = []
        for one in actions:
            style = "dim" if one.why_not(state) else ""
            word = Content.styled(f" {one.title}", style)
            key = Content.styled(f" {shown(keys[one.name].partition(',')[0])}", f"bold {style}")
            parts.append(Content.assemble(key, word, " ").stylize(f"@click=app.act({one.name!r})"))
        left = Content("").join(parts)
        room = self.size.width - left.cell_length - 1
        right = next((one for one in _images(state) if one.cell_length <= room), Content(""))
        self.update(lines([left + " " * (room - right.cell_length) + right if right else left]))


def _images(state: State) -> Iterator[Content]:
    """What runs, and whether the working tree would build the same, from the most to the fewest words."""
    if not state.images:
        return
    each = [(one, f"{one.service} {short(one.running)} {one.verdict}") for one in state.images]
    yield Content("  ").join(Content.styled(words, _STYLES[one.verdict]) for one, words in each)
    one, words = next(((one, words) for one, words in each if one.verdict != "current"), each[-1])
    yield Content.styled(words, _STYLES[one.verdict])
    yield Content.styled(
        "images current" if one.verdict == "current" else f"{one.service} {one.verdict}", _STYLES[one.verdict]
    )
