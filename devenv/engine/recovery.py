"""The one manual way out when an owner is gone for good: go on with what another instance has.

It does what nothing else here may: make an owner where there could be another. So it looks before and after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from devenv.backends.protocol import PHP_FPM
from devenv.engine import site
from devenv.engine.context import Context
from devenv.engine.settle import answering, forget, look, newest_snapshot
from devenv.errors import DevenvError, UsageError
from devenv.model import recovery
from devenv.model.actions import action
from devenv.model.events import Answer, Notice
from devenv.model.instance import Instance
from devenv.model.words import age

Ask = Callable[[str], None]
"""Returns when a person has agreed to what it is told; else it raises."""

_ANSWERS = 15.0
"""Seconds in which a gate that has just been started says what it is."""
_SERVES = 20.0
"""Seconds in which the recovered instance is the only one that serves."""
_AGAIN = 0.3
_LEFT = {"moved": "moved", "owner": "terminating", "incoming": "verified"}
"""By role: the phase with which an instance got, or left, the content that it has."""
_GOT = ("opened", "reopened", "recovered")


async def recover(
    ctx: Context, from_: str, *, force: bool = False, ask_first: Ask = lambda words: None
) -> None:
    """Have an instance own and serve the content that it has, or begin with the newest snapshot.

    Raises a DevenvError where another instance serves, or may serve, unless `force` is given; and where not
    exactly one serves afterwards.
    """
    there, chosen = await _look(ctx, from_, force=force)
    ctx.emit(Notice(await _prospect(ctx, there, chosen), "warning"))
    ask_first(f"recover gives up for good: {action('recover').destroys}")
    # Once more: a person takes their time to answer.
    _, chosen = await _look(ctx, from_, force=force)
    told = await _go_on(ctx, chosen, force=force)
    forget(ctx)
    if told.get("epoch") == 1 and not told.get("restored"):
        words = f"{chosen.name} has begun with the application's first content"
        ctx.emit(Notice(f"{words}. {newest_snapshot(ctx)}"))
    await _must_serve_alone(ctx, chosen)
    serves = await _site_answers(ctx)
    ctx.emit(Answer("recover", {**told, "instance": chosen.name, "serves": serves, "url": ctx.stack.url}))


async def _look(ctx: Context, from_: str, *, force: bool) -> tuple[list[Instance], Instance]:
    """All instances, and the one that is meant. Raises a DevenvError where another one speaks against it."""
    deadline = time.monotonic() + _ANSWERS
    while True:
        there, _ = await look(ctx)
        php_fpm = [one for one in there if one.service == PHP_FPM]
        chosen = next((one for one in php_fpm if from_ in (one.name, one.id, one.id[:12])), None)
        if chosen is None:
            raise UsageError(
                f"there is no instance {from_}", "status knows none of that name", "see: devenv status"
            )
        found = recovery.objections(php_fpm, chosen)
        if not found or force:
            return php_fpm, chosen
        if found[0].by != "silent" or time.monotonic() > deadline:
            stop = ctx.backend.by_hand("stop", found[0].instance)
            raise DevenvError(
                found[0].what,
                found[0].why(chosen),
                f"leave it alone; or, if it is not to go on, end it ({stop}) and try again;"
                f" or in spite of it: devenv recover --from {chosen.name} --force",
            )
        await asyncio.sleep(_AGAIN)


async def _prospect(ctx: Context, there: Sequence[Instance], chosen: Instance) -> str:
    """What will happen, in words."""
    content = recovery.content_of(chosen, await _since(ctx, chosen))
    lines = [f"{chosen.name} ({chosen.release}) goes on with {content}"]
    lines += [
        f"{one.name} owns the content of epoch {one.gate.epoch if one.gate else '?'} and is not gone, only"
        " stopped: devenv up starts it again with all that it has"
        for one in recovery.only_stopped(there, chosen)
    ]
    lines += [f"{one.what}: {one.why(chosen)}" for one in recovery.objections(there, chosen)]
    return "; ".join(lines)


async def _since(ctx: Context, chosen: Instance) -> str:
    """When it got, or left, the content that it has; empty where its journal does not tell."""
    role = chosen.gate.role if chosen.gate else ""
    moment: float | None = None
    with suppress(DevenvError):
        async for event in ctx.backend.gate_events(chosen, follow=False):
            if event["phase"] == _LEFT.get(role):
                moment = float(event["time"])
            elif event["phase"] in _GOT:
                moment = None
    if moment is None:
        return ""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return f"{clock} ({age(time.time() - moment)} ago)"


async def _go_on(ctx: Context, chosen: Instance, *, force: bool) -> dict[str, object]:
    """What its gate says of it then."""
    if not chosen.running:
        await ctx.backend.revive(chosen)
        gate = await answering(ctx, replace(chosen, state="running"))
        chosen = replace(chosen, state="running", gate=gate)
        if recovery.is_serving(chosen):
            ctx.emit(Notice(f"{chosen.name} was only stopped: it goes on with all that it has"))
            return asdict(gate)
    return dict(await ctx.backend.recover(chosen, force=force))


async def _must_serve_alone(ctx: Context, chosen: Instance) -> None:
    deadline = time.monotonic() + _SERVES
    while True:
        there, _ = await look(ctx)
        serving = [one for one in there if one.service == PHP_FPM and recovery.is_serving(one)]
        if [one.id for one in serving] == [chosen.id]:
            return
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_AGAIN)
    if len(serving) > 1:
        names = " and ".join(one.name for one in serving)
        commands = " or ".join(ctx.backend.by_hand("stop", one) for one in serving)
        raise DevenvError(
            f"{names} serve both",
            "each takes writes into a database of its own",
            f"stop the one that is not to go on, now: {commands}",
        )
    raise DevenvError(
        f"{chosen.name} was recovered and does not serve",
        f"{serving[0].name} does" if serving else "no instance does",
        f"see its log: {ctx.backend.by_hand('log', chosen)}",
        await ctx.backend.log_tail(chosen),
    )


async def _site_answers(ctx: Context) -> bool:
    """From where the user is."""
    try:
        await site.require(ctx, None)
    except DevenvError as error:
        ctx.emit(Notice(f"{error.what}: {error.why}; to start what is missing: devenv up", "warning"))
        return False
    return True
