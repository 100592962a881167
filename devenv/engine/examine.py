"""doctor: look at this machine, mend it step by step where that is asked for, and put it back as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from devenv import doctor as room
from devenv.engine import graph
from devenv.engine.context import Context
from devenv.errors import NotFit, UsageError
from devenv.model.events import Answer

Ask = Callable[[str], None]
"""Raises where the answer is no."""


async def doctor(
    ctx: Context,
    fix: bool = False,
    ask_first: Ask = lambda words: None,
    platforms: tuple[str, ...] = (),
    undo: bool = False,
    replacing: bool = False,
) -> None:
    """Tell each check with its reason and its mend; with `fix`, mend what can be mended.

    `platforms`: that images are to be built for; those of devenv.toml where none is named. `undo`: put back
    what was mended before. `replacing`: an engine that runs containers may be replaced.

    Raises NotFit if this machine cannot run the stack after that.
    """
    if undo:
        if fix or replacing:
            raise UsageError("--undo takes nothing else", "it takes back what --fix does", "give one of both")
        await _undo(ctx, ask_first)
        return
    done: list[str] = []
    log = ctx.store.folder.parent / "dockerd.log"
    stack = ctx.stack.building_for(platforms) if platforms else ctx.stack
    while True:
        found = await room.examine(stack, ctx.store.cluster(stack.place))
        mends = await room.prescribe(found, log, replacing=replacing)
        steps = _told(mends)
        ctx.emit(Answer("doctor", {"checks": [asdict(one) for one in found], "mends": steps}))
        names = [mend.name for mend in mends]
        # What was missing can hide what else is: an engine that answers is asked more.
        if not fix or not mends or names == done:
            break
        ctx.emit(Answer("mends", {"steps": steps}))
        ask_first("doctor does this, step by step")
        await graph.run(room.in_turn(mends), {mend.name: mend.work for mend in mends}, ctx.emit)
        done = names
    if broken := [one for one in found if one.status == "fail"]:
        raise NotFit(
            "this machine cannot run the stack as it is",
            "; ".join(f"{one.name}: {one.reason}" for one in broken),
            room.advice(broken, tried=fix, options=f" --platform {','.join(platforms)}" if platforms else ""),
        )


async def _undo(ctx: Context, ask_first: Ask) -> None:
    steps = await room.take_back()
    if steps:
        ctx.emit(Answer("mends", {"steps": _told(steps)}))
        ask_first("doctor puts this machine back, step by step")
        await graph.run(room.in_turn(steps), {step.name: step.work for step in steps}, ctx.emit)
    ctx.emit(Answer("undo", {"steps": _told(steps)}))


def _told(mends: Sequence[room.Mend]) -> list[dict[str, Any]]:
    return [{"name": mend.name, "title": mend.title, "does": mend.does} for mend in mends]
