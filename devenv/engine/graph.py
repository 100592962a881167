"""Runs a plan: steps side by side where they can, each with its time, its result and what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from devenv.model.events import Emit, Note, StepEnded, StepNoted, StepResult, StepStarted, StepWaiting
from devenv.model.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a step returns that found nothing to do."""

    reason: str


Work = Callable[[Note], Awaitable[str | Skipped | None]]
"""The work of a step. It returns a few words on its result, if there is something to say."""


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause: what follows it fell with it. A step can run a group of its own."""
    cause = failures.exceptions[0]
    return _first(cause) if isinstance(cause, BaseExceptionGroup) else cause


async def run(plan: Plan, work: Mapping[str, Work], emit: Emit) -> None:
    """Run every step of `plan`. The first failure cancels the rest and is raised.

    Cancelling this cancels the steps at work and waits until each has cleaned up after itself.
    """
    ended = {step.name: asyncio.Event() for step in plan.steps}
    finished: set[str] = set()

    async def one(step: Step) -> None:
        waiting = [name for name in step.after if not ended[name].is_set()]
        while waiting:
            emit(StepWaiting(step.name, step.title, tuple(waiting)))
            await ended[waiting[0]].wait()
            waiting = [name for name in waiting if not ended[name].is_set()]
        emit(StepStarted(step.name, step.title))
        begin = time.monotonic()
        result: StepResult = "failed"
        words = ""
        try:
            outcome = await work[step.name](lambda text: emit(StepNoted(step.name, text)))
            result = "skipped" if isinstance(outcome, Skipped) else "done"
            words = outcome.reason if isinstance(outcome, Skipped) else outcome or ""
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            finished.add(step.name)
            emit(StepEnded(step.name, step.title, result, time.monotonic() - begin, words))
        ended[step.name].set()

    try:
        async with asyncio.TaskGroup() as group:
            for step in plan.steps:
                group.create_task(one(step), name=f"{plan.action}: {step.name}")
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    finally:
        for step in plan.steps:
            if step.name not in finished:
                emit(StepEnded(step.name, step.title, "cancelled", 0.0, "not started"))
