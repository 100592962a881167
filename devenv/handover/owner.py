"""The side that has the database: it answers its successor, and lets go at `complete`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import time
import traceback
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import changes, database, snapshot
from .instance import Instance, address, in_thread
from .placement import Placement
from .problem import Problem
from .record import Record, Role, Successor
from .scratch import Scratch, passed_on
from .shell import ShellLock
from .states import State
from .wire import Fields, Refused, Reply, Request, Unreachable

TRIES = 3
"""So often requests may outlast the drain's budget before the hand-over is refused."""


@dataclass
class Lease:
    """Nobody writes to the database until `expires` (monotonic): then the owner opens again."""

    successor: Successor
    release: str
    expires: float
    closed: bool = False
    started: float = field(default_factory=time.monotonic)
    sha256: str = ""

    @property
    def token(self) -> str:
        return self.successor.token


class Owner:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._settings = instance.settings
        self._journal = instance.journal
        self._lock = ShellLock(instance.settings.state)
        self._outgoing = Scratch(instance.settings.state).path
        self._tries: dict[str, int] = {}
        self._fingerprint: asyncio.Task[Fields] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.restoring = False
        """A snapshot is put in the place of the content, or about to be."""
        self.lease: Lease | None = None
        self.last_word = 0.0
        """When a successor last asked for something (monotonic)."""

    def say(self, phase: str, **details: Any) -> None:
        self._journal.write("owner", phase, **details)

    async def copy(self, request: Request) -> Reply:
        """All of the database as of now, while it is in use."""
        self._require_owner()
        started = time.monotonic()

        def work() -> tuple[Path, database.Checked]:
            source = self._settings.database
            with passed_on(self._outgoing) as path:
                # Without the file the application has not written yet; an empty file is the same to SQLite.
                if source.exists():
                    database.need_space(path.parent, source.stat().st_size)
                    database.backup(source, path)
                return path, database.check(path)

        path, checked = await in_thread(work)
        size = path.stat().st_size
        self.say("copy-served", bytes=size, ms=_ms(started), to=request.peer)
        record = self._instance.record
        fields = {"damage": checked.damage, "foreign_keys": checked.foreign_keys, "size": size}
        return Reply({**fields, "lineage": record.lineage, "epoch": record.epoch}, path)

    async def claim(self, request: Request) -> Reply:
        """`lease`: no request reaches the database from the answer on, for as long as the lease lasts."""
        token = str(request.fields["token"])
        if self.lease is not None and self.lease.token == token and self.lease.closed:
            self._renew(self.lease)
            return Reply({"seconds": self._settings.deadlines.lease})
        self._require_owner()
        if self.lease is not None:
            raise Problem(
                "another successor has the lease",
                f"{self.lease.successor.uid[:8]} at {self.lease.successor.address} takes the database",
                "one of the two is enough: it is waited for",
                final=False,
            )
        if self.restoring or not self._instance.may("close"):
            # Whoever closes for another reason opens again when it likes: no lease could forbid that.
            raise Problem(
                "the owner cannot close now",
                "it puts a snapshot in the place of its content, or it is ending",
                "it is waited for",
                final=False,
            )
        if self._tries.get(token, 0) >= TRIES:
            raise self._unfinished(final=True)
        successor = Successor(
            uid=str(request.fields["uid"]),
            address=f"{request.peer}:{request.fields['port']}",
            control=f"{request.peer}:{request.fields['control']}",
            token=token,
        )
        deadlines = self._settings.deadlines
        lease = Lease(successor, str(request.fields["release"]), time.monotonic() + deadlines.lease)
        self.lease = lease
        # Who said that no successor comes was wrong.
        self._instance.retire(0)
        try:
            await self._close(lease)
        except BaseException:
            if self.lease is lease:
                self.lease = None
            self._unlock()
            raise
        self._spawn(self._expire(lease))
        return Reply({"seconds": deadlines.lease})

    async def renew(self, request: Request) -> Reply:
        """The successor is at work."""
        self._require_lease(request)
        return Reply({})

    async def _close(self, lease: Lease) -> None:
        deadlines = self._settings.deadlines
        # Requests that an earlier try left behind are waited for while others are served.
        if not await self._instance.servers.drained(deadlines.drain):
            raise self._unfinished(final=False)
        await in_thread(self._lock.acquire, deadlines.shell)
        self.say("closing", successor=lease.successor.uid, release=lease.release)
        lease.started = time.monotonic()
        if not await self._instance.close(deadlines.drain):
            self._tries[lease.token] = self._tries.get(lease.token, 0) + 1
            problem = self._unfinished(final=self._tries[lease.token] >= TRIES)
            self._reopen(problem.why)
            raise problem
        try:
            if not self._settings.database.exists():
                self._settings.absent.touch()
            await in_thread(database.freeze, self._settings.database)
        except BaseException as error:
            self._reopen(str(error))
            raise
        lease.closed = True
        self._renew(lease)
        self.say("closed", ms=_ms(lease.started))

    def _unfinished(self, *, final: bool) -> Problem:
        requests = ", ".join(self._instance.servers.unfinished()) or "requests it cannot name"
        return Problem(
            "requests do not end",
            f"{requests} outlast the {self._settings.deadlines.drain:g} s that others may be held for them",
            "end them or wait for them, then start the upgrade again; nothing was lost",
            final=final,
        )

    async def pages(self, request: Request) -> Reply:
        """The blocks of the frozen file that the successor lacks (it sends the hashes of its own); or of
        another one, at `path`."""
        lease = self._require_lease(request)
        source = self._settings.database
        if "path" in request.fields:
            return await self._pages_beside(request)
        with passed_on(self._outgoing) as path:
            blocks, lease.sha256 = await in_thread(database.write_difference, source, request.body, path)
            self._require_lease(request)
        fields = {"blocks": blocks, "sha256": lease.sha256, "size": source.stat().st_size}
        return Reply({**fields, "absent": self._settings.absent.exists()}, path)

    async def _pages_beside(self, request: Request) -> Reply:
        key = str(request.fields["path"])
        source = changes.folder_of(self._settings, key).path_of(key)
        with passed_on(self._outgoing) as path:
            _, sha256 = await in_thread(database.write_difference, source, request.body, path)
            self._require_lease(request)
        about = source.stat()
        fields = {"sha256": sha256, "size": about.st_size, "mode": about.st_mode & 0o7777}
        return Reply({**fields, "mtime": about.st_mtime_ns}, path)

    async def changes(self, request: Request) -> Reply:
        """What the successor lacks of the changes beside the database; without a lease only most of it."""
        early = bool(request.fields.get("early"))
        if not early:
            self._require_lease(request)

        def work() -> Fields:
            known = json.loads(request.body)
            counted = changes.pack(self._settings, known, path, still=not early)
            left = changes.left(self._settings) if early else {}
            return {**asdict(counted), "left": {key: asdict(one) for key, one in left.items()}}

        with passed_on(self._outgoing) as path:
            fields = await in_thread(work)
        return Reply(fields, path)

    async def complete(self, request: Request) -> Reply:
        """Let go: from the answer on the successor owns the database. Can be asked again."""
        instance, token = self._instance, request.fields["token"]
        record = instance.record
        if record.role is not Role.OWNER and record.successor and record.successor.token == token:
            return Reply({"lineage": record.lineage, "epoch": record.epoch})
        lease = self._require_lease(request)
        if lease.sha256 != request.fields["sha256"]:
            raise Problem(
                "the successor has another database than the one it was given",
                f"its SHA-256 is {request.fields['sha256']}, ours {lease.sha256}",
                "start the upgrade again",
                final=False,
            )
        # From here to the answer nothing else runs: no lease can end in between.
        instance.count_held()
        instance.make("hand over", successor=lease.successor, sha256=lease.sha256, token="")
        self.lease = self._fingerprint = None
        self.say("moved", successor=lease.successor.uid, address=lease.successor.address)
        try:
            self._become_relay()
        except Exception as error:
            # A refusal would make the successor throw away what is only its own by now.
            traceback.print_exception(error)
            # The answer has until then; started again, it relays.
            asyncio.get_running_loop().call_later(1, self._instance.die, f"it cannot relay: {error!r}")
        return Reply({"lineage": record.lineage, "epoch": record.epoch})

    def _become_relay(self) -> None:
        instance = self._instance
        assert instance.record.successor is not None
        # What was not told of the move shall fail loudly instead of writing into the void.
        with contextlib.suppress(OSError):  # it may be another user's
            self._settings.database.chmod(0o444)
        self._lock.release()
        instance.relay_to(instance.record.successor)
        self.say("relaying", to=instance.record.successor.address, held=instance.held)
        self._spawn(self.tell_predecessor(instance.record.successor))

    async def release(self, request: Request) -> Reply:
        """The successor gives the lease back."""
        lease = self.lease
        if lease is not None and lease.closed and lease.token == request.fields["token"]:
            self.lease = None
            self._reopen(str(request.fields.get("why", "the successor gave the lease back")))
        return Reply({})

    async def _expire(self, lease: Lease) -> None:
        while self.lease is lease:
            if (left := lease.expires - time.monotonic()) <= 0:
                self.lease = None
                self._reopen("the successor was not heard of any more")
                return
            await asyncio.sleep(left)

    def _renew(self, lease: Lease) -> None:
        lease.expires = time.monotonic() + self._settings.deadlines.lease

    def _reopen(self, why: str) -> None:
        """Serve again, unless the end has begun, or another instance has gone on with the content."""
        try:
            self._instance.open()
        except Problem as problem:
            self.say("stays-closed", why=why, problem=problem.why)
            return
        self._unlock()
        self.say("reopened", why=why)

    def _unlock(self) -> None:
        """Programs in a shell may go on; not once the end has begun, with the last snapshot."""
        if self._instance.state is not State.ENDING:
            self._lock.release()

    def revoke(self) -> None:
        """The owner ends: there is no lease any more, and none is renewed."""
        self.lease = None

    async def shut_out(self) -> bool:
        """At the end: have no program in a shell write any more. False if one cannot be ended."""
        return await in_thread(self._lock.take, self._settings.deadlines.shell)

    async def tell_predecessor(self, successor: Successor) -> None:
        """Whoever relays to us can relay straight to `successor`."""
        record = self._instance.record
        if not record.predecessor or record.predecessor == successor.control:
            return
        fields = {"lineage": record.lineage, "uid": successor.uid}
        fields |= {"address": successor.address, "control": successor.control}

        def work() -> None:
            # If it is gone, nobody relays to us.
            with (
                contextlib.suppress(Unreachable, Refused, Problem),
                self._instance.peer(address(record.predecessor)) as peer,
            ):
                peer.call("moved", fields)

        await in_thread(work)

    async def moved(self, request: Request) -> Reply:
        """The one we relay to has moved on."""
        fields, record = request.fields, self._instance.record
        if record.role is Role.MOVED and record.lineage == fields["lineage"] and record.successor:
            now = replace(
                record.successor, uid=fields["uid"], address=fields["address"], control=fields["control"]
            )
            self._instance.write_record(successor=now)
            if self._instance.relay is not None:
                self._instance.relay.target = address(now.address)
            self._spawn(self.tell_predecessor(now))
        return Reply({})

    async def fingerprint(self, request: Request) -> Reply:
        """Of the file as it was handed over. A process of its own computes it, once."""
        record = self._instance.record
        if record.role is not Role.MOVED:
            raise Problem(
                "this instance has not handed its database over",
                f"its role is {record.role}",
                "ask with: gate fingerprint",
            )
        if self._fingerprint is None or (self._fingerprint.done() and self._fingerprint.exception()):
            self._fingerprint = asyncio.create_task(self._compute_fingerprint())
        return Reply({"fingerprint": await self._fingerprint})

    async def _compute_fingerprint(self) -> Fields:
        command = ["nice", "-n", "10", sys.executable, "-m", "devenv.handover", "fingerprint"]
        # Not asyncio's: as PID 1 we collect our children ourselves.
        process = self._instance.servers.own(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: ASYNC220
        )
        output, errors = await in_thread(process.communicate)
        if process.returncode:
            raise _told(errors)
        result: Fields = json.loads(output)
        return result

    async def restore(self, snapshot_file: Path) -> Fields:
        """Replace the content by that of a snapshot, which begins a lineage."""
        self._require_owner()
        if self.lease is not None:
            raise Problem("a hand-over runs", "the content is on its way", "restore after it", final=False)
        if self.restoring:
            raise Problem("a snapshot is being restored", "one at a time", "restore after it", final=False)
        if self._instance.terminating:
            raise Problem("the instance is ending", "it takes no content any more", "restore after it")
        self.restoring = True
        try:
            return await self._restore(snapshot_file)
        finally:
            self.restoring = False
            if not self._instance.record.staged:
                await in_thread(changes.discard, self._settings)

    async def _restore(self, snapshot_file: Path) -> Fields:
        instance, settings, deadlines = self._instance, self._settings, self._settings.deadlines
        self._journal.write("content", "restoring", file=snapshot_file.name)
        # All of it is unpacked and checked while the old content is served.
        described: Fields = await in_thread(snapshot.stage, snapshot_file, settings)
        await in_thread(self._lock.acquire, deadlines.shell)
        why = "nothing was restored"
        try:
            if not await instance.close(deadlines.drain):
                raise self._unfinished(final=False)
            await self._replace({"file": snapshot_file.name, "time": described["time"]})
            why = "restored"
        finally:
            if instance.state is State.CLOSED:
                self._reopen(why)
            else:
                self._unlock()
        await in_thread(Placement(settings).forget)
        if settings.snapshots is not None:
            # What was replaced must not come back with the next start.
            await in_thread(snapshot.save, settings, instance.record)
        return {key: described[key] for key in ("time", "release", "sha256", "bytes")}

    async def _replace(self, restored: Fields) -> None:
        """Put what is staged in the place of the content, as one: a restart in between does the rest."""
        instance, placement = self._instance, Placement(self._settings)
        before = instance.record
        lineage = secrets.token_hex(8)
        instance.write_record(lineage=lineage, epoch=1, predecessor="", restored=restored, staged=True)
        try:
            await in_thread(placement.put)
        except BaseException:
            await self._undo(placement, before)
            raise
        try:
            instance.write_record(staged=False)
        except OSError as error:
            instance.die(f"it cannot be written down that all is in its place: {error}")
        self._journal.write("content", "restored", **restored)

    async def _undo(self, placement: Placement, before: Record) -> None:
        fields = ("lineage", "epoch", "predecessor", "restored", "staged")
        try:
            await in_thread(placement.undo)
            self._instance.write_record(**{name: getattr(before, name) for name in fields})
        except OSError as error:
            # Nobody may be served from what a restart would replace, or from a part of it. Started again, it
            # puts all of the new content in place.
            self._instance.die(f"what was to be restored can be neither put in place nor undone: {error}")

    def _require_owner(self) -> None:
        self.last_word = time.monotonic()
        record, state = self._instance.record, self._instance.state
        if record.role is not Role.OWNER or state not in (State.OPEN, State.CLOSED):
            raise Problem(
                "this instance cannot hand a database over",
                f"its role is {record.role}, its state {state}",
                "look for the owner again",
                final=False,
            )

    def _require_lease(self, request: Request) -> Lease:
        self.last_word = time.monotonic()
        lease = self.lease
        if lease is None or not lease.closed or lease.token != request.fields.get("token"):
            raise Problem(
                "the lease is over",
                "the owner did not hear of its successor in time, and serves again",
                "the hand-over begins again",
                final=False,
            )
        if lease.expires <= time.monotonic():
            raise Problem("the lease is over", "it has just ended", "the hand-over begins again", final=False)
        self._renew(lease)
        return lease

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes on beside the answers. One that fails would leave something undone for ever: then the
        process ends, and goes on from its disk."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)
            self._instance.die(f"a task of the owner failed: {error!r}")


def _told(errors: bytes) -> Problem:
    """What `gate` says on stderr as it fails."""
    try:
        said = json.loads(errors.splitlines()[-1])
        return Problem(said["error"], said["why"], said["next"])
    except (ValueError, LookupError, TypeError):
        why = errors.decode(errors="replace").strip()[-300:] or "it said nothing"
        return Problem("there is no fingerprint", why, "ask with: gate fingerprint")


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
