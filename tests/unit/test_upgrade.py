"""Upgrades against the fake backend: what is left, who owns the content, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from devenv.engine.context import Context
from devenv.engine.lifecycle import up
from devenv.engine.settle import settle
from devenv.engine.upgrade import next_release, rollback, upgrade
from devenv.errors import DevenvError, NotVerified, UsageError
from devenv.model.events import Notice, PhaseReached, ReceiptWritten, StepEnded
from devenv.model.instance import Gate, Instance
from tests.backends.fake import FakeBackend, Saved
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
    running.fail["hook"].instance_says = "run this"
    with pytest.raises(DevenvError, match="serves on with all content") as failed:
        await upgrade(ctx, "v2")
    assert failed.value.next_step == "mend the release"
    assert failed.value.instance_says == "run this"
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


async def test_an_owner_removed_by_force_is_told_of_with_the_snapshot_that_holds_its_content(
    ctx: Context, running: FakeBackend, told: Told
) -> None:
    running.pause["leased"] = asyncio.Event()
    running.fail["hook"] = DevenvError(
        "the owner of the database is gone", "nobody is there", "bring it back"
    )
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    running.containers.remove(running.owner)
    running.pause["leased"].set()
    with pytest.raises(DevenvError, match="was removed in the middle of the upgrade") as raised:
        await task
    [saved] = ctx.store.snapshots()
    assert f"devenv snapshot restore {saved.path.name}" in raised.value.next_step
    assert php(running) == []
    # What comes in its place is no news any more.
    told.clear()
    await up(ctx)
    assert not [one for one in told.of(Notice) if one.level == "warning"]  # type: ignore[attr-defined]


async def test_a_new_one_that_its_engine_starts_again_and_again_goes_when_its_owner_was_removed_by_force(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the engine makes in the old one's place would wait for it."""
    monkeypatch.setattr("devenv.engine.settle._ANSWER", 0.0)
    running.pause["leased"] = asyncio.Event()
    running.fail["hook"] = DevenvError("the owner is gone", "nobody is there", "bring it back")
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    running.containers.remove(running.owner)
    [new] = [one for one in running.containers if one.service == "php-fpm"]
    new.answers = False
    true = running.instances
    words = {"error": "the owner of the database is gone", "why": "nobody is there", "next": "bring it back"}

    async def instances(*, ask_gates: bool = True) -> list[Instance]:
        return [replace(one, failed=words) for one in await true(ask_gates=ask_gates)]

    monkeypatch.setattr(running, "instances", instances)
    running.pause["leased"].set()
    with pytest.raises(DevenvError, match="was removed in the middle of the upgrade"):
        await task
    assert php(running) == []


