"""The front end without a terminal interface: talk on stderr, answers on stdout."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import textwrap

from devenv.cli.output import write
from devenv.logs import ansi, harmless
from devenv.model import events as e
from devenv.model.answers import in_words
from devenv.model.commands import only_reads
from devenv.model.course import simple
from devenv.model.receipt import from_json, words
from devenv.model.words import GLYPHS, quoted

_COLOURS = {"✓": "32", "✗": "31", "!": "33", "·": "2", "○": "33", "▸": "36", "$": "2"}
_SLOW = 1.0
"""A step that takes longer is announced while it runs."""
_COUNTS = 2.0
"""Seconds between two lines of the probe."""


class Plain:
    """Lines as things happen; nothing moves, so it reads the same in a log."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._colour = terminal and "NO_COLOR" not in os.environ
        self._pending: dict[str, asyncio.TimerHandle] = {}
        self._counted_at = 0.0

    def __call__(self, event: e.Event) -> None:
        match event:
            case e.StepStarted():
                self._announce(event)
            case e.StepNoted() if event.text:
                self._say("▸", event.text, indent=4)
            case e.StepEnded():
                self._ended(event)
            case e.BuildStage():
                self._stage(event)
            case e.CommandStarted():
                if self._verbose or not only_reads(event.argv):
                    self._say("$", shlex.join(event.argv), indent=4)
            case e.PhaseReached():
                who = f"{event.side} {event.release}  {event.phase}"
                self._say("▸", f"{event.ms:8.1f} ms  {who}  {simple(event.details)}".rstrip(), indent=4)
            case e.ProbeCounted():
                self._counted(event)
            case e.Notice():
                self._say("!" if event.level == "warning" else "▸", event.text)
            case e.ReceiptWritten():
                self._print(*words(from_json(event.receipt)))
                self._say("▸", f"receipt: {event.path}")
            case e.Answer():
                self._print(*in_words(event))
            case e.LogLine():
                text = ansi.clean(event.text).text
                self._print(f"{quoted(event.source)} | {text}", longest=2 * ansi.LONGEST)
            case e.ActionFailed():
                self._failed(event)
            case e.ActionEnded():
                self._over(event)
            case e.EngineLost():
                self._say("!", f"{event.what}: {event.why}")
            case (
                e.StepNoted()
                | e.StepWaiting()
                | e.CommandEnded()
                | e.InstancesSeen()
                | e.ActionStarted()
                | e.ImagesCompared()
            ):
                pass

    def _announce(self, event: e.StepStarted) -> None:
        loop = asyncio.get_running_loop()
        self._pending[event.step] = loop.call_later(_SLOW, self._say, "▸", f"{event.title} …")

    def _ended(self, event: e.StepEnded) -> None:
        if pending := self._pending.pop(event.step, None):
            pending.cancel()
        self._say(GLYPHS[event.result], f"{event.title:40} {event.seconds:6.1f} s  {event.note}".rstrip())

    def _stage(self, event: e.BuildStage) -> None:
        """What a person waited for; all of it when asked, and in the build's own log."""
        if not self._verbose and event.state != "failed" and (event.seconds or 0) < _SLOW:
            return
        took = "" if event.seconds is None else f"{event.seconds:6.1f} s  "
        stage = textwrap.shorten(event.stage, 72, placeholder=" …")
        whose = f"{event.service} {event.release}".rstrip()
        self._say("▸", f"{took}{whose}: {stage} {event.state}", indent=4)

    def _counted(self, event: e.ProbeCounted) -> None:
        counters = event.counters
        if event.time - self._counted_at >= _COUNTS or "lost" in counters:
            self._counted_at = event.time
            words_ = f"probe: acknowledged {counters['acknowledged']}, failed {counters['failed']}"
            self._say("▸", words_, indent=4)

    def _failed(self, event: e.ActionFailed) -> None:
        self._say("✗", event.what)
        self._say(" ", f"why:  {event.why}")
        if event.instance_says:
            self._say(" ", f"the instance says: {event.instance_says}")
        self._say(" ", f"next: {event.next}")
        for line in harmless.tail(event.log_tail):
            self._say(" ", line, indent=2)

    def _over(self, event: e.ActionEnded) -> None:
        if event.exit_code == 130:
            self._say("○", f"{event.action} interrupted after {event.seconds:.1f} s")
        if event.url:
            self._say("✓", f"{event.action} took {event.seconds:.1f} s")
            self._print(quoted(event.url))

    def _say(self, glyph: str, text: str, indent: int = 0) -> None:
        if self._colour and glyph in _COLOURS:
            glyph = f"\033[{_COLOURS[glyph]}m{glyph}\033[0m"
        write(sys.stderr, text, sign=f"{' ' * indent}{glyph} ")

    def _print(self, *lines: str, longest: int = harmless.LONGEST) -> None:
        write(sys.stdout, *lines, longest=longest)
