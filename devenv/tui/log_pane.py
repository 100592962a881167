"""The log as a part of the screen: what is shown, in one line; the lines; and what is looked for in them.

It binds no keys: whoever owns it calls its actions, from one table for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from devenv.logs.lens import Lens
from devenv.logs.query import Query
from devenv.logs.store import MARK, LogStore
from devenv.model.events import LogLine
from devenv.tui.lines import Words, line
from devenv.tui.log_paint import in_words
from devenv.tui.log_prompt import LogPrompt
from devenv.tui.log_view import LogView


class LogPane(Vertical):
    """Lines come by `feed`. What leaves, to the clipboard or to a file, leaves by a message."""

    DEFAULT_CSS = """
    LogPane {
        & > #log-status {
            height: 1;
            background: $panel;
            color: $foreground;
            text-wrap: nowrap;
            text-overflow: ellipsis;
        }
        & > LogView { height: 1fr; }
    }
    """

    @dataclass
    class Copy(Message):
        text: str
        what: str
        """In words, for the one who asked: `visible lines`."""

    @dataclass
    class Save(Message):
        """All lines that pass the filter, made while one reads them; in the thread of the loop."""

        lines: Iterator[str]
        count: int

    def __init__(
        self,
        log_path: str = "",
        *,
        title: str = "logs",
        store: LogStore | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.store = LogStore() if store is None else store
        self.lens = Lens(self.store)
        self.view = LogView(self.store, self.lens)
        self.prompt = LogPrompt()
        self.title = title
        self.log_path = log_path
        """Where all lines are, also those that the store has dropped; may be empty."""
        self._jumps = False
        """The search has been confirmed, and goes to its match as soon as all are found."""
        self._status = Content()

    def compose(self) -> ComposeResult:
        yield Words(id="log-status")
        yield self.view
        yield self.prompt

    def on_mount(self) -> None:
        self._tell()

    @property
    def status(self) -> str:
        """What the line at the top says."""
        return self._status.plain

    def feed(self, lines: Iterable[LogLine]) -> None:
        """New lines; they are on the screen within a beat of 100 ms."""
        self.view.feed(lines)

    def flush(self) -> None:
        """Bring all that is to do to its end, now: for tests, and for the last lines."""
        self.view.flush()
        self._tell()

    def focus_lines(self) -> None:
        self.view.focus()

    # Where one looks. The lines have these moves themselves, for when they have the focus.

    def action_follow(self) -> None:
        """Follow the end, or stay here."""
        if self.view.following:
            self.view.pause()
        else:
            self.view.follow()

    def action_top(self) -> None:
        self.view.action_top()

    def action_bottom(self) -> None:
        self.view.action_bottom()

    def action_line_up(self) -> None:
        self.view.action_line_up()

    def action_line_down(self) -> None:
        self.view.action_line_down()

    def action_half_page_up(self) -> None:
        self.view.action_half_page_up()

    def action_half_page_down(self) -> None:
        self.view.action_half_page_down()

    def action_page_up(self) -> None:
        self.view.action_page_up()

    def action_page_down(self) -> None:
        self.view.action_page_down()

    def action_left(self) -> None:
        self.view.action_left()

    def action_right(self) -> None:
        self.view.action_right()

    # What is shown, and how.

    def action_wrap(self) -> None:
        self.view.wrap(not self.view.wraps)

    def action_timestamps(self) -> None:
        self.view.show_times(not self.view.times)

    def action_mark(self) -> None:
        """A line across the log, with the time."""
        self.feed([LogLine(MARK, "")])

    def action_clear(self) -> None:
        """Show only what comes from now on; nothing is lost, in the full log least of all."""
        self.view.take_all()
        self.lens.choose(since=self.store.end)
        self.view.touch()

    def action_source(self) -> None:
        """All sources, then one after the other."""
        names = ("", *self.store.sources)
        at = names.index(self.lens.choice.only) if self.lens.choice.only in names else 0
        self.lens.choose(only=names[(at + 1) % len(names)])
        self.view.touch()

    # Looking for something.

    def action_search(self) -> None:
        self.prompt.open("search", self.lens.search)
        self._tell()

    def action_filter(self) -> None:
        self.prompt.open("filter", self.lens.choice.filter)
        self._tell()

    def action_next_match(self) -> None:
        self._go(self.lens.next_match(self._place(first=True)))

    def action_previous_match(self) -> None:
        self._go(self.lens.previous_match(self._place(first=False)))

    def on_log_prompt_changed(self, event: LogPrompt.Changed) -> None:
        event.stop()
        self._apply(event.kind == "search", event.query)

    def on_log_prompt_ended(self, event: LogPrompt.Ended) -> None:
        event.stop()
        search = event.kind == "search"
        self._apply(search, event.query)
        self._jumps = search and event.kept and bool(event.query)
        self.view.focus()

    def on_log_scroll_changed(self, event: LogView.Changed) -> None:
        event.stop()
        if self._jumps and self.lens.settled:
            self._jumps = False
            # The latest match that could be seen: where one looks, and not where the log began.
            last = max((entry.seq for entry in self.view.visible_lines()), default=self.store.end)
            self._go(self.lens.previous_match(last + 1))
        self._tell()

    # What leaves.

    def action_copy(self) -> None:
        """What is selected; else the line that the search is at; else the last one on the screen."""
        selection = self.view.text_selection
        found = self.view.get_selection(selection) if selection else None
        if found and found[0]:
            self.post_message(self.Copy(found[0], "selection"))
            return
        seen = list(self.view.visible_lines())
        at = next((entry for entry in seen if entry.seq == self.lens.current), None)
        if at or seen:
            self.post_message(self.Copy((at or seen[-1]).text, "line of the match" if at else "last line"))

    def action_copy_visible(self) -> None:
        lines = [in_words(entry, self.view.times) for entry in self.view.visible_lines()]
        if lines:
            self.post_message(self.Copy("\n".join(lines), "visible lines"))

    def action_save(self) -> None:
        self.view.flush()
        seqs = self.lens.shown.seqs[:]
        found = (entry for seq in seqs if (entry := self.store.get(seq)) is not None)
        self.post_message(self.Save((in_words(entry, True) for entry in found), len(seqs)))

    def _apply(self, search: bool, query: Query) -> None:
        if search:
            self.lens.look_for(query)
            self.view.restyle()
        else:
            self.lens.choose(filter=query)
        self.view.touch()
        self._tell()

    def _place(self, *, first: bool) -> int:
        """Where the search goes on from: its match, where that is seen; else the edge of the screen."""
        seen = [entry.seq for entry in self.view.visible_lines()]
        if self.lens.current is not None and self.lens.current in seen:
            return self.lens.current
        if not seen:
            return 0
        return seen[0] - 1 if first else seen[-1] + 1

    def _go(self, seq: int | None) -> None:
        if seq is not None:
            self.view.reveal(seq)

    def _tell(self) -> None:
        """Bring the status line up to date, and what the prompt says beside its text."""
        if not self.is_mounted:
            return
        status = line(Content("  ").join(self._parts()))
        if status != self._status:
            self._status = status
            self.query_one("#log-status", Words).update(status, layout=False)
        if self.prompt.is_open:
            self.prompt.tell(self._found())

    def _parts(self) -> Iterator[Content]:
        """What is most urgent comes first: a narrow screen cuts the rest."""
        view, lens = self.view, self.lens
        if view.following:
            yield Content.styled(" following ", "dim")
        else:
            new = f" · {view.new:,} new" if view.new else ""
            yield Content.styled(f" paused{new} ", "bold reverse")
        if lens.choice.filter:
            without = "without " if lens.choice.filter.inverse else ""
            looked_for = f"& {without}{lens.choice.filter.text}"
            yield Content.styled(looked_for, "bold") + Content(f" · {self._filtered()}")
        if lens.search:
            yield Content.styled(f"/ {lens.search.text}", "bold") + Content(f" · {self._position()}")
        if self.store.dropped:
            whole = f" · whole log: {self.log_path}" if self.log_path else ""
            yield Content(f"oldest {self.store.dropped:,} dropped{whole}")
        yield Content(f"{self.title}: {lens.choice.only or 'all sources'}")
        if view.wraps:
            yield Content.styled("wrapped", "dim")
        if lens.choice.since:
            yield Content.styled("cleared", "dim")

    def _found(self) -> str:
        search = self.prompt.kind == "search"
        query = self.lens.search if search else self.lens.choice.filter
        words = [query.problem or query.words]
        if search and query:
            words.append(self._position())
        elif not search:
            words.append(f"filter: {self._filtered()}")
        return " · ".join(words)

    def _filtered(self) -> str:
        return f"{self.lens.lines:,} of {len(self.store):,} lines"

    def _position(self) -> str:
        at, count = self.lens.position
        return f"{at:,}/{count:,}{'' if self.lens.settled else '…'}"
