"""The application: events in, state, screen; keys in, intents out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode

from devenv.engine.desk import Desk
from devenv.engine.outcome import write_trace
from devenv.logs import harmless
from devenv.model import events as e
from devenv.model.actions import ACTIONS, action, shown
from devenv.model.answers import in_words
from devenv.model.preferences import Preferences
from devenv.model.state import State, apply
from devenv.tui import dialogs, keybar
from devenv.tui.driver import Terminal
from devenv.tui.intents import INTENTS, show_receipt
from devenv.tui.lines import Lines
from devenv.tui.log_pane import LogPane
from devenv.tui.main import Main, View
from devenv.tui.palette import Actions
from devenv.tui.panels import Clock
from devenv.tui.tables import Commands, Receipts
from devenv.tui.theme import THEMES

_DRAW = 0.05
"""Seconds between two looks at what is new: more often than an eye follows is work for nothing."""
_LONGEST_TOLD = 400
"""Characters of a toast: it hides what is below it."""
_BUSY_TICK = 0.2
_IDLE_TICK = 15.0
"""Only ages change then."""


def binding_id(name: str) -> str:
    """Of an action, for a keymap of one's own."""
    return name.replace(" ", "-")


class DevenvApp(App[None]):
    TITLE = "devenv"
    CSS = "SearchIcon { display: none; }"  # an emoji, which many a terminal has no glyph for
    COMMANDS: ClassVar[set[Any]] = {Actions}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            one.keys,
            f"act({one.name!r})",
            one.title,
            id=binding_id(one.name),
            tooltip=one.help,
            show=False,
        )
        for one in ACTIONS
        if one.keys
    ]
    # Also over a question and in a prompt.
    BINDINGS.append(
        Binding(
            "ctrl+q",
            "act('quit')",
            "Quit",
            id="quit-always",
            show=False,
            priority=True,
            tooltip=action("quit").help,
        )
    )

    def __init__(
        self,
        desk: Desk,
        preferences: Preferences | None = None,
        *,
        architecture: str = "",
        paths: Mapping[str, str] | None = None,
        theme: str = "",
        first: str = "up",
        clock: Clock = time.time,
    ) -> None:
        """`first` is the action that is begun once the first picture is there; empty: none."""
        super().__init__(driver_class=Terminal)
        self.desk = desk
        self.preferences = preferences or Preferences()
        self.paths = dict(paths or {})
        self.state = State()
        self.main = Main(desk.stack, architecture, str(desk.archive.path), clock=clock)
        self.crash: Exception | None = None
        self._first = first
        self._news: list[e.Event] = []
        self._drawing = False
        self._ticking: asyncio.TimerHandle | None = None
        for one in THEMES:
            self.register_theme(one)
        wanted = theme or self.preferences.theme
        self._no_theme = "" if wanted in self.available_themes else wanted
        self.theme = THEMES[0].name if self._no_theme else wanted
        if not self.preferences.motion:
            self.animation_level = "none"

    @property
    def keys(self) -> dict[str, str]:
        """The keys in effect, by the name of the action."""
        return {one.name: self.preferences.keys.get(one.name, one.keys) for one in ACTIONS}

    def on_mount(self) -> None:
        self.push_screen(self.main)
        self.set_keymap({binding_id(name): keys for name, keys in self.preferences.keys.items()})
        self.desk.listen(self.take)

    @on(Main.Ready)
    def _begin_first(self) -> None:
        """The first picture is on the screen: from here on the engine may be asked."""
        self.desk.watch(self.main.logs.feed)
        self._draw()
        if self._no_theme:
            self.tell(f"there is no theme {self._no_theme}; ^p and theme show those there are", wrong=True)
        if self._first:
            self.begin(self._first)

    # Events in

    def take(self, event: e.Event) -> None:
        """From the desk, in the same loop. Drawn soon, with what comes meanwhile."""
        self.state = apply(self.state, event)
        self._news.append(event)
        if not self._drawing and self.is_running:
            self._drawing = True
            self._soon(_DRAW, self._draw)

    def _draw(self) -> None:
        self._drawing = False
        if not self.is_running:
            return  # It is being left, and its parts go one by one.
        news, self._news = self._news, []
        for event in news:
            self._react(event)
        self._redraw()

    def _redraw(self) -> None:
        """What has changed with the state or the clock."""
        if not (self.is_running and self.main.is_mounted):
            return
        self.main.show(self.state)
        self.main.bar.show([action(name) for name in self._bar()], self.keys, self.state)
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = self._soon(_BUSY_TICK if self.state.busy else _IDLE_TICK, self._redraw)

    def _soon(self, seconds: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        """Textual's own timer skips what it comes late for, also where that was the only time."""
        return asyncio.get_running_loop().call_later(seconds, self.call_next, work)

    def _bar(self) -> Sequence[str]:
        if self.main.view == "logs" or self.main.logs.has_focus_within:
            return keybar.LOGS
        if self.state.busy:
            return keybar.BUSY
        return keybar.STACK if self.state.owner and not self.state.lost else keybar.NOTHING

    def _react(self, event: e.Event) -> None:
        match event:
            case e.ActionStarted(action=("upgrade" | "rollback")):
                self.show_view("upgrade")
            case e.ActionStarted(action=("up" | "down" | "reset")):
                self.show_view("stack")
            case e.ActionEnded():
                self._ended(event)
            case e.Notice():
                self.tell(event.text, wrong=event.level == "warning")
            case e.Answer():
                self._answered(event)
            case e.ReceiptWritten() if self.main.view == "receipts":
                self.main.receipts.show(self.desk.receipts())
            case _:
                pass

    def _ended(self, event: e.ActionEnded) -> None:
        """Success passes by as a toast; an error stays on the screen."""
        if event.exit_code == 0:
            self.tell(f"{event.action} is done{f'   {event.url}' if event.url else ''}")
        elif event.exit_code == 130:
            self.tell(f"{event.action} was cancelled", wrong=True)

    def _answered(self, answer: e.Answer) -> None:
        if answer.about in ("snapshot", "restore", "open"):
            self.tell(" ".join(in_words(answer)))
        elif answer.about == "doctor" and not (self.state.busy and self.state.action == "doctor"):
            self._examined(answer)
        elif answer.about in ("verify", "status", "snapshots", "recover"):
            self.show_text(answer.about.capitalize(), in_words(answer))

    def _examined(self, answer: e.Answer) -> None:
        """What mends is named before it is done: it may install packages."""
        steps = answer.data.get("mends") or ()
        offers = {"f": f"mends: {', '.join(step['title'] for step in steps)}"} if steps else None

        def confirmed(sure: bool | None) -> None:
            if sure:
                self.begin("doctor", fix=True)

        def ask() -> None:
            text = in_words(e.Answer("mends", {"steps": steps}))
            self.push_screen(dialogs.Confirm("Mend", text, "Yes, do this"), confirmed)

        self.show_text("Doctor", in_words(answer), offers, {"f": ask})

    # Keys in

    def action_act(self, name: str) -> None:
        self.act(name)

    def act(self, name: str) -> None:
        """Do it, or say why not."""
        if self.main.too_small and name != "quit":
            return
        if why := action(name).why_not(self.state):
            self.tell(f"{action(name).title}: {why}", wrong=True)
            return
        INTENTS[name](self)
        self._redraw()

    def show_view(self, view: View) -> None:
        if view == "receipts":
            self.main.receipts.show(self.desk.receipts())
        self.main.show_view(view)

    def begin(self, name: str, /, **options: object) -> None:
        if not self.desk.start(name, **options):
            self.tell(f"{action(name).title}: {self.state.action} is at work", wrong=True)

    def focused_chain(self) -> Iterator[DOMNode]:
        node: DOMNode | None = self.main.focused
        while node is not None and node is not self.main:
            yield node
            node = node.parent

    def tell(self, text: str, *, wrong: bool = False) -> None:
        text = harmless.line(text, _LONGEST_TOLD)
        # Markup in the words of a program is not ours to interpret.
        self.notify(text, severity="warning" if wrong else "information", markup=False)

    def show_text(
        self,
        title: str,
        text: Lines,
        offers: dict[str, str] | None = None,
        does: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """`offers` are keys with the words of what they do, `does` is that."""
        dialog = dialogs.Text(title, text, offers)

        def answered(key: str | None) -> None:
            if key == "copy":
                self.copy(dialog.plain, title.lower())
            elif does and key is not None and key in does:
                does[key]()

        self.push_screen(dialog, answered)

    def copy(self, text: str, what: str) -> None:
        """To the terminal's clipboard, and to the machine's where there is a program for it."""
        # Also what no encoding has, as in the name of a file.
        text = text.encode(errors="replace").decode()
        self.copy_to_clipboard(text)
        self.run_worker(self.desk.copy(text), exit_on_error=False)
        self.tell(f"copied: {what}, {len(text.splitlines())} lines")

    @on(LogPane.Copy)
    def _copied(self, message: LogPane.Copy) -> None:
        self.copy(message.text, message.what)

    @on(LogPane.Save)
    def _saved(self, message: LogPane.Save) -> None:
        path = self.desk.archive.path.with_name(time.strftime("shown-%Y%m%dT%H%M%S.txt"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", errors="replace") as file:
                count = sum(1 for line in message.lines if file.write(f"{line}\n"))
        except OSError as error:
            self.tell(f"the lines cannot be saved: {path}: {error.strerror}", wrong=True)
            return
        self.tell(f"saved {count} lines: {path}")

    @on(Commands.RowSelected)
    def _command_chosen(self, event: Commands.RowSelected) -> None:
        if isinstance(event.data_table, Commands):
            self.act("copy command")

    @on(Receipts.Opened)
    def _receipt_opened(self, event: Receipts.Opened) -> None:
        show_receipt(self, event.path, event.receipt)

    # The end

    async def action_quit(self) -> None:
        self.act("quit")

    def action_help_quit(self) -> None:
        """ctrl+c where nothing is selected, which elsewhere ends a program."""
        self.tell(f"{shown(self.keys['quit'])} leaves, {shown(self.keys['cancel'])} cancels what is at work")

    def leave(self) -> None:
        """Ask only where something is at work."""
        if not self.desk.busy:
            self.exit()
            return
        if self.preferences.quit != "ask":
            self._leave_how(self.preferences.quit)
            return
        options = [
            ("stay", "stay here"),
            ("leave", f"leave the screen; {self.state.action} goes on to its end in this terminal"),
            ("cancel", f"cancel {self.state.action}, put things in order, and leave"),
        ]
        text = f"{self.state.action} is at work. The stack itself goes on in any case."
        self.push_screen(dialogs.Choose("Quit", options, text=[text]), self._leave_how)

    def _leave_how(self, how: str | None) -> None:
        if how == "cancel":
            self.desk.cancel()
        if how in ("leave", "cancel"):
            self.exit()

    def summary(self) -> list[str]:
        """Where things stand, once this is left."""
        lines = []
        if self.state.owner is not None:
            release = self.state.owner.release
            lines.append(f"{release} goes on at {self.desk.stack.url}; to stop it: devenv down")
        if self.state.receipt is not None:
            receipt = self.state.receipt.receipt
            word = "content verified" if receipt["verified"] else "content NOT verified"
            way = f"{receipt['old']['release']} → {receipt['new']['release']}"
            lines.append(f"{way}: {word}; {self.state.receipt.path}")
        if self.state.failure is not None:
            failed = self.state.failure
            says = f"; the instance says: {failed.instance_says}" if failed.instance_says else ""
            lines.append(f"last error: {failed.what}: {failed.why}{says}; next: {failed.next}")
        return lines

    def _handle_exception(self, error: Exception) -> None:
        """A mistake of ours: the trace goes to a file, and what is at work goes on to its end."""
        self.crash = self.crash or error
        self.exit(return_code=1)

    def write_crash(self, path: Path) -> None:
        # A disk that refuses must not hide what happened.
        with suppress(OSError):
            if self.crash is not None:
                write_trace(self.crash, path)
