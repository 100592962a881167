"""One forward: a kubectl that listens on a port of its own, until it is of no more use."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

from devenv.portforward.cause import cause
from devenv.portforward.pace import Pace
from devenv.portforward.target import Target
from devenv.tools import lifeline

Address = tuple[str, int]
Note = Callable[[str], None]

_FORWARDING = re.compile(r"^Forwarding from (127\.0\.0\.1):(\d+) -> ")
_PROBE = b"GET /.httpd HTTP/1.0\r\nHost: localhost\r\n\r\n"
_GOOD = re.compile(rb"^HTTP/1\.[01] 2\d\d\b")
_TAIL = 20
_LAST_WORDS = 0.3
"""kubectl closes a connection just before it says why, and ends."""


class Lost(Exception):
    """It is of no use, or of no more; `silent` where that is only known from its silence."""

    def __init__(self, cause: str, *, silent: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.silent = silent


class Forward:
    address: Address

    def __init__(
        self,
        target: Target,
        pace: Pace,
        note: Note,
        news: Callable[[], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.connections = 0
        """How many go through it."""
        self._target = target
        self._pace = pace
        self._note = note
        self._news = news
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._said: deque[str] = deque(maxlen=_TAIL)
        self._heard = float("-inf")
        self._asked = asyncio.Event()
        self._ready: asyncio.Future[Address] = self._loop.create_future()
        self._program: lifeline.Held | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it answers; Lost where it does not. Then nothing of it is left."""
        try:
            await self._start()
        except BaseException:
            await self.end()
            raise

    async def _start(self) -> None:
        try:
            self._program = await lifeline.start(self._target.argv(self._pace))
            self._listening = asyncio.create_task(self._listen(self._program))
            try:
                async with asyncio.timeout(self._pace.open):
                    await _first(self._ready, self._listening)
            except TimeoutError:
                raise Lost(cause(self._said) or "kubectl does not forward") from None
            if not self._ready.done():
                raise Lost(cause(self._said) or "kubectl has ended, and said nothing")
            self.address = self._ready.result()
            await self._probe()
        except TimeoutError:
            raise Lost("no answer through it", silent=True) from None
        except OSError as error:
            raise Lost(f"kubectl cannot be started: {error.strerror}") from error

    async def _listen(self, program: lifeline.Held) -> None:
        # It says a line for each connection: what nobody reads would stop it.
        async with aclosing(program.lines()) as lines:  # type: ignore[type-var]
            async for line in lines:
                found = _FORWARDING.match(line)
                if not found:
                    self._said.append(line)
                elif not self._ready.done():
                    self._ready.set_result((found[1], int(found[2])))

    async def watch(self) -> Lost:
        """Returns once it is of no more use. Connections that it has may still come to their end."""
        missed = 0
        while True:
            moment, wall = self._loop.time(), self._wall()
            if await self._ended(0 if missed else self._pace.probe):
                return Lost(cause(self._said) or "kubectl has ended, and said nothing")
            slept = self._wall() - wall - (self._loop.time() - moment)
            if abs(slept) > self._pace.asleep:
                self._note(f"the clock has jumped by {slept:.0f} s: looking at once")
                # After a sleep the other end has most likely given up: one more silence will do.
                missed = max(missed, 1)
            moment = self._loop.time()
            try:
                await self._probe()
                missed = 0
            except TimeoutError:
                # What answers others is busy, not dead.
                missed = 0 if self._heard > moment else missed + 1
                if missed > 1:
                    return Lost("no answer through it", silent=True)
            except Lost as lost:
                return lost
            self._news()

    async def _ended(self, timeout: float) -> bool:
        """Whether kubectl has; known after `timeout`, or as soon as it has or somebody asks."""
        assert self._listening is not None  # noqa: S101 - only after the start
        if timeout:
            asked = asyncio.create_task(self._asked.wait())
            await _first(asked, self._listening, timeout=timeout)
            asked.cancel()
        self._asked.clear()
        return self._listening.done()

    async def _probe(self) -> None:
        """Returns where the service answers as it should. TimeoutError: no answer; Lost: another."""
        try:
            async with asyncio.timeout(self._pace.answer):
                answer = await self._get()
        except TimeoutError:
            raise
        except OSError:
            answer = b""
        if _GOOD.match(answer):
            self.heard()
        elif answer:
            # A pod that is about to go says so, and serves on meanwhile.
            status = answer.partition(b" ")[2][:3].decode(errors="replace")
            raise Lost(f"the pod is leaving, httpd answers {status}")
        else:
            if self._listening is not None:
                await asyncio.wait([self._listening], timeout=_LAST_WORDS)
            raise Lost(cause(self._said) or "the pod refuses connections")

    async def _get(self) -> bytes:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(_PROBE)
            # The end of an answer comes through a second late where the end of the request did not go first.
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def heard(self) -> None:
        """Something came through it."""
        self._heard = self._loop.time()

    def doubt(self) -> None:
        """Something should have come through it."""
        self._heard = float("-inf")
        self._asked.set()

    def proven(self) -> bool:
        """Whether it answered just now. If not, it is asked."""
        if self._loop.time() - self._heard <= self._pace.fresh:
            return True
        self._asked.set()
        return False

    async def end(self) -> None:
        """To be awaited to its end."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._program is not None:
            await self._program.end()
        self._ready.cancel()


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
