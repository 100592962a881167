"""Upgrades against the fake backend: what is left, who owns the content, what is told."""

from __future__ import annotations

import asyncio

import pytest

from devenv.engine.context import Context
from devenv.engine.lifecycle import up
from devenv.engine.settle import settle
from devenv.engine.upgrade import next_release, rollback, upgrade
from devenv.errors import DevenvError, NotVerified, UsageError
from devenv.model.events import PhaseReached, ReceiptWritten, StepEnded
from tests.backends.fake import FakeBackend
from tests.unit.conftest import FakeImages, Told


@pytest.fixture
async def running(ctx: Context, backend: FakeBackend) -> FakeBackend:
    await up(ctx)
    backend.owner.content["post"].append("written by a person")
    return backend


def php(backend: FakeBackend) -> list[str]:
    return [f"{one.release} {one.role} {one.state}" for one in backend.containers if one.service == "php-fpm"]


async def test_an_upgrade_leaves_one_owner_of_the_new_release_with_the_content(
    ctx: Context, running: FakeBackend, told: Told
) -> None:
    await upgrade(ctx, "v2")
    assert php(running) == ["v2 owner running"]
    assert running.owner.content == {"post": ["first", "written by a person"]}
    assert running.settings["php-fpm"] == "v2"
    [written] = told.of(ReceiptWritten)
    assert isinstance(written, ReceiptWritten)
    assert written.receipt["verified"]
    assert (written.receipt["old"]["epoch"], written.receipt["new"]["epoch"]) == (1, 2)
    assert written.receipt["closed_ms"] is not None


async def test_phases_are_told_while_the_hand_over_runs(
    ctx: Context, running: FakeBackend, told: Told
) -> None:
    running.pause["leased"] = asyncio.Event()
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    await asyncio.sleep(0.05)
    assert [event.phase for event in told.of(PhaseReached)] == ["discover"]  # type: ignore[attr-defined]
    running.pause["leased"].set()
    await task


async def test_a_failed_hand_over_removes_the_new_instance_and_says_that_the_old_one_serves(
    ctx: Context, running: FakeBackend
) -> None:
    running.fail["hook"] = DevenvError("the release cannot serve", "warm-up answers 500", "mend the release")
    with pytest.raises(DevenvError, match="serves on with all content") as failed:
        await upgrade(ctx, "v2")
    assert failed.value.next_step == "mend the release"
    assert php(running) == ["v1 owner running"]
    assert running.settings["php-fpm"] == "v1"


async def test_content_that_differs_keeps_both_instances_and_is_not_verified(
    ctx: Context, running: FakeBackend
) -> None:
    running.corrupt = True
    with pytest.raises(NotVerified, match="differ in post") as failed:
        await upgrade(ctx, "v2")
    assert failed.value.exit_code == 3
    assert php(running) == ["v1 moved running", "v2 owner running"]
    assert not ctx.store.receipts()[-1][1].verified


@pytest.mark.parametrize(
    ("phase", "left", "receipts"),
    [("leased", "v1 owner running", 0), ("completed", "v2 owner running", 1)],
)
async def test_an_interrupt_undoes_before_completion_and_finishes_after_it(
    ctx: Context, running: FakeBackend, phase: str, left: str, receipts: int
) -> None:
    running.pause[phase] = asyncio.Event()
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    task.cancel()
    if phase == "leased":
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await task
    assert php(running) == [left]
    assert "written by a person" in running.owner.content["post"]
    assert len(ctx.store.receipts()) == receipts


async def test_a_second_interrupt_does_not_stop_the_tidying(ctx: Context, running: FakeBackend) -> None:
    running.pause["completed"] = asyncio.Event()
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert php(running) == ["v2 owner running"]


async def test_an_owner_killed_before_the_new_one_came_is_started_again_and_its_content_stays(
    ctx: Context, running: FakeBackend
) -> None:
    """The new one finds nobody, and begins from an old snapshot: that must not become the content."""
    running.volume.append(("old.tar", {"post": ["first"]}))
    running.killed_before_hand_over = True
    with pytest.raises(DevenvError, match="did not take the content over"):
        await upgrade(ctx, "v2")
    assert php(running) == ["v1 owner running"]
    assert "written by a person" in running.owner.content["post"]
    assert "fork" in [saved.reason for saved in ctx.store.snapshots()]


async def test_rollback_brings_back_the_release_with_todays_content(
    ctx: Context, running: FakeBackend
) -> None:
    await upgrade(ctx, "v2")
    running.owner.content["post"].append("written on v2")
    await rollback(ctx)
    assert php(running) == ["v1 owner running"]
    assert running.owner.content["post"][-1] == "written on v2"
    await rollback(ctx)
    assert php(running) == ["v2 owner running"]


async def test_rollback_without_an_upgrade_says_what_to_do(ctx: Context, running: FakeBackend) -> None:
    with pytest.raises(UsageError, match="no release before v1"):
        await rollback(ctx)


async def test_a_release_that_cannot_be_built_stops_before_anything_is_started(
    ctx: Context, running: FakeBackend
) -> None:
    assert isinstance(ctx.images, FakeImages)
    ctx.images.broken = DevenvError("the image php-fpm:v9 cannot be built", "RUN false", "mend it")
    with pytest.raises(DevenvError, match="php-fpm:v9 cannot be built"):
        await upgrade(ctx, "v9")
    assert "start_beside" not in running.calls
    assert php(running) == ["v1 owner running"]


async def test_a_release_that_is_there_is_not_built_again(ctx: Context, running: FakeBackend) -> None:
    assert isinstance(ctx.images, FakeImages)
    await upgrade(ctx, "v2")
    ctx.images.asked.clear()
    await upgrade(ctx, "v1")
    assert ctx.images.asked == []


@pytest.mark.parametrize("phase", ["leased", "completed"])
async def test_what_a_killed_devenv_left_is_settled_by_the_next_run(
    ctx: Context, running: FakeBackend, told: Told, phase: str
) -> None:
    """No clean-up runs: the same as a SIGKILL."""
    running.pause[phase] = asyncio.Event()
    beside = asyncio.create_task(running.start_beside("v2", lambda _: None))
    await running.reached.wait()
    beside.cancel()
    owner = await settle(ctx)
    assert owner is not None
    expected = {"leased": "v1", "completed": "v2"}[phase]
    assert php(running) == [f"{expected} owner running"]
    assert running.settings["php-fpm"] == expected
    assert [receipt.resumed for _, receipt in ctx.store.receipts()] == [True] * (phase == "completed")


async def test_steps_that_never_ran_are_told_as_cancelled(
    ctx: Context, running: FakeBackend, told: Told
) -> None:
    running.fail["snapshot"] = DevenvError("no snapshot", "disk full", "make room")
    with pytest.raises(DevenvError):
        await upgrade(ctx, "v2")
    results = {event.step: event.result for event in told.of(StepEnded)[-7:]}  # type: ignore[attr-defined]
    assert results["snapshot"] == "failed"
    assert results["handover"] == results["receipt"] == "cancelled"


def test_the_next_release_is_the_next_number() -> None:
    assert next_release("v1") == "v2"
    assert next_release("1.9") == "1.10"
    with pytest.raises(UsageError):
        next_release("latest")
