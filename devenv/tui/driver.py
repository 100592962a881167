"""The terminal as it is at its worst: it stops reading, it goes away, it is taken for a while.

Textual's own driver waits for it in the event loop, in which an upgrade is at work here, reads the end of
its input for ever, and starts a second time when it is continued without having been stopped.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

_MOST = 1 << 20
"""Characters that wait for a terminal: some whole pictures. Beyond that it gets a new one when it is back."""
_LAST_WORDS = 1.0
"""Seconds in which a terminal must take what restores it."""


class Output(threading.Thread):
    """Writes what it is given, in order. Whoever gives never waits, and never fails."""

    def __init__(
        self, file: int, encoding: str, *, gone: Callable[[], None], back: Callable[[], None]
    ) -> None:
        super().__init__(name="devenv-output", daemon=True)
        self._file, self._encoding = file, encoding
        self._tell_gone, self._tell_back = gone, back
        self._waiting: deque[str] = deque()
        self._size = 0
        self._change = threading.Condition()
        self._behind = self._gone = self._stopping = False

    def give(self, text: str) -> None:
        with self._change:
            if self._gone or self._behind:
                return
            self._waiting.append(text)
            self._size += len(text)
            if self._size > _MOST and len(self._waiting) > 1:
                # Parts of a picture are worth nothing by the time that they could be read.
                self._forget()
                self._behind = True
            self._change.notify()

    def only_last_words(self) -> None:
        """What comes now restores the terminal: it is written whatever was left out before."""
        with self._change:
            self._behind = False

    def finish(self) -> None:
        """Write what waits, if the terminal takes it."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self.join(_LAST_WORDS)

    def run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._behind or self._stopping)
                if self._behind:
                    self._behind = False
                    self._tell_back()
                    continue
                text = "".join(self._waiting)
                self._forget()
            if not text:
                return
            try:
                self._write(text.encode(self._encoding, "replace"))
            except OSError:
                self._gone = True
                self._tell_gone()
                return

    def _forget(self) -> None:
        self._waiting.clear()
        self._size = 0

    def _write(self, left: bytes) -> None:
        while left:
            try:
                left = left[os.write(self._file, left) :]
            except BlockingIOError:
                # Another program on this terminal has made it so for all.
                select.select([], [self._file], [])


class Terminal(LinuxDriver):
    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._output: Output | None = None
        self._shown = self._suspending = False

    # Output

    def write(self, data: str) -> None:
        if self._output is not None:
            self._output.give(data)

    def _get_terminal_size(self) -> tuple[int, int]:
        """The terminal's own; COLUMNS and LINES, where they are exported, never change."""
        for file in (self._file, sys.__stdin__):
            with suppress(OSError, ValueError, AttributeError):
                size = os.get_terminal_size(file.fileno())  # type: ignore[union-attr]
                if size.columns and size.lines:
                    return size.columns, size.lines
        return super()._get_terminal_size()

    def start_application_mode(self) -> None:
        if self._shown:
            return
        assert self._file is not None  # noqa: S101 - the screen is only for a terminal
        output = Output(self._file.fileno(), self._file.encoding, gone=self._leave, back=self._paint)
        self._output, before = output, self._writer_thread
        output.start()
        super().start_application_mode()  # type: ignore[no-untyped-call]
        # It also returns where the terminal is another program's now.
        self._shown = self._writer_thread is not before

    def stop_application_mode(self) -> None:
        self._shown = False
        if self._output is not None:
            self._output.only_last_words()
        super().stop_application_mode()

    def suspend_application_mode(self) -> None:
        self._suspending = True
        super().suspend_application_mode()
        self._suspending = False

    def close(self) -> None:
        super().close()
        if self._output is not None:
            self._output.finish()
            self._output = None
        if not self._suspending:
            # Stopped and continued from now on, there is no screen to be brought back.
            for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
                signal.signal(number, signal.SIG_DFL)

    def _leave(self) -> None:
        """There is no terminal any more."""
        self._in_the_loop(self._app.exit)

    def _paint(self) -> None:
        self._in_the_loop(lambda: self._app.refresh(layout=True))

    def _in_the_loop(self, work: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # it is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(work)

    # Input

    def run_input_thread(self) -> None:
        parser = XTermParser(self._debug)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        while not self.exit_event.is_set():
            if select.select([self.fileno], [], [], 0.1)[0]:
                try:
                    read = os.read(self.fileno, 1 << 12)
                except OSError:
                    read = b""
                if not read:
                    self._leave()
                    return
                for event in parser.feed(decode(read)):
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)
