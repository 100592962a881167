"""Lines of several containers as one stream, each line once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from devenv.model.events import LogLine
from devenv.model.instance import Instance
from devenv.tools import process

_SECOND = len("2026-01-31T12:00:00")
_AHEAD = 16
"""Batches that wait for their reader, before the containers' followers have to."""

Lines = Sequence[LogLine]


class Origin(Protocol):
    """Where containers are, and how their logs are read."""

    own: str
    """The stream on which only the command itself speaks; empty where containers use both."""

    async def here(self) -> list[Instance]: ...

    def starts(self) -> AsyncGenerator[str, None]:
        """Ids of containers that have started, or may have."""

    def argv(self, one: Instance, *, follow: bool, tail: int | None, since: str | None) -> list[str]:
        """The command that prints a log, a time before each line. `since` includes that moment."""

    def argv_of_previous(self, one: Instance, *, tail: int | None, since: str | None) -> list[str]:
        """The same for the log of the container that ran before this one. Empty where there was none, or
        where a log goes on over restarts.
        """


async def merged(
    origin: Origin, service: str | None, follow: bool, tail: int | None, since: str | None
) -> AsyncGenerator[Lines, None]:
    """In the order of their times; with `follow` also as they come, of containers that start later too."""
    async with aclosing(origin.starts()) as starts:
        # Before the look at what is there: what starts in between is in one of the two.
        coming = asyncio.ensure_future(anext(starts)) if follow else None
        try:
            here = [one for one in await origin.here() if service in (None, one.service)]
            readers = [_Reader(origin, one) for one in here]
            found = await asyncio.gather(*(reader.all(tail, since) for reader in readers))
            if old := sorted((line for some in found for line in some), key=lambda line: line.time):
                yield old
            if coming is None:
                return
            async with aclosing(_live(origin, service, readers, coming, starts)) as live:
                async for lines in live:
                    yield lines
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait([coming])


async def _live(
    origin: Origin,
    service: str | None,
    readers: list[_Reader],
    coming: asyncio.Future[str],
    starts: AsyncGenerator[str, None],
) -> AsyncGenerator[Lines, None]:
    queue: asyncio.Queue[Lines] = asyncio.Queue(maxsize=_AHEAD)
    known = {reader.one.id: reader for reader in readers}

    async def later(group: asyncio.TaskGroup) -> None:
        """A restarted container ends its log, so it is followed again."""
        started = await coming
        while True:
            for one in await origin.here():
                if one.id == started and service in (None, one.service):
                    reader = known.setdefault(one.id, _Reader(origin, one))
                    reader.one = one
                    group.create_task(reader.follow(queue))
            started = await anext(starts)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reader.follow(queue)) for reader in readers]
        tasks.append(group.create_task(later(group)))
        try:
            while True:
                yield await queue.get()
        except GeneratorExit:
            # The group would make another error of it, which whoever closes this does not expect.
            return
        finally:
            for task in tasks:
                task.cancel()


@dataclass(slots=True)
class _Reader:
    """The log of one container, each line once."""

    origin: Origin
    one: Instance
    last: str = ""
    """The time of the newest line that was read, as its engine writes it: equal length, so it sorts."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    waits: bool = False
    """Somebody will follow it again, as soon as it is not busy."""

    async def all(self, tail: int | None, since: str | None) -> list[LogLine]:
        found: list[LogLine] = []
        for argv in (
            self.origin.argv_of_previous(self.one, tail=tail, since=since),
            self.origin.argv(self.one, follow=False, tail=tail, since=since),
        ):
            async with aclosing(self._printed(argv, "")) as read:
                async for lines in read:
                    found += lines
        return found if tail is None else found[max(0, len(found) - tail) :]

    async def follow(self, queue: asyncio.Queue[Lines]) -> None:
        """What comes after what was read, until the container ends."""
        if self.waits:
            return
        self.waits = True
        async with self.busy:
            self.waits = False
            known = self.last
            for argv in (
                # Its end may have come while nobody could read it.
                self.origin.argv_of_previous(self.one, tail=None, since=known or None),
                self.origin.argv(self.one, follow=True, tail=None, since=known or None),
            ):
                async with aclosing(self._printed(argv, known)) as read:
                    async for lines in read:
                        await queue.put(lines)

    async def _printed(self, argv: Sequence[str], known: str) -> AsyncGenerator[Lines, None]:
        if not argv:
            return
        async with aclosing(process.batches(argv, check=False, follows=True)) as read:
            async for lines in read:
                if told := self._read(lines, known):
                    yield told

    def _read(self, lines: Iterable[process.Line], known: str) -> list[LogLine]:
        """Those that are newer than `known`, which is given once more."""
        found = []
        for line in lines:
            if line.stream == self.origin.own:
                continue
            stamp, _, text = line.text.partition(" ")
            if (moment := _moment(stamp)) is None:
                # What the engine says itself, and the rest of a line that came in pieces.
                found.append(LogLine(self.one.name, line.text))
            elif stamp > known:
                self.last = max(self.last, stamp)
                found.append(LogLine(self.one.name, text, time=moment))
        return found


def _moment(stamp: str) -> float | None:
    """Seconds since 1970 of `2026-01-31T12:00:00.123456789Z`; None of what is no time."""
    try:
        return _seconds(stamp[:_SECOND]) + float(f"0{stamp[_SECOND:-1]}")
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _seconds(stamp: str) -> float:
    """Most lines share their second with the one before."""
    return datetime.fromisoformat(f"{stamp}+00:00").timestamp()