@pytest.mark.parametrize("answers", [True, False])
async def test_a_new_one_that_may_have_all_of_the_content_stays_when_its_owner_was_removed_by_force(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """It can be the only copy: a person says whether it serves it."""
    monkeypatch.setattr("devenv.engine.settle._ANSWER", 0.0)
    running.pause["leased"] = asyncio.Event()
    running.fail["hook"] = DevenvError("it has no database", "after 90 s", "see its log")
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    running.containers.remove(running.owner)
    [new] = [one for one in running.containers if one.service == "php-fpm"]
    new.answers = answers
    true, true_gate = running.instances, running.gate
    words = {"error": "this instance has no database", "why": "after 90 s", "next": "see its log"}

    async def instances(*, ask_gates: bool = True) -> list[Instance]:
        return [replace(one, failed=words) for one in await true(ask_gates=ask_gates)]

    async def gate(instance: Instance) -> Gate | None:
        found = await true_gate(instance)
        return found and replace(found, role="incoming", staged=True, failed=words)

    monkeypatch.setattr(running, "instances", instances)
    monkeypatch.setattr(running, "gate", gate)
    running.pause["leased"].set()
    with pytest.raises(DevenvError):
        await task
    assert [one for one in running.containers if one.service == "php-fpm"] == [new]


async def test_an_owner_removed_by_force_when_it_had_handed_over_takes_nothing_with_it(
    ctx: Context, running: FakeBackend
) -> None:
    running.pause["completed"] = asyncio.Event()
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    [old] = [one for one in running.containers if one.role == "moved"]
    running.containers.remove(old)
    running.pause["completed"].set()
    await task
    assert php(running) == ["v2 owner running"]
    assert "written by a person" in running.owner.content["post"]


async def test_one_that_took_over_from_another_in_the_place_of_a_lost_owner_has_not_the_content(
    ctx: Context, running: FakeBackend
) -> None:
    running.pause["completed"] = asyncio.Event()
    task = asyncio.create_task(upgrade(ctx, "v2"))
    await running.reached.wait()
    running.containers.remove(next(one for one in running.containers if one.role == "moved"))
    running.owner.lineage = "begun anew"
    running.pause["completed"].set()
    with pytest.raises(DevenvError, match="and its content with it"):
        await task


@pytest.mark.parametrize("saved", [None, 1, 3, 4])
async def test_an_owner_killed_before_the_new_one_came_is_started_again_and_its_content_stays(
    ctx: Context, running: FakeBackend, saved: int | None
) -> None:
    """The new one finds nobody, and begins anew or from an old snapshot: that must not become the content.

    Its epoch says nothing: a snapshot of the fourth epoch, saved by hand, makes the new one the fifth owner.
    """
    running.owner.epoch = 4
    if saved:
        old = Saved("old.tar", {"post": ["first"]}, saved, running.owner.lineage or "")
        running.volume.append(old)
    running.killed_before_hand_over = True
    with pytest.raises(DevenvError, match="did not take the content over"):
        await upgrade(ctx, "v2")
    assert php(running) == ["v1 owner running"]
    assert "written by a person" in running.owner.content["post"]
    assert "fork" in [saved.reason for saved in ctx.store.snapshots()]


async def test_one_that_restored_all_that_a_stopped_owner_saved_at_its_end_goes_on_with_the_content(
    ctx: Context, running: FakeBackend
) -> None:
    """Somebody stopped the owner by hand just then. Nothing is missing, so nothing is taken back."""
    running.owner.epoch = 4
    running.owner.say("content", "snapshot", file="end.tar")
    running.volume.append(Saved("end.tar", running.owner.content, 4, running.owner.lineage or ""))
    running.killed_before_hand_over = True
    await upgrade(ctx, "v2")
    assert php(running) == ["v2 owner running"]
    assert "written by a person" in running.owner.content["post"]


async def test_a_damaged_database_stops_before_anything_is_started_and_is_saved_as_it_is(
    ctx: Context, running: FakeBackend
) -> None:
    running.damage = ["Tree 2 page 3: btreeInitPage() returns error code 11"]
    with pytest.raises(DevenvError, match="is damaged; .* serves on .*: Tree 2 page 3") as failed:
        await upgrade(ctx, "v2")
    assert str(ctx.store.snapshots()[-1].path) in failed.value.next_step
    assert "start_beside" not in running.calls
    assert php(running) == ["v1 owner running"]


async def test_a_new_one_that_was_restarted_as_it_opened_has_handed_back_and_the_old_one_serves_on(
    ctx: Context, running: FakeBackend
) -> None:
    running.handed_back = True
    with pytest.raises(DevenvError, match="did not keep the content; .* serves on") as failed:
        await upgrade(ctx, "v2")
    assert failed.value.exit_code == 1
    assert php(running) == ["v1 owner running"]
    assert "written by a person" in running.owner.content["post"]


async def test_a_new_one_that_could_not_ask_for_the_proof_is_not_waited_for(
    ctx: Context, running: FakeBackend
) -> None:
    """The old one was restarted just then. Its frozen file tells the same: the SHA-256 was equal."""
    running.unproved = True
    async with asyncio.timeout(5):
        await upgrade(ctx, "v2")
    assert php(running) == ["v2 owner running"]
    [(_, receipt)] = ctx.store.receipts()
    assert receipt.verified
    assert "SHA-256" in receipt.reason


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


@pytest.mark.parametrize("release", ["../../x1", "-v1", "v1\n", "a b1", "x" * 200 + "1"])
async def test_what_is_no_tag_is_no_release_whoever_names_it(
    ctx: Context, running: FakeBackend, release: str
) -> None:
    """A receipt has what an instance called itself; a build would write its log to a file of that name."""
    with pytest.raises(UsageError, match="is no release"):
        await upgrade(ctx, release)
    running.owner.release = release
    with pytest.raises(UsageError):
        await upgrade(ctx)
    assert ctx.store.snapshots() == []


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


async def test_a_hand_over_that_completes_while_the_gates_are_asked_makes_no_fork_of_the_old_one(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gate answers at a moment of its own: the old one still owned, the new one owned already."""
    await running.start_beside("v2", lambda _: None)
    true = running.instances
    early = [True]

    async def instances(*, ask_gates: bool = True) -> list[Instance]:
        found = await true(ask_gates=ask_gates)
        if early and early.pop():
            old = next(one for one in found if one.gate and one.gate.role == "moved")
            assert old.gate is not None
            found[found.index(old)] = replace(old, gate=replace(old.gate, role="owner", state="open"))
        return found

    monkeypatch.setattr(running, "instances", instances)
    await settle(ctx)
    assert php(running) == ["v2 owner running"]
    assert [receipt.verified for _, receipt in ctx.store.receipts()] == [True]


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


async def test_content_that_goes_back_while_it_is_compared_is_not_called_unverified(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new instance is restarted: at its end it gives the content, and what was written since, back."""
    await up(ctx)
    compare = backend.fingerprint

    async def give_back(instance: Instance) -> Mapping[str, Any]:
        old, new = (one for one in backend.containers if one.service == "php-fpm")
        if new.role == "owner":
            new.content["post"].append("written since")
            old.content = {table: list(rows) for table, rows in new.content.items()}
            new.role, old.role, old.epoch = "moved", "owner", new.epoch + 1
            new.say("owner", "terminating")
            old.say("successor", "completed", epoch=old.epoch)
            old.say("successor", "opened", epoch=old.epoch)
        return await compare(instance)

    monkeypatch.setattr(backend, "fingerprint", give_back)
    with pytest.raises(DevenvError, match="serves on with all content") as failed:
        await upgrade(ctx, "v2")
    assert not isinstance(failed.value, NotVerified)
    assert backend.owner.release == "v1"
    assert backend.owner.content["post"][-1] == "written since"
    assert all(receipt.verified for _, receipt in ctx.store.receipts())


@pytest.fixture
async def handing_over(running: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """An instance that came beside the owner gets the content just as one of them is stopped."""
    old = running.owner
    new = running.add("php-fpm", "v2", role="incoming")
    stop = running.stop_one

    async def complete_first(instance: Instance) -> None:
        if old.role == "owner" and new.epoch == 0:
            running._complete(old, new)
        await stop(instance)

    monkeypatch.setattr(running, "stop_one", complete_first)
    return running


async def test_a_newcomer_that_gets_the_content_as_it_is_discarded_keeps_it(
    ctx: Context, handing_over: FakeBackend
) -> None:
    await settle(ctx)
    assert php(handing_over) == ["v2 owner running"]
    assert "written by a person" in handing_over.owner.content["post"]


async def test_an_owner_that_hands_over_between_two_answers_is_no_fork(
    ctx: Context, handing_over: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (one for one in handing_over.containers if one.service == "php-fpm")
    ask = handing_over.instances

    async def one_after_the_other(*, ask_gates: bool = True) -> list[Instance]:
        found = await ask(ask_gates=ask_gates)
        if old.role != "owner":
            return found
        # The old one has answered. Its successor answers when it has the content.
        handing_over._complete(old, new)
        return [one if one.id == old.id else again for one, again in zip(found, await ask(), strict=True)]

    monkeypatch.setattr(handing_over, "instances", one_after_the_other)
    await settle(ctx)
    assert php(handing_over) == ["v2 owner running"]
    assert ctx.store.snapshots() == []
    assert [receipt.verified for _, receipt in ctx.store.receipts()] == [True]


async def test_what_fails_of_a_state_that_has_passed_is_looked_at_again(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one owns the content when it is looked at, and gives it back before both are compared."""
    old = running.owner
    await running.start_beside("v2", lambda _: None)
    new = running.owner
    ask = running.fingerprint

    async def give_back(instance: Instance) -> Mapping[str, Any]:
        if new.role == "owner":
            running._complete(new, old)
            old.say("successor", "fingerprint", fingerprint=await ask(instance))
        return await ask(instance)

    monkeypatch.setattr(running, "fingerprint", give_back)
    await settle(ctx)
    assert php(running) == ["v1 owner running"]
    assert "written by a person" in running.owner.content["post"]


async def test_a_contradiction_is_told_where_it_stays(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.engine.settle._AGAIN", 0.0)
    await running.start_beside("v2", lambda _: None)
    new = running.owner
    ask = running.instances
    looks: list[str] = []

    async def in_between(*, ask_gates: bool = True) -> list[Instance]:
        looks.append(new.role)
        new.role = "owner" if len(looks) > passing else "moved"
        return await ask(ask_gates=ask_gates)

    monkeypatch.setattr(running, "instances", in_between)
    passing = 9
    with pytest.raises(DevenvError, match="contradict"):
        await settle(ctx)
    assert len(looks) == 2
    looks.clear()
    passing = 1
    await settle(ctx)
    assert php(running) == ["v2 owner running"]


async def test_one_that_is_started_late_has_as_long_to_answer_as_any_other(
    ctx: Context, running: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before it has taken all the time that a gate gets."""
    monkeypatch.setattr("devenv.engine.settle._ANSWER", 0.3)
    owner = running.owner
    owner.state = "exited"
    revive = running.revive

    async def slowly(instance: Instance) -> None:
        await asyncio.sleep(0.4)
        await revive(instance)
        owner.answers = False
        asyncio.get_running_loop().call_later(0.1, setattr, owner, "answers", True)

    monkeypatch.setattr(running, "revive", slowly)
    await settle(ctx)
    assert php(running) == ["v1 owner running"]
