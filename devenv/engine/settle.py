"""From whatever is there to one owner and nothing else: after an interruption, a crash, a failure.

An upgrade that was cut off before its completion is undone, one after it is finished, with the same
comparison and receipt as any other. In doubt nothing is touched.
"""

from __future__ import annotations

import asyncio
import time

from devenv.backends.protocol import PHP_FPM
from devenv.engine import finish
from devenv.engine.context import Context
from devenv.errors import DevenvError
from devenv.model.events import InstancesSeen, Notice
from devenv.model.instance import Instance
from devenv.model.standing import Standing, standing

_ANSWER = 15.0
"""A gate that has just started gets so many seconds to answer."""
_ROUNDS = 6
"""Each round does one thing and looks again; more rounds than cases means that we go in circles."""


async def look(ctx: Context) -> tuple[list[Instance], Standing]:
    """What is there now, as the engine and the gates tell."""
    instances = await ctx.backend.instances()
    ctx.emit(InstancesSeen(tuple(instances)))
    return instances, standing([one for one in instances if one.service == PHP_FPM])


async def settle(ctx: Context) -> Instance | None:
    """The one owner, after all that an interrupted run left is finished or undone. None: nothing is there."""
    deadline = time.monotonic() + _ANSWER
    rounds = 0
    while True:
        _, now = await look(ctx)
        if now.problem:
            raise DevenvError("the instances contradict each other", now.problem, now.next_step)
        if now.unknown:
            await _wait_for_gate(ctx, now.unknown[0], deadline)
            continue
        if now.tidy:
            if now.owner:
                await ctx.backend.prepare({PHP_FPM: now.owner.tag})
            return now.owner
        rounds += 1
        if rounds > _ROUNDS:
            raise DevenvError(
                "the instances do not settle", "each look finds another state", "see: devenv status"
            )
        await _one_step(ctx, now)


async def _one_step(ctx: Context, now: Standing) -> None:
    if now.revive:
        ctx.emit(Notice(f"{now.revive.name} owns the content and was not running: started again"))
        await ctx.backend.revive(now.revive)
    elif now.resume:
        ctx.emit(Notice(f"{now.resume.name} has no content yet: waiting until it has"))
        await ctx.backend.hook(now.resume)
    elif now.moved and now.owner:
        old = now.moved[0]
        ctx.emit(Notice(f"a hand-over from {old.name} to {now.owner.name} was not finished: finishing it"))
        await finish.finish(ctx, old, now.owner)
    for one in now.forks:
        await _save_fork(ctx, one)
    for one in now.discard:
        ctx.emit(Notice(f"{one.name} never got the content: removing it"))
        await ctx.backend.stop_one(one)
        await ctx.backend.remove_one(one)


async def _save_fork(ctx: Context, fork: Instance) -> None:
    """The later epoch stays; but what was written to this one exists nowhere else, so it is kept."""
    path = ctx.store.new_snapshot("fork", fork.release)
    await ctx.backend.retire(fork)
    await ctx.backend.stop_one(fork)
    if not await ctx.backend.last_snapshot(fork, path):
        raise DevenvError(
            f"{fork.name} ended without saving its content",
            "it owned an earlier epoch of the database; its container is kept",
            f"look at its log: docker logs {fork.name}",
        )
    await ctx.backend.remove_one(fork)
    words = f"{fork.name} served an earlier state of the database beside its owner; its content is in {path}"
    ctx.emit(Notice(words, "warning"))


async def _wait_for_gate(ctx: Context, instance: Instance, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise DevenvError(
            f"{instance.name} does not answer",
            "its gate gives no status",
            f"look at its log; to start it again: docker restart {instance.name}",
            await ctx.backend.log_tail(instance),
        )
    await asyncio.sleep(0.2)


async def owner_of(ctx: Context) -> Instance:
    """The settled owner, or an error that says how to get one."""
    owner = await settle(ctx)
    if owner is None:
        raise DevenvError("the stack does not run", "there is no instance", "start it: devenv up")
    return owner
