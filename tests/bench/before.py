"""Upgrades of an earlier commit and of this one, in turn: what a change has cost or gained.

The earlier devenv builds its own images and runs a stack of its own; the writers are the same for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from devenv.model.probe import ProbeReport
from tests.e2e.conftest import Devenv, make

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

BEFORE = os.environ.get("BENCH_BEFORE", "")
"""A commit."""
AFTER = 3.0
"""Seconds that are counted once the old instance is gone."""


@contextlib.contextmanager
def stacks(folder: Path) -> Iterator[dict[str, Devenv]]:
    """One of each, with both releases built; by "before" and "now"."""
    checkout = str(folder / "checkout")
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", checkout, BEFORE], check=True)
    made = {}
    try:
        for name in ("before", "now"):
            made[name] = make(folder / name, f"devenv-bench-{name}")
        made["before"].environment["PYTHONPATH"] = checkout
        for devenv in made.values():
            devenv("reset", "--yes")
            devenv.done("build", "--release", "v1")
            devenv.done("build", "--release", "v2")
        yield made
    finally:
        for devenv in made.values():
            devenv("reset", "--yes")
        subprocess.run(["git", "worktree", "remove", "--force", checkout], check=True)


async def measure(bench: Bench, both: dict[str, Devenv], rounds: int) -> None:
    """One upgrade of each in every round; who goes first changes, as a machine gets slower and faster."""
    reports: dict[str, list[ProbeReport]] = {name: [] for name in both}
    closed: dict[str, list[float]] = {name: [] for name in both}
    for number in range(rounds):
        for name in both if number % 2 else reversed(both):
            bench.of(both[name])
            if number % 2 == 0:
                bench.anew()

            async def upgrade(name: str = name) -> None:
                run = await asyncio.to_thread(both[name].done, "upgrade", "--to", bench.other())
                closed[name].append(float(run.receipt["closed_ms"]))

            reports[name] += await bench.under_load(upgrade, AFTER)
    pauses = {name: [one.pause * 1000 for one in reports[name]] for name in both}
    medians = [(statistics.median(pauses[name]), statistics.median(closed[name])) for name in both]
    (old_pause, old_closed), (pause, was_closed) = medians
    bench.row(
        f"{rounds} upgrades of {BEFORE} and {rounds} of this commit, in turn",
        f"pause p50 {old_pause:.0f} and {pause:.0f} ms: {pause / old_pause:.2f}; "
        f"closed to open p50 {old_closed:.0f} and {was_closed:.0f} ms: {was_closed / old_closed:.2f}; "
        + "; ".join(f"{name}: {_failed(reports[name])}" for name in both),
        "1.0; lost 0, failed 0",
        pauses_ms=pauses,
        closed_ms=closed,
    )


def _failed(reports: list[ProbeReport]) -> str:
    lost = sum(len(one.lost) for one in reports)
    failed = sum(len(one.failures) for one in reports)
    uncounted = sum(1 for one in reports if one.uncounted)
    return f"lost {lost}, failed {failed}" + (f", {uncounted} not counted" if uncounted else "")
