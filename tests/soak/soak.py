"""A soak from its first start to its end. What it finds it raises, and leaves the stack as it is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.e2e import leftovers
from tests.e2e.conftest import Devenv, remove_images
from tests.soak.ledger import Ledger, Verdict, Write
from tests.soak.operations import Operations, Told
from tests.soak.plan import Backend, Round
from tests.soak.stage import Stage, until
from tests.soak.watcher import Watcher
from tests.soak.writers import Writers, written

WRITERS = 8
_COMMANDS = ("upgrade", "down", "restore")
"""They should be done if nothing happens to them. Where a machine is too slow one may refuse, and say why."""
_AFTER = 5 * WRITERS
"""So many writes more are awaited when all is in order again."""
_SOON = 60.0
"""Seconds in which what a killed devenv had begun in the engine has ended."""


class Found(Exception):
    """Something that must not be."""


class Soak:
    def __init__(self, devenv: Devenv, backend: Backend, tell: Callable[[str], None] = print) -> None:
        self._devenv = devenv
        self._stage = Stage(devenv, backend)
        self._operations = Operations(self._stage)
        self._ledger = Ledger()
        self._tell = tell
        self._before: Counter[str] = Counter()
        self.at: Round | None = None
        """The round that is played."""
        self.totals: Counter[str] = Counter()

    async def run(self, rounds: Sequence[Round]) -> None:
        """Begin anew, play all rounds, and remove everything."""
        await self._begin()
        watcher = Watcher(self._stage.belongs)
        watcher.start()
        try:
            for one in rounds:
                self.at = one
                await self._round(one, watcher)
        finally:
            watcher.stop()
        self.totals["looks"] = watcher.looks
        await self._end()

    async def _begin(self) -> None:
        await asyncio.to_thread(self._devenv, "reset", "--yes")
        await self._done("build", "--release", "v2")
        await self._done("up")
        # The application makes its database when it is first asked for something.
        await asyncio.to_thread(written, self._devenv.stack.stack.port)
        if self._stage.backend == "compose":
            await asyncio.to_thread(self._stage.set_clock, 0)
        self._before = await asyncio.to_thread(self._there)

    async def _end(self) -> None:
        left = leftovers.beyond(self._before, await asyncio.to_thread(self._there))
        if left:
            raise Found(f"left over: {'; '.join(left)}")
        if 2 * self.totals["undisturbed and done"] < self.totals["undisturbed"]:
            raise Found("most of what nothing happened to has failed: this proves little")
        await self._done("reset", "--yes")
        if self._stage.backend == "kind":
            await self._done("down", "--cluster")
        await asyncio.to_thread(remove_images, self._devenv)
        there = await asyncio.to_thread(leftovers.things, self._devenv)
        if left := [kind for kind in there if not kind.startswith("state ")]:
            raise Found(f"left over after a reset: {'; '.join(left)}")

    async def _round(self, one: Round, watcher: Watcher) -> None:
        began = time.monotonic()
        writers = Writers(self._devenv.stack.stack.port, WRITERS)
        writers.start()
        try:
            await asyncio.sleep(one.lead / 1000)
            told = await self._operations.play(one)
            settled = time.monotonic()
            await asyncio.to_thread(
                until, lambda: writers.acknowledged_since(settled) >= _AFTER, "nothing is acknowledged"
            )
        finally:
            writes = await asyncio.to_thread(writers.stop)
        found = await asyncio.to_thread(written, self._devenv.stack.stack.port)
        verdict = self._ledger.settle(writes, found, told.worlds)
        self._count(one, told, writes, verdict)
        self._tell(_line(one, told, writes, verdict, time.monotonic() - began))
        wrong = _wrong(one, told, writes, verdict) or watcher.wrong
        if wrong or (wrong := await asyncio.to_thread(self._loose)):
            raise Found(f"{told.log}\n{wrong}")

    def _count(self, one: Round, told: Told, writes: Sequence[Write], verdict: Verdict) -> None:
        failed = sum(1 for write in writes if write.failure)
        happened = {"faults": told.struck, "jumps": one.jump is not None}
        if one.fault is None and one.jump is None and one.operation in _COMMANDS:
            happened |= {"undisturbed": True, "undisturbed and done": told.code == 0}
        counts = {"acknowledged": len(writes) - failed, "failed": failed, "replaced": len(verdict.gone)}
        self.totals.update({"rounds": 1, one.operation: 1} | happened | counts)

    def _there(self) -> Counter[str]:
        """At rest."""
        found = self._running()
        return found + leftovers.in_instances(self._devenv) if self._stage.backend == "compose" else found

    def _running(self) -> Counter[str]:
        return leftovers.things(self._devenv) + Counter({"gate": len(self._stage.gates())})

    def _loose(self) -> str:
        """What runs beside the stack after a round, or lies in TMPDIR: the rest may wait for the end."""

        def left() -> list[str]:
            left = leftovers.beyond(self._before, self._running(), {})
            return [one for one in left if not one.startswith(("state ", "image "))]

        ends = time.monotonic() + _SOON
        while found := left():
            if time.monotonic() > ends:
                return f"left over: {'; '.join(found)}"
            time.sleep(0.5)
        return ""

    async def _done(self, *command: str) -> None:
        await asyncio.to_thread(self._devenv.done, *command)


def _line(one: Round, told: Told, writes: Sequence[Write], verdict: Verdict, seconds: float) -> str:
    failed = sum(1 for write in writes if write.failure)
    missed = " (it came too late)" if one.fault and not told.struck else ""
    counts = f"acknowledged {len(writes) - failed}, failed {failed}, replaced {len(verdict.gone)}"
    said = "".join(f"\n       {words}" for words in told.words)
    return f"{one}{missed}: exit {told.code}, {counts}, {verdict}, {seconds:.1f} s{said}"


def _wrong(one: Round, told: Told, writes: Sequence[Write], verdict: Verdict) -> str:
    if not verdict.clean:
        return str(verdict)
    failures = [write.failure for write in writes if write.failure]
    if one.operation == "upgrade" and failures and not (one.kills_an_instance and told.struck):
        return f"{len(failures)} requests failed in an upgrade, though nobody was killed: {failures[0]}"
    return ""
