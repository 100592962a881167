"""Lines of several containers as one stream, from real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from devenv.logs import sources
from devenv.model.instance import Instance

ONE = Instance("1", "php-fpm-1", "php-fpm", "php-fpm:v1", "sha256:1", 0.0, "running")


class Files:
    """An origin whose containers write into files, as a cluster keeps them: a log for each start."""

    own = "stderr"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.restarts = 0
        self.started: asyncio.Queue[str] = asyncio.Queue()

    async def here(self) -> list[Instance]:
        return [replace(ONE, restarts=self.restarts)]

    async def starts(self) -> AsyncGenerator[str, None]:
        while True:
            yield await self.started.get()

    def argv(self, one: Instance, *, follow: bool, tail: int | None, since: str | None) -> list[str]:
        return ["cat", str(self._folder / str(one.restarts))]

    def argv_of_previous(self, one: Instance, *, tail: int | None, since: str | None) -> list[str]:
        return ["cat", str(self._folder / str(one.restarts - 1))] if one.restarts else []

    def write(self, start: int, *seconds: int) -> None:
        lines = [f"2026-01-31T12:00:{second:02}.000000000Z line {second}\n" for second in seconds]
        (self._folder / str(start)).write_text("".join(lines))


async def read(found: AsyncGenerator[Sequence[sources.LogLine], None], lines: int) -> list[str]:
    texts: list[str] = []
    async with asyncio.timeout(10):
        while len(texts) < lines:
            texts += [line.text for line in await anext(found)]
    return texts


async def test_the_log_before_a_restart_comes_before_the_one_after_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write(0, 1, 2)
    files.write(1, 3)
    files.restarts = 1
    async with aclosing(sources.merged(files, None, False, None, None)) as found:
        assert await read(found, 3) == ["line 1", "line 2", "line 3"]
    async with aclosing(sources.merged(files, None, False, 2, None)) as found:
        assert await read(found, 2) == ["line 2", "line 3"]


async def test_what_was_written_last_before_a_restart_is_read_after_it_and_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write(0, 1)
    async with aclosing(sources.merged(files, None, True, None, None)) as found:
        assert await read(found, 1) == ["line 1"]
        files.write(0, 1, 2)
        files.write(1, 3)
        files.restarts = 1
        # A cluster tells of one start more than once.
        for _ in range(5):
            files.started.put_nowait("1")
        assert await read(found, 2) == ["line 2", "line 3"]
        files.write(2, 4)
        files.restarts = 2
        files.started.put_nowait("1")
        assert await read(found, 1) == ["line 4"]
