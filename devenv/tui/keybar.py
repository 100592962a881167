"""The last line: the few actions that matter here, with their keys. Each can be clicked."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from devenv.model.actions import Action, shown
from devenv.model.state import State

STACK = ("upgrade", "rollback", "verify", "probe", "open", "help", "quit")
NOTHING = ("up", "failure", "doctor", "build", "logs", "help", "quit")
BUSY = ("cancel", "probe", "logs", "view commands", "help", "quit")
LOGS = ("log follow", "log search", "log filter", "log wrap", "log copy", "help", "quit")


class KeyBar(Static):
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
        self.update(Content("").join(parts))
