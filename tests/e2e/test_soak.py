"""The soak itself, in small: four rounds of one seed, and a clock that really jumps."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import docker, remove_images
from tests.soak.plan import plan
from tests.soak.soak import Soak
from tests.soak.stage import Stage, prepare

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="it looks into containers from outside"
    ),
]

SEED = 5337
HOURS = 3 * 3600


async def test_a_few_rounds_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    devenv = prepare(tmp_path, "devenv-soaked", "compose")
    told: list[str] = []
    soak = Soak(devenv, "compose", told.append)
    rounds = plan(SEED, 4)
    assert {one.operation for one in rounds} == {"upgrade", "restore", "retire"}
    assert {one.fault.how for one in rounds if one.fault} == {"kill", "stop", "pause"}
    try:
        await soak.run(rounds)
    finally:
        devenv("reset", "--yes")
        remove_images(devenv)
    assert len(told) == len(rounds), told
    assert soak.totals["acknowledged"] > 100
    assert soak.totals["looks"] > 10
    assert soak.totals["jumps"] == 2


def test_the_clock_of_an_instance_jumps_and_its_journal_shows_it(tmp_path: Path) -> None:
    devenv = prepare(tmp_path, "devenv-clock", "compose")
    stage = Stage(devenv, "compose")
    try:
        devenv.done("up")
        for seconds in (HOURS, -HOURS):
            stage.set_clock(seconds)
            container = stage.owner().container
            docker("restart", container)
            events = docker("exec", container, "gate", "events").splitlines()
            off = json.loads(events[-1])["time"] - time.time()
            assert abs(off - seconds) < 60, events[-1]
    finally:
        devenv("reset", "--yes")
        remove_images(devenv)
