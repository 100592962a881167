"""The one screen: a line at the top, what is chosen, the logs below or beside it, keys at the bottom."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.events import Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Static

from devenv.model.stack import Stack
from devenv.model.state import State
from devenv.tui.dialogs import NEEDED
from devenv.tui.handover import HandOver
from devenv.tui.keybar import KeyBar
from devenv.tui.log_pane import LogPane
from devenv.tui.panels import Clock, Failure, Header, Instances, Notices, Panel, Steps
from devenv.tui.tables import Commands, Receipts

View = Literal["stack", "upgrade", "commands", "receipts", "logs"]


class Main(Screen[None]):
    CSS = """
    Main { layout: vertical; }
    #body { height: 1fr; layout: vertical; }
    #upper { height: auto; max-height: 60%; }
    #upper > #stack { height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
    #instances { margin-top: 1; }
    Main.-view-upgrade #upper, Main.-view-commands #upper, Main.-view-receipts #upper {
        height: 3fr; max-height: 100%;
    }
    LogPane { height: 2fr; min-height: 4; }
    Main.-view-stack LogPane { height: 1fr; }
    Main.-view-upgrade LogPane { height: 4; }
    Main.-view-upgrade.-tall LogPane { height: 2fr; }
    Main.-view-logs #upper { display: none; }
    Main.-wide #body { layout: horizontal; }
    Main.-wide #upper { width: 1fr; height: 100%; max-height: 100%; }
    Main.-wide LogPane { width: 1fr; height: 100%; }
    #small { display: none; height: 1fr; content-align: center middle; text-align: center; }
    Main.-small > * { display: none; }
    Main.-small > #small { display: block; }
    Main.-small ToastRack, Main.-small Toast { visibility: hidden; }
    """
    # A screen has these of its own, which would go before those of the table.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.act('move next')", show=False),
        Binding("shift+tab", "app.act('move previous')", show=False),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]  # noqa: RUF012
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012 - Textual's name

    def __init__(self, stack: Stack, architecture: str, log_path: str, *, clock: Clock) -> None:
        super().__init__()
        self._stack, self._architecture = stack, architecture
        self._clock = clock
        self.view: View = "stack"
        self.logs = LogPane(log_path=log_path, id="logs")
        self.bar = KeyBar(id="keys")
        self.commands = Commands(id="commands")
        self.receipts = Receipts(id="receipts")

    def compose(self) -> ComposeResult:
        yield Header(self._stack, self._architecture, clock=self._clock)
        with Container(id="body"):
            with ContentSwitcher(initial="stack", id="upper"):
                with VerticalScroll(id="stack"):
                    yield Steps(id="steps", clock=self._clock)
                    yield Notices(id="notices", clock=self._clock)
                    yield Instances(id="instances", clock=self._clock)
                yield HandOver(id="upgrade", clock=self._clock)
                yield self.commands
                yield self.receipts
            yield self.logs
        yield Failure(id="failure", clock=self._clock)
        yield self.bar
        yield Static(id="small", markup=False)

    class Ready(Message):
        """The first picture is on the screen."""

    def on_mount(self) -> None:
        self.add_class("-view-stack")
        self.show(State())
        self.call_after_refresh(self.post_message, self.Ready())

    def on_resize(self, event: Resize) -> None:
        width, height = event.size
        small = width < NEEDED[0] or height < NEEDED[1]
        self.set_class(small, "-small")
        if small:
            needed = f"{width}x{height} is too small:\n{NEEDED[0]}x{NEEDED[1]} is needed."
            self.query_one("#small", Static).update(f"{needed}\nWhat runs goes on; q leaves.")

    @property
    def _upper(self) -> ContentSwitcher:
        return self.query_one("#upper", ContentSwitcher)

    @property
    def too_small(self) -> bool:
        return self.has_class("-small")

    def show_view(self, view: View) -> None:
        """Choose what is above the logs; `logs` gives them all the room."""
        self.remove_class(f"-view-{self.view}", update=False).add_class(f"-view-{view}", update=False)
        # What is below these two does not look different in another view; to find that out takes long.
        self.app.stylesheet.update_nodes([self._upper, self.logs])
        self.view = view
        self.query_one(Header).view = view
        if view == "logs":
            self.logs.view.focus()
            return
        self._upper.current = view
        self.query_one(f"#{view}").focus()

    def show(self, state: State) -> None:
        """Draw what has changed, of what can be seen."""
        for panel in self.query(Panel):
            panel.show(state)
        if self.view == "commands":
            self.commands.show(state)
