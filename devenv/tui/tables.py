"""Commands that devenv ran, and receipts of past upgrades, a row each."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from rich.text import Text
from textual.message import Message
from textual.widgets import DataTable

from devenv.model.receipt import Receipt
from devenv.model.state import Command, State
from devenv.model.words import name, took
from devenv.tui.lines import cell


class Commands(DataTable[Text]):
    """Each with its start, exit code and duration; those that only read on request."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self.with_reads = False
        self._shown: tuple[Command, ...] = ()

    def on_mount(self) -> None:
        self.add_column("began", key="began")
        self.add_column("exit", key="exit")
        self.add_column("took", key="took")
        self.add_column("command", key="command")

    def show(self, state: State) -> None:
        """Rows that are new come at the end, and the cursor stays unless it was there."""
        wanted = tuple(one for one in state.commands if self.with_reads or not one.reads)
        if wanted == self._shown:
            return
        at_end = self.cursor_row >= len(self._shown) - 1
        known = {one.run: one for one in self._shown}
        for gone in known.keys() - {one.run for one in wanted}:
            self.remove_row(str(gone))
        for one in wanted:
            if one.run not in known:
                self.add_row(*_cells(one), key=str(one.run))
            elif one != known[one.run]:
                for column, cell in zip(("began", "exit", "took", "command"), _cells(one), strict=True):
                    self.update_cell(str(one.run), column, cell, update_width=True)
        self._shown = wanted
        if at_end and wanted:
            self.move_cursor(row=len(wanted) - 1)

    def toggle_reads(self, state: State) -> None:
        self.with_reads = not self.with_reads
        self._shown = ()
        self.clear()
        self.show(state)

    @property
    def chosen(self) -> str:
        """The command that the cursor is on, as a shell takes it; empty where there is none."""
        if not 0 <= self.cursor_row < len(self._shown):
            return ""
        return shlex.join(self._shown[self.cursor_row].argv)


def _cells(one: Command) -> tuple[Text, Text, Text, Text]:
    if not one.ended:
        code = Text("▸", "dim")
    elif one.code is None:
        code = Text("○ ended", "dim")
    else:
        code = Text("✓ 0") if one.code == 0 else Text(f"✗ {one.code}", "bold")
    return (
        Text(time.strftime("%H:%M:%S", time.localtime(one.started))),
        code,
        Text("" if one.seconds is None else took(one.seconds)),
        cell(shlex.join(one.argv)),
    )


class Receipts(DataTable[Text]):
    class Opened(Message):
        def __init__(self, path: Path, receipt: Receipt) -> None:
            super().__init__()
            self.path = path
            self.receipt = receipt

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self._kept: list[tuple[Path, Receipt]] = []

    def on_mount(self) -> None:
        self.add_columns("when", "from", "to", "content", "closed", "probe", "rows")

    def show(self, kept: list[tuple[Path, Receipt]]) -> None:
        """Newest first."""
        newest = kept[::-1]
        if [path for path, _ in newest] == [path for path, _ in self._kept]:
            return
        self._kept = newest
        self.clear()
        for _, one in newest:
            verdict = Text("✓ verified") if one.verified else Text("✗ NOT verified", "bold reverse")
            rows = sum(table.after or 0 for table in one.tables)
            self.add_row(
                Text(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.time))),
                cell(name(one.old.release)),
                cell(name(one.new.release)),
                verdict,
                Text("-" if one.closed_ms is None else f"{one.closed_ms:.0f} ms"),
                Text(f"{one.probe['acknowledged']} writes" if one.probe else "-"),
                Text(f"{rows:,}"),
            )

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if 0 <= event.cursor_row < len(self._kept):
            self.post_message(self.Opened(*self._kept[event.cursor_row]))
