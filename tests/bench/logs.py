"""What the log's pane costs at 20,000 lines a second: `python -m tests.bench.logs` prints it as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType

from devenv.cli.screen import spread_collections
from devenv.logs.query import Query
from devenv.model.events import LogLine
from devenv.tui.log_pane import LogPane

RATE = 20_000
BATCH = 500
SECONDS = 4.0
TICK = 0.005
SOURCES = ("devenv-httpd-1", "devenv-php-fpm-1", "devenv-php-fpm-2")


class Host(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [("t", "times", "timestamps")]

    def __init__(self) -> None:
        super().__init__()
        self.pane = LogPane("/tmp/whole.log")
        self.painted = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_ready(self) -> None:
        gc.collect()
        spread_collections()

    def action_times(self) -> None:
        self.pane.action_timestamps()
        self.call_after_refresh(self.painted.set)


def batches() -> Iterator[list[LogLine]]:
    """As a web server logs: some colour, some wide characters, a long line now and then."""
    number = 0
    while True:
        lines = []
        for _ in range(BATCH):
            number += 1
            text = f'172.18.0.1 - - "GET /post/{number} HTTP/1.1" 200 {number % 9000} "Mozilla/5.0 (X11)"'
            if number % 10 == 0:
                text = f"\x1b[33mwarning\x1b[0m: slow query {number} took \x1b[1m{number % 900} ms\x1b[0m"
            elif number % 50 == 1:
                text += " päivää 日本語のログ"
            elif number % 500 == 2:
                text *= 20
            lines.append(LogLine(SOURCES[number % 3], text))
        yield lines


async def feed(pane: LogPane, seconds: float) -> int:
    """At the rate, whatever it takes; tells how many lines that were."""
    started, sent = time.monotonic(), 0
    for lines in batches():
        pane.feed(lines)
        sent += len(lines)
        ahead = started + sent / RATE - time.monotonic()
        await asyncio.sleep(max(0, ahead))
        if time.monotonic() - started > seconds:
            return sent
    return sent


async def stalls(found: list[tuple[float, float]]) -> None:
    """How long the loop did not come back to a task that sleeps 5 ms: by the clock, and at work itself.

    The two differ by what other programs take from this machine meanwhile.
    """
    while True:
        before, worked = time.monotonic(), time.thread_time()
        await asyncio.sleep(TICK)
        found.append((time.monotonic() - before - TICK, time.thread_time() - worked))


async def keys(app: Host, found: list[float]) -> None:
    """From a key, on the way that all keys go, until what it does has been painted."""
    while True:
        await asyncio.sleep(0.1)
        before = time.monotonic()
        app.painted.clear()
        app.simulate_key("t")
        await app.painted.wait()
        found.append(time.monotonic() - before)


def spread(values: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(len(ordered) * part))] * 1000, 1)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def loop(waits: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "stall_ms": spread([by_clock for by_clock, _ in waits]),
        "stall_at_work_ms": spread([at_work for _, at_work in waits]),
    }


async def one(*, wrap: bool, query: str, search: str, paused: bool = False) -> dict[str, Any]:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        pane = app.pane
        if wrap:
            pane.action_wrap()
        pane.lens.choose(filter=Query(query))
        pane.lens.look_for(Query(search))
        # Full before it is measured: then lines also go.
        await feed(pane, 3.0)
        if paused:
            pane.action_line_up()
        await pilot.pause()
        waits: list[tuple[float, float]] = []
        presses: list[float] = []
        tasks = [asyncio.create_task(stalls(waits)), asyncio.create_task(keys(app, presses))]
        cpu, wall = _cpu(), time.monotonic()
        sent = await feed(pane, SECONDS)
        cpu, wall = _cpu() - cpu, time.monotonic() - wall
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {
            "lines_per_second": round(sent / wall),
            **loop(waits),
            "key_ms": spread(presses),
            "cpu_share": round(cpu / wall, 2),
            "kept": len(pane.store),
            "dropped": pane.store.dropped,
            "shown": pane.lens.lines,
        }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def memory() -> dict[str, Any]:
    """Of the pane and all that it holds, beyond an app with an empty one; apart, for it slows all down."""
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        gc.collect()
        tracemalloc.start()
        for lines, _ in zip(batches(), range(300), strict=False):
            app.pane.feed(lines)
            app.pane.flush()
            await asyncio.sleep(0)
        del lines
        gc.collect()
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        mib = 1024 * 1024
        limit = app.pane.store.limit
        return {
            "limit_mib": limit / mib,
            "used_mib": round(used / mib, 1),
            "peak_mib": round(peak / mib, 1),
            "kept": len(app.pane.store),
            "inside": used <= limit,
        }


async def rebuilding() -> dict[str, Any]:
    """The longest stall while a full store is filtered anew, letter by letter, and wrapped and unwrapped."""
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        pane = app.pane
        for lines, _ in zip(batches(), range(200), strict=False):
            pane.feed(lines)
            pane.flush()
        await pilot.pause()
        waits: list[tuple[float, float]] = []
        task = asyncio.create_task(stalls(waits))
        for query in ("1", "12", "123", "slow.*ms", ""):
            pane.lens.choose(filter=Query(query))
            pane.view.touch()
            await asyncio.sleep(0.4)
            pane.action_wrap()
            await asyncio.sleep(0.4)
        task.cancel()
        return {"kept": len(pane.store), **loop(waits)}


async def measure() -> dict[str, Any]:
    """Stalls of at most 50 ms, keys within 100 ms, memory inside the store's limit: that is the goal."""
    return {
        "plain": await one(wrap=False, query="", search=""),
        "wrapped": await one(wrap=True, query="", search=""),
        "filtered": await one(wrap=False, query="[13579] HTTP", search=""),
        "wrapped, filtered, searched": await one(wrap=True, query="GET|slow", search="99"),
        "paused, wrapped": await one(wrap=True, query="", search="", paused=True),
        "rebuilding": await rebuilding(),
        "memory": await memory(),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure()), indent=1))
