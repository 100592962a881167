"""Ctrl-C and SIGKILL at each step of up, upgrade and down: what was begun can be gone on with at any time."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.model import plan
from tests.e2e.conftest import Devenv, Run, make, read_until
from tests.e2e.witness import content, nothing_lost, one_owner, writers

pytestmark = pytest.mark.engine

MARK = "DEVENV_TEST_RUN"
CTRL_C = (signal.SIGINT,)
CTRL_C_TWICE = (signal.SIGINT, signal.SIGINT)
KILL = (signal.SIGKILL,)
Signals = tuple[signal.Signals, ...]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("stop"), "devenv-stop")
    made("reset", "--yes")
    made.done("build", "--release", "v1")
    made.done("build", "--release", "v2")
    made.done("up")
    try:
        yield made
    finally:
        made("reset", "--yes")


@pytest.fixture
def devenv(stack: Devenv) -> Devenv:
    """A stack that runs, of any of two releases."""
    stack.done("up")
    return stack


def interrupted(devenv: Devenv, signals: Signals, step: str, *command: str) -> Run:
    """A command that gets `signals` when `step` starts. What it started itself ends with it."""
    mark = secrets.token_hex(8)
    process = devenv.start(*command, **{MARK: mark})
    read = read_until(process, event="step-started", step=step)
    assert read[-1].get("step") == step, read[-1]
    for number, one in enumerate(signals):
        time.sleep(0.2 if number else 0)
        process.send_signal(one)
    run = devenv.finish(process, read)
    if signals is not KILL:
        assert run.code in (0, 130), run.told()
        assert run.of("action-failed") == []
        assert left_behind(mark) == []
    # What a killed one had begun in the engine ends by itself.
    ends = time.monotonic() + 120
    while left := left_behind(mark):
        assert time.monotonic() < ends, left
        time.sleep(0.05)
    return run


def left_behind(mark: str) -> list[str]:
    """Programs that a run has started, and their programs: they have its mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def steps(of: plan.Plan) -> list[str]:
    return [step.name for step in of.steps]


@pytest.mark.parametrize("step", steps(plan.up()))
def test_an_up_that_is_interrupted_goes_on_where_it_was(devenv: Devenv, step: str) -> None:
    before = content(devenv)
    devenv.done("down")
    assert interrupted(devenv, CTRL_C, step, "up").code == 130
    assert interrupted(devenv, CTRL_C_TWICE, step, "up").code == 130
    if step in ("httpd", "start"):
        interrupted(devenv, KILL, step, "up")
    devenv.done("up")
    one_owner(devenv)
    assert content(devenv) == before


@pytest.mark.parametrize(
    ("step", "signals"),
    [
        *((step, CTRL_C) for step in steps(plan.down())),
        *((step, CTRL_C_TWICE) for step in ("stop", "remove")),
        *((step, KILL) for step in ("stop", "snapshot", "remove")),
    ],
)
async def test_a_down_that_is_interrupted_loses_no_write(devenv: Devenv, step: str, signals: Signals) -> None:
    async with writers(devenv.stack) as counted:
        await asyncio.to_thread(interrupted, devenv, signals, step, "down")
        await asyncio.to_thread(devenv.done, "up")
    nothing_lost(counted.report)
    one_owner(devenv)


@pytest.mark.parametrize(
    ("step", "signals"),
    [
        *((step, CTRL_C) for step in steps(plan.upgrade("v2"))),
        *((step, CTRL_C_TWICE) for step in ("handover", "retire")),
    ],
)
async def test_an_upgrade_that_is_interrupted_is_undone_or_finished_at_once(
    devenv: Devenv, step: str, signals: Signals
) -> None:
    before = one_owner(devenv)["release"]
    after = other(before)
    async with writers(devenv.stack) as counted:
        run = await asyncio.to_thread(interrupted, devenv, signals, step, "upgrade", "--to", after)
        # Nothing is left to put in order.
        assert one_owner(devenv)["release"] == (after if run.code == 0 else before)
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == []


@pytest.mark.parametrize("then", ["up", "upgrade"])
@pytest.mark.parametrize("step", ["snapshot", "handover", "verify", "retire"])
async def test_after_a_kill_each_command_puts_in_order_what_was_begun(
    devenv: Devenv, step: str, then: str
) -> None:
    after = other(one_owner(devenv)["release"])
    again = ["up"] if then == "up" else ["upgrade", "--to", after]
    async with writers(devenv.stack) as counted:
        await asyncio.to_thread(interrupted, devenv, KILL, step, "upgrade", "--to", after)
        run = await asyncio.to_thread(devenv.done, *again)
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == [], run.told()
    status = one_owner(devenv)
    if then == "upgrade":
        assert status["release"] == after


def other(release: object) -> str:
    return "v1" if release == "v2" else "v2"
