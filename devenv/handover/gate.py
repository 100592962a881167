"""The gate: the first process of an instance. It owns the socket, and decides who answers on it."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from . import changes, database, scratch
from .attempt import Attempt
from .control import Server
from .ending import Ending
from .instance import Instance, in_thread
from .owner import Owner
from .problem import Problem
from .record import Role
from .recovery import Recovery
from .relay import refuse_new
from .settings import Settings
from .states import State
from .wire import Reply, Request

_PR_SET_CHILD_SUBREAPER = 36
_AGAIN = 1.0
"""Until work that has failed begins anew."""
Verb = Callable[[Request], Awaitable[Reply]]


class Gate:
    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._deadlines = settings.deadlines
        self._instance = Instance(settings, command)
        self._owner = Owner(self._instance)
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._attempt = Attempt(self._instance)
        self._recovery = Recovery(self._instance, self._attempt)
        self._verbs: dict[str, Verb] = {
            "status": self._status,
            "start": self._start,
            "copy": self._owner.copy,
            "lease": self._owner.claim,
            "renew": self._owner.renew,
            "pages": self._owner.pages,
            "changes": self._owner.changes,
            "complete": self._owner.complete,
            "release": self._owner.release,
            "moved": self._owner.moved,
            "fingerprint": self._owner.fingerprint,
            "take-back": self._take_back,
            "retire": self._retire,
            "restore": self._restore,
            "recover": self._recover,
        }

    async def run(self) -> int:
        """Serve until SIGTERM; returns the exit code."""
        instance = self._instance
        # Workers of a killed master come to us also where we are not PID 1.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._loop.add_signal_handler(signal.SIGCHLD, instance.servers.reap)
        ends = (signal.SIGTERM, signal.SIGINT)
        for number in ends:
            self._loop.add_signal_handler(number, self._stop.set)
        # Those of our first moments wait: the image starts us with both blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
        # A shell's job in the background ignores it, and so would php-fpm until it has a handler of its own:
        # one that is told to end just as it starts would serve on.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        server = Server(
            self._settings.control, instance.secret, self._deadlines, self._answer, instance.neighbours
        )
        # That we have its port says that no other gate is at work in these folders.
        scratch.clear(self._settings, instance.record)
        await in_thread(changes.populate, self._settings)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watching = [
            asyncio.create_task(self._keep(self._watch_servers)),
            asyncio.create_task(self._keep(self._find_self)),
            asyncio.create_task(self._keep(self._keep_signed)),
        ]
        try:
            self._resume()
            await self._stop.wait()
            await Ending(instance, self._owner, self._attempt).run()
        finally:
            for task in watching:
                task.cancel()
            instance.servers.kill()
            server.shutdown()
        return 0

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work that lasts as long as the instance: what it fails of is told, and it goes on."""
        while True:
            try:
                return await work()
            except Exception as error:
                traceback.print_exception(error)
                self._instance.journal.write("gate", "failed", task=work.__name__, why=repr(error))
            await asyncio.sleep(_AGAIN)

    def _resume(self) -> None:
        """Go on from what the record says."""
        instance, record = self._instance, self._instance.record
        if record.role is Role.MOVED and record.successor is not None:
            instance.make("relay")
            instance.relay_to(record.successor, sure=False)
            self._owner.say("relaying", to=record.successor.uid, resumed=True)
        elif (
            record.role is Role.OWNER
            and record.served
            and not record.staged
            and not record.copied
            and instance.superseded() is None
        ):
            instance.open()
            self._owner.say("opened", epoch=record.epoch, resumed=True)
        else:
            self._attempt.begin()

    async def _watch_servers(self) -> None:
        await self._instance.servers.watch(self._restart_server, self._deadlines.poll)

    def _restart_server(self) -> None:
        if self._instance.state is State.OPEN:
            self._instance.serve()

    async def _keep_signed(self) -> None:
        """An owner that serves has signed, as long as no other one has: then it serves nobody any more."""
        instance = self._instance
        while True:
            await asyncio.sleep(self._deadlines.sign)
            if instance.record.role is not Role.OWNER or instance.state not in (State.OPEN, State.CLOSED):
                continue
            if (problem := await in_thread(instance.superseded)) is not None:
                await self._step_aside(problem)
            elif instance.state is State.OPEN:
                instance.sign()

    async def _step_aside(self, problem: Problem) -> None:
        """Started again, it finds out at once, and waits for a person."""
        instance = self._instance
        if not instance.may("step aside"):
            return
        self._owner.revoke()
        refuse_new(instance.listener)
        instance.make("step aside")
        self._owner.say("superseded", why=problem.why)
        await instance.servers.begin_drain()
        await instance.servers.drained(self._deadlines.finish)
        self._stop.set()

    async def _find_self(self) -> None:
        """Until others can find us under our name, no engine may rely on us."""
        while not self._instance.found_self:
            await self._instance.look()
            await asyncio.sleep(self._deadlines.poll)

    # What is asked of us

    def _answer(self, request: Request) -> Reply:
        """In the thread of a connection: have the event loop do it."""
        return asyncio.run_coroutine_threadsafe(self._do(request), self._loop).result()

    async def _do(self, request: Request) -> Reply:
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise Problem(
                f"this release does not know {request.verb!r}",
                f"it is {self._settings.release}",
                "use releases that are not so far apart",
            )
        try:
            return await verb(request)
        except OSError as error:
            if database.is_disk_full(error):
                raise database.disk_full(self._settings.state, str(error)) from error
            raise Problem("the instance cannot do it", str(error), "see its log", final=False) from error

    async def _status(self, request: Request) -> Reply:
        return Reply(self._instance.status())

    async def _start(self, request: Request) -> Reply:
        """Try again, if the last try has failed."""
        self._instance.retire(0)
        if self._instance.failed is not None and not self._instance.terminating:
            self._attempt.begin()
        return Reply({})

    async def _take_back(self, request: Request) -> Reply:
        """Our successor is ending, and asks us to take the database."""
        record = self._instance.record
        if not (record.role is Role.MOVED and self._instance.may("take back")):
            raise Problem("this instance takes nothing back", f"its role is {record.role}", "find another")
        self._attempt.begin(taking_back=(request.peer, int(request.fields["control"])))
        return Reply({})

    async def _retire(self, request: Request) -> Reply:
        """No successor comes: an end within the next minute shall not wait for one."""
        self._instance.retire(self._deadlines.retirement)
        return Reply({"seconds": self._deadlines.retirement})

    async def _restore(self, request: Request) -> Reply:
        """Replace the content by that of the snapshot at `path`, which is in this instance."""
        path = Path(str(request.fields["path"]))
        return Reply(await self._owner.restore(path))

    async def _recover(self, request: Request) -> Reply:
        """Go on with what is here: a person says that the one that had the content since is gone for good."""
        await self._recovery.run(force=bool(request.fields.get("force")))
        return Reply(self._instance.status())
