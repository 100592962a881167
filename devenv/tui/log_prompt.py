"""The line in which a search or a filter is typed; what it finds is seen while one types."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from devenv.logs.query import CASES, Query
from devenv.tui.lines import Field, Words, line

Kind = Literal["search", "filter"]
_SIGNS: dict[Kind, str] = {"search": "/", "filter": "&"}
_LONGEST = 500
_KEPT = 50


class PromptInput(Field):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "take it back", id="prompt.leave"),
        Binding("ctrl+r", "toggle_regex", "regex or literal", id="prompt.regex"),
        Binding("ctrl+t", "next_case", "case: smart, ignore, exact", id="prompt.case"),
        Binding("ctrl+n", "toggle_inverse", "lines that do not match", id="prompt.inverse"),
        Binding("up", "older", "the last one again", id="prompt.older", show=False),
        Binding("down", "newer", "the one after it", id="prompt.newer", show=False),
    ]

    class Asked(Message):
        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def action_leave(self) -> None:
        self.post_message(self.Asked("leave"))

    def action_toggle_regex(self) -> None:
        self.post_message(self.Asked("regex"))

    def action_next_case(self) -> None:
        self.post_message(self.Asked("case"))

    def action_toggle_inverse(self) -> None:
        self.post_message(self.Asked("inverse"))

    def action_older(self) -> None:
        self.post_message(self.Asked("older"))

    def action_newer(self) -> None:
        self.post_message(self.Asked("newer"))


class LogPrompt(Horizontal):
    """Hidden until it is opened. It tells what is asked for, and how that ended."""

    DEFAULT_CSS = """
    LogPrompt {
        height: 1;
        display: none;
        background: $surface;
        &.-open { display: block; }
        & > #sign { width: auto; text-style: bold; }
        & > PromptInput { width: 1fr; min-width: 6; background: $surface; }
        & > #state { width: auto; max-width: 60%; padding: 0 0 0 1; text-style: dim; }
        & > Static { text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    @dataclass
    class Changed(Message):
        kind: Kind
        query: Query

    @dataclass
    class Ended(Message):
        """`kept`: it was confirmed; otherwise `query` is what was there before."""

        kind: Kind
        query: Query
        kept: bool

    def __init__(self) -> None:
        super().__init__()
        self.kind: Kind = "search"
        self.query_ = Query()
        self.state = ""
        """What is told beside the text."""
        self._before = Query()
        self._history: dict[Kind, list[Query]] = {"search": [], "filter": []}
        self._back = 0

    def compose(self) -> ComposeResult:
        yield Words(id="sign")
        yield PromptInput(compact=True, max_length=_LONGEST)
        yield Words(id="state")

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self, kind: Kind, query: Query) -> None:
        self.kind, self.query_, self._before, self._back = kind, query, query, 0
        self.query_one("#sign", Words).update(line(f"{_SIGNS[kind]} "))
        self.add_class("-open")
        self._show()
        field = self.query_one(PromptInput)
        field.focus()
        field.select_all()

    def tell(self, state: str) -> None:
        """Show beside the text what it finds."""
        self.state = state
        self.query_one("#state", Words).update(line(state))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open and event.value != self.query_.text:
            self._change(replace(self.query_, text=event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        history = self._history[self.kind]
        if self.query_ and self.query_ not in history[-1:]:
            history.append(self.query_)
            del history[:-_KEPT]
        self._end(self.query_, kept=True)

    def on_prompt_input_asked(self, event: PromptInput.Asked) -> None:
        event.stop()
        query = self.query_
        match event.what:
            case "leave":
                self._end(self._before, kept=False)
            case "regex":
                self._change(replace(query, regex=not query.regex))
            case "case":
                self._change(replace(query, case=CASES[(CASES.index(query.case) + 1) % len(CASES)]))
            case "inverse" if self.kind == "filter":
                self._change(replace(query, inverse=not query.inverse))
            case "older":
                self._recall(1)
            case "newer":
                self._recall(-1)

    def _recall(self, steps: int) -> None:
        history = self._history[self.kind]
        back = max(0, min(len(history), self._back + steps))
        if history and back != self._back:
            self._back = back
            self._change(history[-back] if back else Query())
            self._show()

    def _change(self, query: Query) -> None:
        self.query_ = query
        self.post_message(self.Changed(self.kind, query))

    def take_back(self) -> None:
        """As it was before the prompt was opened."""
        self._end(self._before, kept=False)

    def _end(self, query: Query, *, kept: bool) -> None:
        self.remove_class("-open")
        self.post_message(self.Ended(self.kind, query, kept))

    def _show(self) -> None:
        field = self.query_one(PromptInput)
        field.value = self.query_.text
        field.cursor_position = len(field.value)
