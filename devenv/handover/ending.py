"""The end of an instance: it hands over, or saves its content; what it relays is finished."""

from __future__ import annotations

import asyncio
import contextlib
import time

from . import snapshot
from .attempt import Attempt
from .instance import Instance, in_thread
from .owner import Owner
from .problem import Problem
from .record import Role
from .relay import refuse_new, waiting
from .settings import Address
from .states import State
from .wire import Refused, Unreachable

EXIT = 2.0
"""To end the process itself, before the engine would."""
_WAITING = 0.01
"""Between two looks at how many wait to be accepted."""


class Ending:
    def __init__(self, instance: Instance, owner: Owner, attempt: Attempt) -> None:
        self._instance = instance
        self._owner = owner
        self._attempt = attempt
        self._settings = instance.settings
        self._deadlines = instance.settings.deadlines

    async def run(self) -> None:
        """All of it, until the process may exit."""
        instance = self._instance
        if instance.state is State.ENDING:
            return  # it has stepped aside
        instance.terminating = True
        asked = time.monotonic()
        self._owner.say("terminating", role=instance.record.role)
        last = asked + self._deadlines.termination
        await self._attempt.end(last)
        if instance.record.role is Role.OWNER and instance.record.served:
            await self._end_owner(last)
        if instance.record.role is Role.MOVED:
            await self._end_moved(asked + self._deadlines.grace)
        elif instance.may("leave"):
            instance.make("leave")

    async def _end_owner(self, last: float) -> None:
        """Hand over to whoever is there; alone, save a snapshot."""
        instance = self._instance
        await self._wait_for_successor(last)
        if not instance.may("end"):
            return
        # From here on nothing opens it again: what is saved now is the last word.
        self._owner.revoke()
        instance.make("end")
        refuse_new(instance.listener)
        cut = time.monotonic() + self._deadlines.finish
        await self._serve_waiting(cut)
        await instance.servers.begin_drain()
        if not await instance.servers.drained(max(cut - time.monotonic(), 0)):
            self._owner.say("cut", requests=instance.servers.unfinished())
            instance.servers.kill()
        if self._settings.snapshots is None:
            return
        if self._owner.restoring:
            instance.journal.write("content", "unsaved", why="a snapshot is still being put in its place")
        elif not await self._owner.shut_out():
            instance.journal.write("content", "unsaved", why="a program in a shell does not end")
        else:
            await self._save_last()

    async def _serve_waiting(self, last: float) -> None:
        """Those that the kernel has already accepted are served as well, where somebody serves."""
        instance = self._instance
        while instance.servers.serving and waiting(instance.listener) and time.monotonic() < last:  # noqa: ASYNC110
            await asyncio.sleep(_WAITING)

    async def _save_last(self) -> None:
        """All of the content, as nobody writes to it any more."""
        instance = self._instance
        try:
            saved = await in_thread(snapshot.save, self._settings, instance.record, True)
        except (Problem, OSError) as error:
            # The mark still says that it is nowhere but here.
            instance.journal.write("content", "unsaved", why=str(error))
            return
        instance.journal.write("content", "snapshot", file=saved["file"], bytes=saved["bytes"])
        instance.sign(saved=saved["file"])

    async def _wait_for_successor(self, last: float) -> None:
        """Serve on until somebody has the database, or nobody comes for it."""
        instance = self._instance
        alone = time.monotonic()
        asked: set[str] = set()
        while instance.record.role is Role.OWNER and time.monotonic() < last:
            busy = self._owner.lease is not None or self._owner.restoring
            if busy or instance.retired:
                if not busy:
                    return
                alone = time.monotonic()
                await asyncio.sleep(self._deadlines.poll)
                continue
            view = await instance.look()
            others = [seen for seen in view.peers if not seen.status["terminating"]]
            comes = any(
                seen.role in (Role.FRESH, Role.INCOMING) and not seen.status.get("failed") for seen in others
            )
            for seen in others:
                if seen.role is Role.MOVED and seen.uid not in asked and not comes:
                    asked.add(seen.uid)
                    comes |= await self._ask_take_back(seen.control)
            heard = time.monotonic() - self._owner.last_word < self._deadlines.successor
            if comes or heard:
                alone = time.monotonic()
            elif time.monotonic() - alone > self._deadlines.successor:
                return
            await asyncio.sleep(self._deadlines.poll)

    async def _ask_take_back(self, control: Address) -> bool:
        def work() -> bool:
            with contextlib.suppress(Unreachable, Refused, Problem), self._instance.peer(control) as peer:
                peer.call("take-back", {"control": self._settings.control[1]})
                return True
            return False

        asked: bool = await in_thread(work)
        return asked

    async def _wait_for_a_ready_owner(self, last: float) -> None:
        """As long as nobody else is ready, an engine that counts endpoints sends requests here alone."""
        while time.monotonic() < last:
            for seen in (await self._instance.look()).peers:
                if seen.role is Role.OWNER and seen.status["ready"]:
                    return
            await asyncio.sleep(self._deadlines.poll)

    async def _end_moved(self, killed: float) -> None:
        """Finish what is relayed, for as long as the engine lets us."""
        instance = self._instance
        if self._deadlines.endpoints:
            await self._wait_for_a_ready_owner(time.monotonic() + self._deadlines.relay)
            await asyncio.sleep(self._deadlines.endpoints)
        instance.make("end relay")
        self._owner.say("ending", relayed=instance.relay.relayed if instance.relay else 0)
        if instance.relay is not None:
            instance.relay.drain_and_close()
            left = killed - time.monotonic() - self._deadlines.linger - EXIT
            await instance.relay.finish(max(left, 0))
        # Names still list us; a refusing address is passed over at once, a removed one is not.
        await asyncio.sleep(self._deadlines.linger)
