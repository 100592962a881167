"""What a front end that stays sees of the stack between and during actions: instances, and log lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from devenv.engine.context import Context
from devenv.engine.freshness import compare
from devenv.engine.settle import look
from devenv.errors import DevenvError, NotFit
from devenv.model.events import EngineLost, ImagesCompared, LogLine, Notice
from devenv.model.freshness import Freshness
from devenv.model.instance import Instance

Lines = Callable[[Sequence[LogLine]], None]

TAIL = 500
"""So many lines of each container are shown from before the watch began."""
_SETTLE = 0.1
"""Seconds in which changes that come together are looked at once."""
_BEHIND = 60.0
"""Seconds by which what was read of one container may be behind the others."""
_TREE = 5.0
"""Seconds between two looks at the working tree."""
_BASE = 300.0
"""The same at the base image."""
_AGAIN = (1.0, 2.0, 5.0, 15.0)
"""Seconds until an engine that does not answer is asked again; the last one holds."""


async def watch(ctx: Context, lines: Lines) -> None:
    """Until it is cancelled. An engine that goes away is told of, and found again when it is back.

    Whatever else fails, in one of the three, is told once and tried again, and keeps the others from nothing.
    """
    logs = _Logs(ctx, lines)
    images = _Images(ctx)
    told: set[str] = set()

    def lost(error: DevenvError) -> None:
        ctx.emit(EngineLost(error.what, error.why, error.next_step))

    def unread(error: DevenvError) -> None:
        images.forget()
        tell(error)

    def tell(error: DevenvError) -> None:
        # Only the instances tell that the engine is lost, as they alone tell when it is there again.
        words = f"{error.what}: {error.why}"
        if not isinstance(error, NotFit) and words not in told:
            told.add(words)
            ctx.emit(Notice(words, "warning"))

    async with asyncio.TaskGroup() as group:
        group.create_task(_again_and_again(lambda: _instances(ctx, images.see), lost))
        group.create_task(_again_and_again(images.follow, unread))
        group.create_task(_again_and_again(logs.follow, tell))


async def _again_and_again(
    work: Callable[[], Awaitable[None]], failed: Callable[[DevenvError], None]
) -> None:
    patience = iter(_AGAIN)
    while True:
        began = time.monotonic()
        try:
            await work()
        except* Exception as errors:
            failed(_first(errors))
        if time.monotonic() - began > _AGAIN[-1]:
            # It went well for a while: this is a new case.
            patience = iter(_AGAIN)
        await asyncio.sleep(next(patience, _AGAIN[-1]))


def _first(errors: BaseExceptionGroup[Exception]) -> DevenvError:
    """What happens side by side also fails together, most often of one cause."""
    first = errors.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _first(first)
    if isinstance(first, DevenvError):
        return first
    why = repr(first)
    if isinstance(first, OSError) and first.filename:
        why = f"{first.filename}: {first.strerror}"
    return DevenvError("a look at the stack failed", why, "it is tried again; devenv status says more")


async def _instances(ctx: Context, see: Callable[[Sequence[Instance]], None]) -> None:
    changed = asyncio.Event()

    async def listen() -> None:
        async with aclosing(ctx.backend.changes()) as changes:
            async for _ in changes:
                changed.set()

    listening = asyncio.create_task(listen())
    try:
        while not listening.done():
            waiting = asyncio.create_task(changed.wait())
            try:
                await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _over(waiting)
            if changed.is_set():
                changed.clear()
                there, _ = await look(ctx)
                see(there)
                await asyncio.sleep(_SETTLE)
        await listening
    finally:
        await _over(listening)


@dataclass(slots=True)
class _Images:
    """Whether what runs is what the working tree would build, told whenever that changes."""

    ctx: Context
    there: Sequence[Instance] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    told: Sequence[Freshness] = ()

    def forget(self) -> None:
        """What was told may not be true any more."""
        if self.told:
            self.told = ()
            self.ctx.emit(ImagesCompared(()))

    def see(self, instances: Sequence[Instance]) -> None:
        self.there = instances
        self.changed.set()

    async def follow(self) -> None:
        seen: object = None
        asked = 0.0
        while True:
            sources = await asyncio.to_thread(self.ctx.images.sources)
            now = (sources, [(one.id, one.digest) for one in self.there])
            # The engine is asked only where it can have something new to say; a base image seldom changes.
            if now != seen or time.monotonic() - asked > _BASE:
                seen, asked = now, time.monotonic()
                found = await compare(self.ctx, self.there)
                if found != self.told:
                    self.told = found
                    self.ctx.emit(ImagesCompared(found))
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_TREE):
                    await self.changed.wait()


async def _over(task: asyncio.Task[Any]) -> None:
    """Cancelled and gone. How it ended is nobody's business any more."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    task.cancel()
    await asyncio.wait([task])


@dataclass(slots=True)
class _Logs:
    """Each line once, also where the engine went away in between."""

    ctx: Context
    lines: Lines
    newest: dict[str, float] = field(default_factory=dict)
    """The time of the last line of each source: one can be ahead of another."""

    async def follow(self) -> None:
        known = dict(self.newest)
        since = f"{max(known.values()) - _BEHIND:.6f}" if known else None
        read_ = self.ctx.backend.logs(None, follow=True, tail=None if since else TAIL, since=since)
        async with aclosing(read_) as read:
            async for some in read:
                if new := [line for line in some if line.time > known.get(line.source, -1.0)]:
                    for line in new:
                        self.newest[line.source] = max(self.newest.get(line.source, 0.0), line.time)
                    self.lines(new)
