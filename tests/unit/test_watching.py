"""What is watched beside the actions: who tells that the engine is lost, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from devenv.engine import lifecycle, watching
from devenv.engine.context import Context
from devenv.engine.watching import watch
from devenv.errors import DevenvError, NotFit
from devenv.model import events as e
from devenv.model.events import LogLine
from tests.backends.fake import FakeBackend
from tests.unit.conftest import Told

GONE = NotFit("the engine does not answer", "no socket", "start it")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_AGAIN", (0.01,))


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_log_lines_that_cannot_be_followed_do_not_mean_that_the_engine_is_lost(
    ctx: Context, backend: FakeBackend, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    enough = asyncio.Event()

    async def logs(*_: Any, **__: Any) -> AsyncGenerator[Sequence[LogLine], None]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DevenvError("docker logs failed", "for once", "")
        yield [LogLine("a", "there again", time=1.0)]
        enough.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(backend, "logs", logs)
    seen: list[LogLine] = []
    task = asyncio.create_task(watch(ctx, seen.extend))
    await asyncio.wait_for(enough.wait(), 5)
    await ended(task)
    assert [line.text for line in seen] == ["there again"]
    assert told.of(e.InstancesSeen)
    assert not told.of(e.EngineLost)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/shop/key"), "/shop/key: Permission denied"),
        (KeyError("State"), "KeyError('State')"),
    ],
)
async def test_a_look_that_fails_blinds_nobody_and_what_is_not_known_is_not_shown(
    ctx: Context,
    backend: FakeBackend,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    """Of any cause: the tree can have anything in it, and an engine can answer anything."""
    true = watching.look
    broken: set[str] = set()

    def sources() -> str:
        if "sources" in broken:
            raise error
        return "hash"

    async def look(ctx: Context) -> Any:
        if "look" in broken:
            broken.remove("look")
            raise error
        return await true(ctx)

    async def until(condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.01)

    def notices() -> list[str]:
        return [one.text for one in told.of(e.Notice) if "a look" in one.text]  # type: ignore[attr-defined]

    monkeypatch.setattr(ctx.images, "sources", sources)
    monkeypatch.setattr(watching, "look", look)
    monkeypatch.setattr(watching, "_TREE", 0.01)
    await lifecycle.up(ctx)
    task = asyncio.create_task(watch(ctx, lambda lines: None))
    async with asyncio.timeout(5):
        await until(lambda: told.of(e.ImagesCompared))
        broken |= {"sources", "look"}
        await until(notices)
        backend.containers[0].state = "exited"
        await until(lambda: told.of(e.EngineLost))
        count = len(told.of(e.InstancesSeen))
        await until(lambda: len(told.of(e.InstancesSeen)) > count)
    await ended(task)
    assert notices() == [f"a look at the stack failed: {words}"]
    assert told.of(e.ImagesCompared)[-1].images == ()  # type: ignore[attr-defined]


async def test_a_source_that_was_behind_the_others_is_read_from_where_it_was(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    enough = asyncio.Event()

    async def logs(*_: Any, since: str | None, **__: Any) -> AsyncGenerator[Sequence[LogLine], None]:
        asked.append(since)
        yield [LogLine("fast", "1", time=100.0), LogLine("slow", "1", time=50.0)]
        if len(asked) == 1:
            raise GONE
        yield [LogLine("slow", "2", time=51.0), LogLine("fast", "2", time=101.0)]
        enough.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(backend, "logs", logs)
    seen: list[LogLine] = []
    task = asyncio.create_task(watch(ctx, seen.extend))
    await asyncio.wait_for(enough.wait(), 5)
    await ended(task)
    assert [(line.source, line.text) for line in seen] == [
        ("fast", "1"),
        ("slow", "1"),
        ("slow", "2"),
        ("fast", "2"),
    ]
    assert asked == [None, "40.000000"]


async def test_nothing_is_left_behind_when_the_watch_is_cancelled(ctx: Context, told: Told) -> None:
    before = asyncio.all_tasks()
    task = asyncio.create_task(watch(ctx, lambda lines: None))
    while not told.of(e.InstancesSeen):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.15)  # it waits for changes now
    await ended(task)
    assert asyncio.all_tasks() == before


async def test_two_failures_at_once_are_told_once_and_both_taken_note_of(
    ctx: Context, backend: FakeBackend, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    async def changes() -> AsyncGenerator[None, None]:
        yield
        raise GONE

    monkeypatch.setattr(backend, "changes", changes)
    backend.fail["instances"] = GONE
    task = asyncio.create_task(watch(ctx, lambda lines: None))
    while len(told.of(e.EngineLost)) < 3:
        await asyncio.sleep(0.005)
    await ended(task)
    gc.collect()
    assert complaints == []
