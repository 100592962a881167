"""One stack and one action at a time, for a front end that stays: the terminal interface."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devenv.engine.context import Context
from devenv.engine.outcome import failure, outcome
from devenv.engine.perform import perform
from devenv.engine.probing import WRITERS, Probing
from devenv.engine.store import Saved
from devenv.engine.watching import watch
from devenv.logs.archive import Archive
from devenv.model.events import Emit, LogLine, Notice
from devenv.model.receipt import Receipt
from devenv.model.stack import Stack
from devenv.tools import clipboard, process

Lines = Callable[[Sequence[LogLine]], None]

_PROBED = ("upgrade", "rollback", "probe")
"""Actions in which the probe can be started and stopped at any time."""


class Desk:
    """Starts, cancels and watches. What happens is told to `listen`'s listener, as events.

    All of it runs in the loop that it is used from. It outlives its listener: what is at work when
    the terminal goes away is brought to its end.
    """

    def __init__(self, ctx: Context, *, crash: Path, writers: int = WRITERS) -> None:
        """`writers`: of a probe that is started on the way. `crash`: the trace of a mistake of ours."""
        self._listener: Emit | None = None
        self._ctx = replace(ctx, emit=self._tell)
        self._crash = crash
        self._writers = writers
        self._work: asyncio.Task[int] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._probing: Probing | None = None
        self._asides: set[asyncio.Task[None]] = set()
        self.archive = Archive(ctx.store.folder / "logs")
        self.last_code = 0
        """Exit code of the action that ended last."""

    @property
    def stack(self) -> Stack:
        return self._ctx.stack

    @property
    def busy(self) -> bool:
        return self._work is not None and not self._work.done()

    def listen(self, listener: Emit | None) -> None:
        self._listener = listener

    def _tell(self, event: Any) -> None:
        if self._listener is not None:
            self._listener(event)

    def watch(self, lines: Lines) -> None:
        """From now on tell of the instances as they change, and give log lines to `lines`."""

        def both(some: Sequence[LogLine]) -> None:
            before = self.archive.failed
            self.archive.write(some)
            if self.archive.failed != before:
                words = f"log lines are kept on the screen alone: {self.archive.path}: {self.archive.failed}"
                self._tell(Notice(words, "warning"))
            lines(some)

        if self._watch is None:
            with process.observed(self._tell):
                self._watch = asyncio.create_task(self._guarded(watch(self._ctx, both)))

    def start(self, name: str, /, **options: Any) -> bool:
        """Begin an action; False where another one is at work, which goes on undisturbed."""
        if self.busy:
            return False
        url = self.stack.url if name == "up" else ""
        if name in _PROBED:
            self._probing = Probing(self._ctx, options.get("writers") or self._writers)
            options["probing"] = self._probing
        with process.observed(self._tell):
            self._work = asyncio.create_task(self._to_its_end(name, url, options))
        return True

    async def _to_its_end(self, name: str, url: str, options: dict[str, Any]) -> int:
        work = perform(self._ctx, name, **options)
        self.last_code = await outcome(name, work, self._tell, crash=self._crash, url=url)
        self._probing = None
        return self.last_code

    def ask(self, name: str, /, **options: Any) -> None:
        """Something that only looks: it goes beside what is at work, and its answer is an event."""
        with process.observed(self._tell):
            self._aside(perform(self._ctx, name, **options))

    def cancel(self) -> bool:
        """Cancel what is at work; it is put in order first. False where nothing is."""
        if not self.busy or self._work is None:
            return False
        self._work.cancel()
        return True

    async def finished(self) -> int:
        """Wait for what is at work; the exit code of the last action."""
        if self._work is not None:
            await asyncio.wait([self._work])
        return self.last_code

    def toggle_probe(self) -> bool:
        """Start or stop the probe of what is at work. False where that has none, or had one already."""
        probing = self._probing
        if probing is None or not self.busy or probing.report is not None:
            return False
        self._aside(self._start_probe(probing) if not probing.started else self._stop_probe(probing))
        return True

    async def _start_probe(self, probing: Probing) -> None:
        await probing.start()
        self._tell(Notice("the probe writes; p stops and counts it"))

    async def _stop_probe(self, probing: Probing) -> None:
        await probing.stop()

    def _aside(self, work: Awaitable[Any]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _guarded(self, work: Awaitable[Any]) -> None:
        """Something beside the action at work, which it does not fail."""
        try:
            await work
        except Exception as error:
            self._tell(failure(error, self._crash))

    def receipts(self) -> list[tuple[Path, Receipt]]:
        return self._ctx.store.receipts()

    def snapshots(self) -> list[Saved]:
        return self._ctx.store.snapshots()

    def previous_release(self, current: str) -> str | None:
        return self._ctx.store.previous_release(current)

    async def copy(self, text: str) -> bool:
        """To the clipboard by a program of this machine; False where there is none."""
        return await clipboard.copy(text)

    async def close(self) -> None:
        """Stop watching. What is at work goes on."""
        tasks = [*self._asides, *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watch = None
        self.archive.close()
