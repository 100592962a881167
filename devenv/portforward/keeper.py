"""Keeps a forward: when one is lost the next is started, and who comes meanwhile waits.

There is one at a time, no spare: of a Service's pods kubectl always takes the one that has been ready
longest, so a spare would go to the same pod, and be lost with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from devenv.portforward.cause import SERVER_SILENT
from devenv.portforward.forward import Forward, Lost
from devenv.portforward.pace import Pace
from devenv.portforward.target import Target
from devenv.tools import apiserver

Say = Callable[[str], None]
NewForward = Callable[["Keeper"], Forward]


class Keeper:
    def __init__(self, target: Target, pace: Pace, say: Say, new: NewForward | None = None) -> None:
        self.waits_for = "kubectl forwards to no pod yet"
        """Why there is no forward, while there is none; empty otherwise."""
        self.target = target
        self._pace = pace
        self._say = say
        self._new = new or (lambda keeper: Forward(target, pace, say, keeper.tell))
        self._loop = asyncio.get_running_loop()
        self._current: Forward | None = None
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._waiting = 0
        self._came = asyncio.Event()
        self._pause = pace.shortest
        self._without = self._loop.time()
        """Since when there is no forward."""
        self._retired: dict[asyncio.Task[None], Forward] = {}

    async def run(self) -> None:
        """Ends when the cluster is gone for good, or when it is cancelled: then nothing is left."""
        service = self.target.service
        why = ""
        try:
            while (forward := await self._next()) is not None:
                begin = self._loop.time()
                took = f"after {begin - self._without:.1f} s"
                self._current, self.waits_for = forward, ""
                self._say(
                    f"forward to {service} is back {took} ({why})"
                    if why
                    else f"forward to {service} is there {took}"
                )
                self.tell()
                lost = await forward.watch()
                self._current, self.waits_for, why = None, lost.cause, lost.cause
                self._without = self._loop.time()
                self._retire(forward, self._pace.silent if lost.silent else self._pace.finish)
                self._say(f"forward to {service} is lost: {why}")
                if self._without - begin < self._pace.steady:
                    await self._rest()
                else:
                    self._pause = self._pace.shortest
            self._say(
                f"{self.target.kubeconfig} is gone, and so is the cluster: there is nothing to wait for"
            )
        finally:
            await self._end_all()

    async def _next(self) -> Forward | None:
        told = set[str]()
        while True:
            try:
                forward = await self._begin()
            except Lost as lost:
                self.waits_for = lost.cause
                if lost.cause not in told:
                    told.add(lost.cause)
                    self._say(f"no forward to {self.target.service} for {self._since():.1f} s: {lost.cause}")
            else:
                return forward
            own = self.target.kubeconfig
            if own and self._since() > self._pace.orphaned and not own.exists():
                return None
            await self._rest()

    async def _begin(self) -> Forward:
        server = apiserver.of(self.target.kubeconfig) if self.target.kubeconfig else None
        if server is not None and await server.silent(self._pace.server):
            # Asking it is cheap: as soon as it answers, kubectl is to be started.
            self._pause = self._pace.shortest
            raise Lost(SERVER_SILENT)
        forward = self._new(self)
        await forward.start()
        return forward

    def _since(self) -> float:
        return self._loop.time() - self._without

    async def _rest(self) -> None:
        """Each rest is longer than the one before, but not for long while somebody waits."""
        begin = self._loop.time()
        while True:
            self._came.clear()
            pause = min(self._pause, self._pace.awaited) if self._waiting else self._pause
            left = begin + pause - self._loop.time()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._came.wait()
            except TimeoutError:
                break
        self._pause = min(self._pause * 2, self._pace.longest)

    async def usable(self, timeout: float) -> Forward | None:
        """A forward that is known to work just now; None where there is none in time."""
        deadline = self._loop.time() + timeout
        self._waiting += 1
        try:
            while True:
                if self._current is not None and self._current.proven():
                    return self._current
                left = deadline - self._loop.time()
                if left <= 0:
                    return None
                self._came.set()
                await asyncio.wait([self._news], timeout=left)
        finally:
            self._waiting -= 1

    def tell(self) -> None:
        """Whoever waits looks again."""
        news, self._news = self._news, self._loop.create_future()
        news.set_result(None)

    def _retire(self, forward: Forward, patience: float) -> None:
        task = self._loop.create_task(self._see_off(forward, patience))
        self._retired[task] = forward
        task.add_done_callback(lambda task: self._retired.pop(task, None))

    async def _see_off(self, forward: Forward, patience: float) -> None:
        deadline = self._loop.time() + patience
        while forward.connections and self._loop.time() < deadline:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.05)
        await forward.end()

    async def _end_all(self) -> None:
        retired = dict(self._retired)
        for task in retired:
            task.cancel()
        if retired:
            await asyncio.wait(retired)
        forwards = list(retired.values())
        if self._current is not None:
            forwards.append(self._current)
            self._current = None
        await asyncio.gather(*(forward.end() for forward in forwards))
