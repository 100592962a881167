"""The probe around an upgrade: it starts before or during it, tells how it stands, and counts well after."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from devenv.engine.context import Context
from devenv.engine.probe import Probe
from devenv.model.events import ProbeCounted
from devenv.model.probe import ProbeReport

WRITERS = 8
"""As many as are asked for where nobody says how many."""
AFTER = 10.0
"""Seconds that it goes on once the old instance is gone: only then no trace of it is left to fail on."""
_EVERY = 0.5


class Probing:
    """Can be started and stopped at any time, once; `report` is there after the stop."""

    def __init__(self, ctx: Context, writers: int) -> None:
        self._ctx = ctx
        self._probe = Probe(ctx.stack.probe, ctx.stack.url, writers)
        self._telling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        """A stop waits until the writers have logged in: there is nothing to be counted before."""
        self.started = False
        self.report: ProbeReport | None = None

    @property
    def running(self) -> bool:
        return self.started and self.report is None

    async def start(self) -> None:
        """Raises DevenvError if the first write cannot be made."""
        self.started = True
        async with self._turn:
            try:
                await self._probe.start()
            except BaseException:
                self.started = False
                raise
            self._telling = asyncio.create_task(self._tell())

    async def stop(self) -> ProbeReport:
        """End the writers and count what of their writes is there."""
        self._stopping.set()
        async with self._turn:
            if self.report is not None:
                return self.report
            if self._telling:
                self._telling.cancel()
                with suppress(asyncio.CancelledError):
                    await self._telling
                self._telling = None
            report = await self._probe.stop()
            self.report = report
            self._ctx.emit(ProbeCounted(report.as_json()))
            return report

    async def ended(self, seconds: float) -> None:
        """Wait so long, or until it is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def finish(self, journal: Iterable[Mapping[str, Any]], gone: float) -> dict[str, Any]:
        """Count after some seconds more, and say in which phase each write was acknowledged."""
        if self.running:
            await self.ended(AFTER)
        report = await self.stop()
        times = {event["phase"]: float(event["time"]) for event in journal if event["side"] == "owner"}
        marks = times.get("closing", gone), times.get("moved", gone)
        return {**report.as_json(), "by_phase": report.by_phase(*marks, gone)}

    async def abandon(self) -> None:
        """End the writers, if they still write; nobody asks for their count."""
        if self.running:
            await self.stop()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self._ctx.emit(ProbeCounted(asdict(self._probe.counters)))
