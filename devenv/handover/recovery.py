"""The way out for a person: the one that had the content since is gone for good, so go on with what is here.

Nothing else here may make an owner where there could be another one; so it looks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from . import database
from . import mark as marks
from .attempt import Attempt
from .discovery import View
from .instance import Instance, in_thread
from .placement import Placement
from .problem import Problem
from .record import Role


class Recovery:
    def __init__(self, instance: Instance, attempt: Attempt) -> None:
        self._instance = instance
        self._settings = instance.settings
        self._attempt = attempt

    async def run(self, *, force: bool) -> None:
        """Own what is here. Raises a `Problem` where somebody else serves or may serve, unless `force`."""
        instance = self._instance
        if not force:
            _require_no_owner(await instance.look())
        if instance.record.role is Role.FRESH:
            await self._recover_snapshot()
        elif instance.record.staged and instance.record.role is Role.INCOMING:
            await self._recover_staged()
        elif instance.may("recover") and instance.record.role is not Role.INCOMING:
            await self._attempt.cancel()
            if instance.record.role is Role.MOVED and self._settings.database.exists():
                database.thaw(self._settings.database)
            self._own()
        else:
            raise Problem(
                "there is nothing to recover",
                f"the role is {instance.record.role}, the state {instance.state}",
                "ask one that has moved, or one that waits for an owner",
            )
        instance.journal.write("owner", "recovered", epoch=instance.record.epoch)

    async def _recover_staged(self) -> None:
        """All of the content is here, and whoever could say that it has let go is gone."""
        instance = self._instance
        await self._attempt.cancel()
        if not instance.record.staged:
            return  # the answer came just now
        try:
            await in_thread(Placement(self._settings).put)
            self._own()
        except BaseException:
            self._attempt.begin()  # its giver may come back: it is asked again
            raise
        await in_thread(Placement(self._settings).forget)

    def _own(self) -> None:
        instance = self._instance
        mark = None
        with contextlib.suppress(Problem):
            mark = marks.load(self._settings.snapshots)
        instance.make(
            "recover",
            successor=None,
            # Of its own: should the other come back, neither passes for the other.
            lineage=secrets.token_hex(8),
            epoch=instance.record.epoch + 1,
            begun_after=mark.signature if mark else "",
            staged=False,
            token="",
        )
        instance.failed = None
        instance.open()

    async def _recover_snapshot(self) -> None:
        """Begin with the newest snapshot, though the instance that has the content did not save it."""
        task = self._attempt.begin(forsaken=True)
        await asyncio.wait([task], timeout=self._settings.deadlines.reply)
        if self._instance.failed is not None:
            raise self._instance.failed
        if self._instance.record.role is not Role.OWNER:
            raise Problem(
                "it has not begun yet", "somebody else may have the content", "see: gate events", final=False
            )


def _require_no_owner(view: View) -> None:
    """Two that serve would each take writes that the other one never gets."""
    anyway = "if you know better: devenv recover --force (by hand: gate recover --force)"
    for seen in view.peers:
        status = seen.status
        name = f"{seen.uid[:8]} at {seen.control[0]} ({status['release']}, epoch {status['epoch']})"
        if seen.role is Role.OWNER and status["served"] and not status.get("failed"):
            raise Problem(
                "another instance owns the content and serves it",
                name,
                f"leave it to that one, or end it first; {anyway}",
            )
        if seen.role is Role.INCOMING and status.get("staged"):
            raise Problem(
                "another instance has the newest content",
                f"{name} has all of it, and was not told yet that it may own it",
                f"recover that one; {anyway}",
            )
    if view.silent or view.unknown:
        raise Problem(
            "it is not sure that the owner is gone",
            f"{', '.join(view.silent)} does not answer" if view.silent else str(view.unknown),
            f"end what does not answer, then try again; {anyway}",
            final=False,
        )
