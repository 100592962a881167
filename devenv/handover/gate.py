"""The gate: the first process of an instance. It owns the socket, and decides who answers on it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from . import database, scratch, snapshot
from . import mark as marks
from .control import Server
from .discovery import View
from .instance import Instance, in_thread
from .mark import NOTHING
from .owner import Owner
from .placement import Placement
from .problem import Problem
from .record import Role
from .relay import refuse_new, waiting
from .settings import Address, Settings
from .states import State
from .successor import Course
from .wire import Refused, Reply, Request, Unreachable

_PR_SET_CHILD_SUBREAPER = 36
_EXIT = 2.0
"""To end the process itself, before the engine would."""
_WAITING = 0.01
"""Between two looks at how many wait to be accepted."""
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
        self._course: Course | None = None
        self._course_task: asyncio.Task[None] | None = None
        self._verbs: dict[str, Verb] = {
            "status": self._status,
            "start": self._start,
            "copy": self._owner.copy,
            "lease": self._owner.claim,
            "renew": self._owner.renew,
            "pages": self._owner.pages,
            "travel": self._owner.travel,
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
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        # A shell's job in the background ignores it, and so would php-fpm until it has a handler of its own:
        # one that is told to end just as it starts would serve on.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        server = Server(
            self._settings.control, instance.secret, self._deadlines, self._answer, instance.neighbours
        )
        # That we have its port says that no other gate is at work in these folders.
        scratch.clear(self._settings, instance.record)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watching = [
            asyncio.create_task(self._keep(self._watch_servers)),
            asyncio.create_task(self._keep(self._find_self)),
            asyncio.create_task(self._keep(self._keep_signed)),
        ]
        try:
            self._resume()
            await self._stop.wait()
            await self._end()
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
            and not instance.copied
            and instance.superseded() is None
        ):
            instance.open()
            self._owner.say("opened", epoch=record.epoch, resumed=True)
        else:
            self._begin()

    def _begin(self, taking_back: Address | None = None) -> None:
        if self._course_task is None or self._course_task.done():
            self._instance.failed = None
            self._course = Course(self._instance)
            self._course_task = self._loop.create_task(self._follow(self._course, taking_back))

    async def _follow(self, course: Course, taking_back: Address | None) -> None:
        """Take the course; what it fails of is told to whoever asks."""
        try:
            await course.run(taking_back)
        except Problem as problem:
            self._fail(problem)
        except Exception as error:
            traceback.print_exception(error)
            self._fail(Problem("the hand-over failed", repr(error), "see the log of this instance"))

    def _fail(self, problem: Problem) -> None:
        self._instance.failed = problem
        if self._course:
            self._course.say("failed", **problem.as_json())

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
            self._begin()
        return Reply({})

    async def _take_back(self, request: Request) -> Reply:
        """Our successor is ending, and asks us to take the database."""
        record = self._instance.record
        if not (record.role is Role.MOVED and self._instance.may("take back")):
            raise Problem("this instance takes nothing back", f"its role is {record.role}", "find another")
        self._begin(taking_back=(request.peer, int(request.fields["control"])))
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
        """Go on with what is here: the one that had the content since is gone for good, a person says."""
        instance = self._instance
        if not request.fields.get("force"):
            self._require_no_owner(await instance.look())
        if instance.record.role is Role.FRESH:
            await self._recover_snapshot()
        elif instance.record.staged and instance.record.role is Role.INCOMING:
            await self._recover_staged()
        elif instance.may("recover") and instance.record.role is not Role.INCOMING:
            await self._cancel_course()
            if instance.record.role is Role.MOVED and self._settings.database.exists():
                database.thaw(self._settings.database)
            self._own()
        else:
            raise Problem(
                "there is nothing to recover",
                f"the role is {instance.record.role}, the state {instance.state}",
                "ask one that has moved, or one that waits for an owner",
            )
        self._owner.say("recovered", epoch=instance.record.epoch)
        return Reply(instance.status())

    def _require_no_owner(self, view: View) -> None:
        """Two that serve would each take writes that the other one never gets."""
        anyway = "if you know better: devenv recover --force (by hand: gate recover --force)"
        for seen in view.peers:
            status = seen.status
            name = f"{seen.uid[:8]} at {seen.control[0]} ({status['release']}, epoch {status['epoch']})"
            if seen.role is Role.OWNER and status["served"]:
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

    async def _recover_staged(self) -> None:
        """All of the content is here, and whoever could say that it has let go is gone."""
        instance = self._instance
        await self._cancel_course()
        if not instance.record.staged:
            return  # the answer came just now
        await in_thread(Placement(self._settings).put)
        self._own()
        await in_thread(Placement(self._settings).forget)

    async def _cancel_course(self) -> None:
        if self._course_task is not None:
            self._course_task.cancel()
            await asyncio.wait([self._course_task])

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
        self._begin()
        assert self._course is not None
        assert self._course_task is not None
        self._course.forsaken = True
        await asyncio.wait([self._course_task], timeout=self._deadlines.reply)
        if self._instance.failed is not None:
            raise self._instance.failed
        if self._instance.record.role is not Role.OWNER:
            raise Problem(
                "it has not begun yet", "somebody else may have the content", "see: gate events", final=False
            )

    # The end

    async def _end(self) -> None:
        instance = self._instance
        if instance.state is State.ENDING:
            return  # it has stepped aside
        instance.terminating = True
        asked = time.monotonic()
        self._owner.say("terminating", role=instance.record.role)
        last = asked + self._deadlines.termination
        await self._end_course(last)
        if instance.record.role is Role.OWNER and instance.record.served:
            await self._end_owner(last)
        if instance.record.role is Role.MOVED:
            await self._end_moved(asked + self._deadlines.grace)
        elif instance.may("leave"):
            instance.make("leave")

    async def _end_course(self, last: float) -> None:
        """A terminating instance takes no database; but if it may have it already, it finds out."""
        task = self._course_task
        if task is None or task.done():
            return
        while self._course and self._course.completing and time.monotonic() < last:  # noqa: ASYNC110
            await asyncio.sleep(self._deadlines.poll)
        if self._instance.record.role is not Role.OWNER:
            task.cancel()
        left = max(last - time.monotonic(), 0)
        await asyncio.wait([task], timeout=min(left, self._deadlines.reply))

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
        await self._serve_waiting()
        await instance.servers.begin_drain()
        if not await instance.servers.drained(self._deadlines.finish):
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

    async def _serve_waiting(self) -> None:
        """Those that the kernel has already accepted are served as well, where somebody serves."""
        last = time.monotonic() + self._deadlines.finish
        instance = self._instance
        while instance.servers.serving and waiting(instance.listener) and time.monotonic() < last:  # noqa: ASYNC110
            await asyncio.sleep(_WAITING)

    async def _save_last(self) -> None:
        """All of the content, as nobody writes to it any more."""
        instance = self._instance
        if not self._settings.database.exists():
            instance.sign(saved=NOTHING)
            return
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
            left = killed - time.monotonic() - self._deadlines.linger - _EXIT
            await instance.relay.finish(max(left, 0))
        # Names still list us; a refusing address is passed over at once, a removed one is not.
        await asyncio.sleep(self._deadlines.linger)
