"""From whatever is there to one owner and nothing else: after an interruption, a crash, a failure.

An upgrade that was cut off before its completion is undone, one after it is finished, with the same
comparison and receipt as any other. In doubt nothing is touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from devenv.backends.protocol import PHP_FPM
from devenv.engine import finish
from devenv.engine.context import Context
from devenv.engine.store import FORK
from devenv.errors import CommandFailed, DevenvError, NotVerified
from devenv.model.events import InstancesSeen, Notice
from devenv.model.instance import Gate, Instance
from devenv.model.standing import Standing, standing

_ANSWER = 15.0
"""A gate that has just started gets so many seconds to answer."""
_AGAIN = 0.5
"""Seconds until a contradiction must still be there to be believed; a completion takes less."""
_ROUNDS = 6
"""Each round does one thing and looks again; more rounds than cases means that we go in circles."""


async def look(ctx: Context) -> tuple[list[Instance], Standing]:
    """What is there now, as the engine and the gates tell."""
    instances = await ctx.backend.instances()
    ctx.emit(InstancesSeen(tuple(instances)))
    php_fpm = [one for one in instances if one.service == PHP_FPM]
    return instances, standing(php_fpm, ctx.backend.by_hand)


async def settle(ctx: Context) -> Instance | None:
    """The one owner, after all that an interrupted run left is finished or undone. None: nothing is there."""
    deadline = time.monotonic() + _ANSWER
    rounds = 0
    doubted = False
    while True:
        before, now = await look(ctx)
        if now.problem:
            if doubted:
                raise DevenvError("the instances contradict each other", now.problem, now.next_step)
            # Each gate answers at a moment of its own: what two of them say in a hand-over need not agree.
            doubted = True
            await asyncio.sleep(_AGAIN)
            continue
        doubted = False
        if now.unknown:
            await _wait_for_gate(ctx, now.unknown[0], deadline)
            continue
        if now.tidy:
            if now.owner:
                await ctx.backend.prepare({PHP_FPM: now.owner.tag})
                recognise(ctx, now.owner)
            return now.owner
        rounds += 1
        if rounds > _ROUNDS:
            raise DevenvError(
                "the instances do not settle", "each look finds another state", "see: devenv status"
            )
        try:
            await _one_step(ctx, now)
        except NotVerified:
            raise
        except DevenvError as error:
            # Instances act by themselves: where another state has come, the step was for one that has passed.
            after, _ = await look(ctx)
            if _roles(after) == _roles(before) or _waits_in_vain(error, now.resume, after):
                raise
        deadline = time.monotonic() + _ANSWER  # what was started just now has as long as any other


def _waits_in_vain(error: DevenvError, resumed: Instance | None, after: Sequence[Instance]) -> bool:
    """Whether it says itself that it has found no content, and still has none.

    Kubernetes ends its container then, and starts it again: that is no other state.
    """
    if resumed is None or isinstance(error, CommandFailed):
        return False
    there = [one for one in after if one.id == resumed.id]
    return len(there) == 1 and (there[0].gate is None or there[0].gate.role in ("fresh", "incoming"))


def _roles(instances: Sequence[Instance]) -> set[tuple[object, ...]]:
    """What a step goes by, of each."""
    return {
        (one.id, one.running, one.gate and (one.gate.role, one.gate.epoch, one.gate.lineage))
        for one in instances
    }


def recognise(ctx: Context, owner: Instance) -> None:
    """Tell of a database that is a new one, though there was content: it went with the one that had it.

    An engine that removes an instance by force (kubectl delete --force, a lost node) lets nobody take over.
    """
    gate = owner.gate
    if gate is None or not gate.lineage:
        return
    known = ctx.store.lineage(ctx.stack.place)
    if known and gate.lineage != known and not gate.restored:
        ctx.emit(
            Notice(
                f"{owner.name} has a new database: the instance that had the content is gone."
                f" {newest_snapshot(ctx)}",
                "warning",
            )
        )
    ctx.store.keep_lineage(ctx.stack.place, gate.lineage)


def forget(ctx: Context) -> None:
    """The database that is there is about to be another one, and a person knows."""
    ctx.store.keep_lineage(ctx.stack.place, "")


def newest_snapshot(ctx: Context) -> str:
    """What there is to go back to, with its age and the command for it."""
    saved = ctx.store.snapshots()
    if not saved:
        return "There is no snapshot of it on this machine"
    newest = saved[-1]
    minutes = max(time.time() - newest.time, 0) / 60
    age = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"
    return f"The newest snapshot is {age} old: devenv snapshot restore {newest.path.name}"


async def _one_step(ctx: Context, now: Standing) -> None:
    if now.revive:
        owns = "owns the content" if now.revive.owner else "is needed to finish a hand-over"
        ctx.emit(Notice(f"{now.revive.name} {owns} and was not running: started again"))
        await ctx.backend.revive(now.revive)
    elif now.resume:
        ctx.emit(Notice(f"{now.resume.name} has no content yet: waiting until it has"))
        await ctx.backend.hook(now.resume)
    elif now.moved and now.owner:
        old = now.moved[0]
        ctx.emit(Notice(f"a hand-over from {old.name} to {now.owner.name} was not finished: finishing it"))
        await finish.finish(ctx, old, now.owner)
    for one in now.forks:
        # Each gate says what it is at a moment of its own: with a hand-over between them, both said owner.
        gate = await ctx.backend.gate(one)
        if gate is not None and gate.role != "owner":
            continue
        await save_fork(ctx, one, "served an earlier state of the database beside its owner")
    for one in now.discard:
        ctx.emit(Notice(f"{one.name} never got the content: removing it"))
        await ctx.backend.stop_one(one)
        # It may have got it since we looked: then it is started again, and its hand-over is finished.
        if await _role_at_its_end(ctx, one) != "owner":
            await ctx.backend.remove_one(one)


async def _role_at_its_end(ctx: Context, stopped: Instance) -> str:
    gate = await ctx.backend.gate(replace(stopped, state="exited"))
    return gate.role if gate else ""


async def save_fork(ctx: Context, fork: Instance, why: str) -> None:
    """Another one stays; but what was written to this one exists nowhere else, so it is kept."""
    path = ctx.store.new_snapshot(ctx.stack.place, FORK, fork.release)
    if fork.running:
        await ctx.backend.retire(fork)
        await ctx.backend.stop_one(fork)
    if await _role_at_its_end(ctx, fork) == "moved":
        # No fork at all: it handed over between the answer that it gave us and the one of its successor.
        return
    if not await ctx.backend.last_snapshot(fork, path):
        raise DevenvError(
            f"{fork.name} ended without saving its content",
            f"it {why}; its container is kept",
            f"look at its log: {ctx.backend.by_hand('log', fork)}",
        )
    await ctx.backend.remove_one(fork)
    ctx.emit(Notice(f"{fork.name} {why}; its content is in {path}", "warning"))


async def answering(ctx: Context, instance: Instance) -> Gate:
    """What the gate says of an instance that has just been started, as soon as it answers."""
    deadline = time.monotonic() + _ANSWER
    while (gate := await ctx.backend.gate(instance)) is None:
        await _wait_for_gate(ctx, instance, deadline)
    return gate


async def _wait_for_gate(ctx: Context, instance: Instance, deadline: float) -> None:
    if time.monotonic() > deadline:
        if instance.leaving:
            raise DevenvError(
                f"{instance.name} is being removed, and has the content",
                "nobody has taken it over yet",
                f"see what keeps its successor: {ctx.backend.by_hand('look', instance)}; then try again",
            )
        if failed := instance.failed:
            raise DevenvError(f"{instance.name}: {failed['error']}", failed["why"], failed["next"])
        raise DevenvError(
            f"{instance.name} does not answer",
            "its gate gives no status",
            f"look at its log; to start it again: {ctx.backend.by_hand('restart', instance)}",
            await ctx.backend.log_tail(instance),
        )
    await asyncio.sleep(0.2)


async def owner_of(ctx: Context) -> Instance:
    """The settled owner, or an error that says how to get one."""
    owner = await settle(ctx)
    if owner is None:
        raise DevenvError("the stack does not run", "there is no instance", "start it: devenv up")
    return owner
