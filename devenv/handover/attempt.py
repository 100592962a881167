"""The course that an instance takes now to own a database, beside all else that it does."""

from __future__ import annotations

import asyncio
import time
import traceback

from .instance import Instance
from .problem import Problem
from .record import Role
from .settings import Address
from .successor import Course


class Attempt:
    """One at a time. What it fails of is told to whoever asks for the status."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._course: Course | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, taking_back: Address | None = None, *, forsaken: bool = False) -> asyncio.Task[None]:
        """Begin, or go on with the one that is under way. `forsaken`: see `Course`."""
        if self._course is None or self._task is None or self._task.done():
            self._instance.failed = None
            self._course = Course(self._instance)
            self._task = asyncio.get_running_loop().create_task(self._follow(self._course, taking_back))
        self._course.forsaken |= forsaken
        return self._task

    async def _follow(self, course: Course, taking_back: Address | None) -> None:
        try:
            await course.run(taking_back)
        except Problem as problem:
            self._fail(course, problem)
        except Exception as error:
            traceback.print_exception(error)
            self._fail(course, Problem("the hand-over failed", repr(error), "see the log of this instance"))

    def _fail(self, course: Course, problem: Problem) -> None:
        self._instance.failed = problem
        course.say("failed", **problem.as_json())

    async def cancel(self) -> None:
        """It is over on return, whichever way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def end(self, last: float) -> None:
        """A terminating instance takes no database; but it finds out, until `last`, whether it has it."""
        task, deadlines = self._task, self._instance.settings.deadlines
        if task is None or task.done():
            return
        while self._course and self._course.completing and time.monotonic() < last:  # noqa: ASYNC110
            await asyncio.sleep(deadlines.poll)
        if self._instance.record.role is not Role.OWNER:
            task.cancel()
        left = max(last - time.monotonic(), 0)
        await asyncio.wait([task], timeout=min(left, deadlines.reply))
