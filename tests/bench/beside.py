"""Upgrades with a gigabyte of files beside the database, 20 of which change all the time, and without."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.conftest import Devenv, docker, make

if TYPE_CHECKING:
    from devenv.model.probe import ProbeReport
    from tests.bench.__main__ import Bench

FILES, BYTES, CHANGING = 5000, 200_000, 20
ROUNDS = 4
AFTER = 3.0
"""Seconds that are counted once the old instance is gone."""
FILL = f"mkdir -p data/files; for i in $(seq {FILES}); do head -c {BYTES} /dev/urandom > data/files/$i; done"
CHANGE = f"while :; do for i in $(seq {CHANGING}); do echo $i >> data/files/$i; done; sleep 0.05; done"


def stack(folder: Path) -> Devenv:
    return make(folder, "devenv-bench-beside")


async def measure(bench: Bench) -> None:
    pauses: dict[str, list[float]] = {}
    reports: list[ProbeReport] = []
    for name in ("without", "with"):
        bench.anew()
        if name == "with":
            docker("exec", bench.devenv.containers("php-fpm")[0], "sh", "-c", FILL)
        pauses[name] = []
        for _ in range(ROUNDS):
            [owner] = bench.devenv.containers("php-fpm")
            if name == "with":
                docker("exec", "--detach", owner, "sh", "-c", CHANGE)

            async def upgrade() -> None:
                await asyncio.to_thread(bench.devenv.done, "upgrade", "--to", bench.other())

            [report] = await bench.under_load(upgrade, AFTER)
            reports.append(report)
            pauses[name].append(report.pause * 1000)
    without, with_ = (statistics.median(pauses[name]) for name in ("without", "with"))
    lost = sum(len(report.lost) for report in reports)
    failed = sum(len(report.failures) for report in reports)
    bench.row(
        f"{FILES} files of {BYTES // 1000} kB beside the database, {CHANGING} changing",
        f"lost {lost}, failed {failed}; pause p50 {with_:.0f} ms, without them {without:.0f} ms:"
        f" {with_ - without:+.0f} ms",
        "+150 ms",
        pauses_ms=pauses,
    )
