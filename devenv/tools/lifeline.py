"""Programs that end with us, however we end: also where we are killed, and on every system."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

_GUARD = """"$@" </dev/null & trap 'wait; exit' TERM; exec >/dev/null 2>&1; read -r _; kill -KILL 0"""
"""Its stdin is a pipe that only we hold. When we are gone it reads the end, and kills its group, so the
program too. What the program says comes to its end with the program, as the guard keeps no hold on it."""
_CHUNK = 1 << 16
_PATIENCE = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0))


class Held:
    """A program that runs, in a group of its own."""

    def __init__(self, guard: asyncio.subprocess.Process) -> None:
        self._guard = guard

    async def lines(self) -> AsyncIterator[str]:
        """What it says on both streams, until it has ended."""
        assert self._guard.stdout is not None  # noqa: S101 - we asked for a pipe
        while True:
            try:
                raw = await self._guard.stdout.readline()
            except ValueError:
                continue  # a line beyond all measure, which is dropped
            if not raw:
                return
            yield raw.decode(errors="replace").rstrip()

    async def end(self) -> None:
        """End the whole group. Nobody may be reading its lines any more; to be awaited to its end."""
        assert self._guard.stdin is not None  # noqa: S101 - we asked for pipes
        if self._guard.returncode is not None and self._guard.stdin.is_closing():
            return
        for number, patience in _PATIENCE:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._guard.pid, number)
            self._guard.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._gone()
                    return

    async def _gone(self) -> None:
        """Nothing of it can write any more, and the guard has seen to the program itself."""
        assert self._guard.stdout is not None  # noqa: S101 - we asked for pipes
        while await self._guard.stdout.read(_CHUNK):
            pass
        await self._guard.wait()


async def start(argv: Sequence[str]) -> Held:
    """Start one. That it cannot be started is among what it says."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            "sh", "-c", _GUARD, "sh", *argv,
            cwd=Path("/"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )  # fmt: skip
    try:
        return Held(await asyncio.shield(starting))
    except asyncio.CancelledError:
        # asyncio ends the guard alone that it was about to give us, not its group.
        await asyncio.wait([starting])
        if not starting.exception():
            await Held(starting.result()).end()
        raise
