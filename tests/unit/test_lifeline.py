"""Programs that end with us, also where we are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from devenv.tools import lifeline


def running(mark: str) -> list[int]:
    """Processes whose command line begins with a word of this test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(mark.encode()):
                found.append(int(folder.name))
    return found


async def gone(mark: str) -> None:
    async with asyncio.timeout(10):
        while running(mark):
            await asyncio.sleep(0.01)


async def test_what_it_says_comes_to_its_end_with_it() -> None:
    held = await lifeline.start(["sh", "-c", "echo one; echo two >&2"])
    assert [line async for line in held.lines()] == ["one", "two"]
    await held.end()


async def test_that_it_is_missing_is_among_what_it_says() -> None:
    held = await lifeline.start(["no-such-program"])
    assert "not found" in "".join([line async for line in held.lines()])
    await held.end()


async def test_its_whole_group_is_ended() -> None:
    mark = f"sleep-{os.getpid()}-group"
    held = await lifeline.start(["bash", "-c", f"exec -a {mark} sleep 60 & exec -a {mark} sleep 60"])
    async with asyncio.timeout(10):
        while len(running(mark)) < 2:
            await asyncio.sleep(0.01)
    await held.end()
    await gone(mark)
    await held.end()


async def test_one_that_does_not_listen_is_killed() -> None:
    mark = f"sleep-{os.getpid()}-deaf"
    held = await lifeline.start(["bash", "-c", f"trap '' TERM; echo up; exec -a {mark} sleep 60"])
    assert await anext(held.lines()) == "up"
    await held.end()
    await gone(mark)


async def test_it_does_not_outlive_one_that_is_killed() -> None:
    mark = f"sleep-{os.getpid()}-orphan"
    program = f"""
import asyncio
from devenv.tools import lifeline

async def main():
    await lifeline.start(["bash", "-c", "exec -a {mark} sleep 60"])
    await asyncio.sleep(60)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    async with asyncio.timeout(10):
        while not running(mark):
            await asyncio.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await gone(mark)


async def test_cancelling_while_it_starts_leaves_nothing() -> None:
    mark = f"sleep-{os.getpid()}-cancelled"
    for turns in range(6):
        task = asyncio.create_task(lifeline.start(["bash", "-c", f"exec -a {mark} sleep 60"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await (await task).end()
    await gone(mark)
