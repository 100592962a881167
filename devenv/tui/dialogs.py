"""What asks a question or shows a text over the rest. Each shows its keys; esc leaves things as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Label, OptionList
from textual.widgets.option_list import Option

from devenv.model.plan import Plan
from devenv.model.probe import MOST_WRITERS
from devenv.model.stack import RELEASE
from devenv.model.words import name
from devenv.tui.lines import Field, Lines, Words, line, lines

T = TypeVar("T")

NEEDED = (60, 16)
"""Columns and lines below which nothing of use can be shown."""


class Dialog(ModalScreen[T]):
    """A frame with a title, and a last line that tells the keys."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; background: $surface; padding: 0 1;
        overflow-y: auto; scrollbar-size-vertical: 1;
    }
    Dialog ToastRack, Dialog Toast { visibility: hidden; }
    Dialog .keys { color: $text-muted; height: 1; margin-top: 1; }
    Dialog Horizontal { height: auto; }
    Dialog Button { margin: 1 1 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave", show=False)]
    keys = "esc goes back"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical() as frame:
            frame.border_title = self._title
            yield from self.content()
            yield Words([self.keys], classes="keys")

    def content(self) -> ComposeResult:
        raise NotImplementedError

    def action_leave(self) -> None:
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """Names exactly what happens. The default is to leave it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n", "answer(False)", show=False),
        Binding("left,h,right,l,up,k,down,j", "other", show=False),
    ]
    keys = "y yes   n, esc no   ← → and enter choose"

    def __init__(self, title: str, text: Lines, yes: str, *, no: str = "No, leave it") -> None:
        super().__init__(title)
        self._text, self._yes, self._no = text, yes, no

    def content(self) -> ComposeResult:
        yield Words(self._text)
        with Horizontal():
            yield Button(self._no, id="no", compact=True)
            yield Button(self._yes, id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def action_other(self) -> None:
        self.focus_next(Button)

    def action_leave(self) -> None:
        self.dismiss(False)

    def action_answer(self, answer: bool) -> None:
        # What one says yes to must be seen whole.
        self.dismiss(answer and self.size.width >= NEEDED[0] and self.size.height >= NEEDED[1])

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an upgrade dialogue was left with."""

    release: str
    writers: int


class Tick(Checkbox, inherit_bindings=False):
    """Toggled by space alone: enter begins, wherever one is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "toggle_button", show=False)]

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]  # noqa: N802 - Textual's name
        """Where Textual tells by the colour of an X, which is always there."""
        return "X" if self.value else " "


class Upgrade(Dialog[Wanted]):
    """The plan, the release and the probe."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "begin", show=False)]
    keys = "enter begins   tab next field   space toggles the probe   esc goes back"

    def __init__(self, plan: Plan, current: str, release: str, writers: int, *, back: bool = False) -> None:
        super().__init__("Rollback" if back else "Upgrade")
        self._plan, self._current, self._release, self._writers = plan, current, release, writers

    def content(self) -> ComposeResult:
        current = name(self._current)
        yield Words(
            [
                f"php-fpm has {current}. Each step begins when the one before it is proven;",
                "until the hand-over is complete, the old instance can still go on.",
                "",
                *(f"  {number} {step.title}" for number, step in enumerate(self._plan.steps, 1)),
            ]
        )
        yield Label("", id="wrong", markup=False)
        with Horizontal():
            yield Label("to release ", id="to")
            yield Field(self._release, id="release", compact=True, select_on_focus=True)
        with Horizontal():
            yield Tick("probe: write through the site meanwhile. writers: ", True, id="probe", compact=True)
            yield Field(str(self._writers), id="writers", restrict=r"[0-9]*", compact=True, max_length=3)
        with Horizontal():
            yield Button("Begin", id="begin", variant="primary", compact=True)
            yield Button("Leave", id="leave", compact=True)

    def on_mount(self) -> None:
        self.query_one("#release", Input).focus()

    @on(Button.Pressed, "#leave")
    def _left(self) -> None:
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#begin")
    def action_begin(self) -> None:
        release = self.query_one("#release", Input).value.strip()
        probes = self.query_one("#probe", Checkbox).value
        writers = int(self.query_one("#writers", Input).value or 0) if probes else 0
        wrong = ""
        if not RELEASE.match(release):
            wrong = "a release is a tag: letters, digits, dots and dashes"
        elif probes and not 1 <= writers <= MOST_WRITERS:
            wrong = f"from 1 to {MOST_WRITERS} writers"
        if wrong:
            self.query_one("#wrong", Label).update(f"✗ {wrong}")
            return
        self.dismiss(Wanted(release, writers))


class Choose(Dialog[str]):
    """One of several, by its id."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('first')", show=False),
        Binding("G", "move('last')", show=False),
        Binding("ctrl+d", "move('page_down')", show=False),
        Binding("ctrl+u", "move('page_up')", show=False),
    ]
    DEFAULT_CSS = """
    Choose OptionList { height: auto; max-height: 14; margin-top: 1; }
    Choose OptionList, Choose OptionList:focus { border: none; padding: 0; background: $surface; }
    """
    keys = "↑ ↓ move   enter chooses   esc goes back"

    def __init__(self, title: str, options: Sequence[tuple[str, str]], *, text: Lines = ()) -> None:
        super().__init__(title)
        self._options, self._text = options, text

    def content(self) -> ComposeResult:
        if self._text:
            yield Words(self._text)
        yield OptionList(*(Option(line(words), id=key) for key, words in self._options))

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def action_move(self, how: str) -> None:
        getattr(self.query_one(OptionList), f"action_{how}")()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)


class Text(Dialog[str]):
    """A text to read. `offers`: a key, and the words of what it does; the answer is the key."""

    DEFAULT_CSS = """
    Text > Vertical { width: 110; }
    Text VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,q", "leave", show=False),
        Binding("j,down", "move('scroll_down')", show=False),
        Binding("k,up", "move('scroll_up')", show=False),
        Binding("ctrl+d,pagedown,space", "move('page_down')", show=False),
        Binding("ctrl+u,pageup", "move('page_up')", show=False),
        Binding("g,home", "move('scroll_home')", show=False),
        Binding("G,end", "move('scroll_end')", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, title: str, text: Lines, offers: dict[str, str] | None = None) -> None:
        super().__init__(title)
        self._text = text
        self._offers = offers or {}
        words = "".join(f"{key} {what}   " for key, what in self._offers.items())
        self.keys = f"{words}↑ ↓ scroll   y copies   esc goes back"
        for key in self._offers:
            self._bindings.bind(key, f"offer({key!r})", show=False)

    def content(self) -> ComposeResult:
        with VerticalScroll():
            yield Words(self._text)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def on_resize(self, event: Resize) -> None:
        # What the frame and the line of the keys leave, so that these are always to be seen.
        self.query_one(VerticalScroll).styles.max_height = max(1, event.size.height - 4)

    def action_offer(self, key: str) -> None:
        self.dismiss(key)

    def action_copy(self) -> None:
        self.dismiss("copy")

    def action_move(self, how: str) -> None:
        scroll = self.query_one(VerticalScroll)
        moves = {"page_down": "scroll_page_down", "page_up": "scroll_page_up"}
        getattr(scroll, moves.get(how, how))(animate=False)

    @property
    def plain(self) -> str:
        return lines(self._text).plain
