"""The side that fetches the database: the course from finding its owner to owning it.

Until the owner has answered `complete` it is the owner's, whatever happens here.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from . import changes, database, fcgi, snapshot, told
from . import mark as marks
from .discovery import Nobody, Seen, choose, yields
from .instance import Instance, in_thread, missing
from .placement import Placement
from .problem import Problem
from .record import Role
from .servers import Server
from .settings import Address
from .wire import Fields, Peer, Refused, Unreachable

LOOKS = 3
"""So many looks in a row must find nobody before that is believed."""


class Course:
    """One attempt to own a database, in as many tries as the hook's deadline allows."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._settings = instance.settings
        self._deadlines = instance.settings.deadlines
        self._staging = instance.settings.staging
        self._staged = instance.settings.staged
        self._blocks: dict[str, bytes] = {}
        """Hashes of what is large among the changes that are staged, by path."""
        self._placement = Placement(instance.settings)
        self._owner = ""
        self._giver = ""
        """The uid of the one that the copy is of."""
        self._missing: tuple[float, str] | None = None
        """Since when (monotonic) nobody is found though somebody has signed, and what could be restored."""
        self.forsaken = False
        """A person says that whoever has signed is gone for good, and what it had with it."""
        self.completing = False
        """`complete` was asked, and not answered: we may own the database, or not."""

    def say(self, phase: str, **details: Any) -> None:
        self._instance.journal.write("successor", phase, **details)

    async def run(self, taking_back: Address | None = None) -> None:
        """Own a database and serve from it. Raises `Problem`; then nothing has changed.

        `taking_back` is the control address of a terminating owner that asks us to take the database.
        """
        deadline = time.monotonic() + self._deadlines.hook
        if self._instance.record.discard:
            self._discard()
        self.say("discover", names=",".join(self._settings.peers))
        last = ""
        nobody, alone = 0, 0.0
        while True:
            try:
                if self._instance.record.role is Role.OWNER:
                    return await self._go_on()
                if self._instance.record.staged:
                    if self._instance.record.role is Role.INCOMING:
                        return await self._complete()
                    return await self._begin()
                if taking_back is not None:
                    return await self._pull(taking_back)
                view = await self._instance.look()
                try:
                    owner = choose(view, self._instance.record.uid)
                except Nobody:
                    nobody += 1
                    alone = time.monotonic() if nobody == 1 else alone
                    if self._instance.record.role is not Role.FRESH:
                        raise self._lost_owner() from None
                    if nobody >= LOOKS:
                        if await self._is_unsigned() or self._is_certain(alone):
                            return await self._begin()
                        if nobody == LOOKS:
                            why = f"what names tell can be {self._deadlines.names:g} s old"
                            self.say("waiting", error="nobody is found", why=why)
                else:
                    nobody = 0
                    self._missing = None
                    self._found(owner)
                    return await self._pull(owner.control)
            except Problem as problem:
                if problem.final or time.monotonic() > deadline:
                    self._relay_again()
                    raise
                nobody = 0
                if str(problem) != last:
                    last = str(problem)
                    self.say("waiting", error=problem.error, why=problem.why)
            await asyncio.sleep(self._deadlines.poll)

    async def _go_on(self) -> None:
        """With the database that we own already."""
        instance = self._instance
        if instance.record.staged:
            # A restore was cut off; what it was to replace may be gone in part.
            await in_thread(self._placement.put)
            instance.write_record(staged=False)
            self._say_content("restored", **(instance.record.restored or {}))
            self._placement.forget()
        if not instance.record.served:
            await self._keep_or_yield()
        else:
            if instance.record.copied:
                await self._require_alone()
                instance.write_record(copied=False)
            self._open()

    async def _require_alone(self) -> None:
        """The disk is a copy of another instance's: whoever serves has the content, and we do not."""
        view = await self._instance.look()
        others = [seen for seen in view.peers if seen.role in (Role.OWNER, Role.MOVED)]
        if others or view.silent or not view.found_self:
            names = [*(f"{seen.uid[:8]} at {seen.control[0]}" for seen in others), *view.silent]
            raise Problem(
                "this instance is a copy of another one",
                f"{', '.join(names) or 'nobody'} is there; whether another one serves is to be sure",
                "remove this one; or end the other one, if this one is to go on",
                final=False,
            )

    def _lost_owner(self) -> Problem:
        return Problem(
            "the owner of the database is gone",
            f"it was found at {self._instance.record.predecessor}, and nobody is there any more",
            "bring it back; or remove this instance and start a new one, which restores the newest snapshot",
            final=False,
        )

    def _found(self, owner: Seen) -> None:
        if owner.uid == self._owner:
            return
        self._owner = owner.uid
        status = owner.status
        details = {"owner": owner.uid, "release": status["release"], "epoch": status["epoch"]}
        self.say("found", **details, address=owner.control[0], bytes=status["size"])

    # A first deployment

    async def _is_unsigned(self) -> bool:
        """Whether somebody's word says that there is no content that is nowhere else.

        Raises a `Problem` if somebody has it: it was killed, and comes back.
        """
        if self.forsaken:
            return True
        mark = marks.load(self._settings.snapshots)
        if mark is None or mark.saved:
            return self._is_told()
        if self._missing is None:
            self._missing = time.monotonic(), await in_thread(_newest_in_words, self._settings.snapshots)
        since, newest = self._missing
        raise missing(mark, newest, final=time.monotonic() - since > self._deadlines.absent)

    def _is_told(self) -> bool:
        """The same, where devenv is the one who says it."""
        mark = marks.load(self._settings.mark)
        if mark is None:
            return told.nobody(self._settings.mark, time.time())
        if self._missing is None:
            self._missing = time.monotonic(), ""
        raise told.missing(mark, final=time.monotonic() - self._missing[0] > self._deadlines.absent)

    def _is_certain(self, alone: float) -> bool:
        """Whether nobody was found for as long as names may be old, since `alone` (monotonic)."""
        return time.monotonic() - alone >= self._deadlines.names

    async def _begin(self) -> None:
        """Nobody has a database: begin with the one on disk, a snapshot's, or the seed."""
        settings, instance = self._settings, self._instance
        settings.database.parent.mkdir(parents=True, exist_ok=True)
        begins: Fields = {}
        if not instance.record.staged:
            mark = None
            with contextlib.suppress(Problem):  # a person has said that it does not count
                mark = marks.load(settings.snapshots)
            begins = {
                "lineage": secrets.token_hex(8),
                "epoch": 1,
                "begun_after": mark.signature if mark else "",
            }
            if settings.database.exists():
                self._say_content("initialised", source="the database on disk")
                # It may have served before there was a gate, so it must not be discarded.
                begins["served"] = True
            else:
                begins |= await self._stage()
                # From here on a restart puts the rest in its place.
                instance.write_record(**begins)
        if instance.record.staged:
            await in_thread(self._placement.put)
        instance.make("begin", **{**begins, "staged": False}, token="", predecessor="")
        self._placement.forget()
        await self._go_on()

    async def _stage(self) -> Fields:
        """What the record says of the content that was staged, if there is any."""
        settings = self._settings
        found = await in_thread(self._stage_last)
        if found is not None:
            path, described = found
            restored = {"file": path.name, "time": described["time"]}
            self._say_content("restored", **restored)
            begins: Fields = {"restored": restored, "staged": True, "epoch": described["epoch"] + 1}
            # Should one come back that a person has forsaken, neither passes for the other.
            return begins if self.forsaken else {**begins, "lineage": described["lineage"]}
        self._say_content("initialised", source=str(settings.seed or "the application"))
        if settings.seed is not None and settings.seed.exists():
            await in_thread(self._stage_seed, settings.seed)
            return {"staged": True}
        return {}

    def _stage_last(self) -> tuple[Path, Fields] | None:
        return snapshot.stage_last(self._settings, self._passed_over, forsaken=self.forsaken)

    async def _keep_or_yield(self) -> None:
        """Serve from the database that we have begun, unless another instance was first."""
        instance = self._instance
        assert not instance.record.served, "nobody discards what somebody may have written"
        if yields(await instance.look(), instance.record.uid) or instance.superseded():
            self._say_content("discarded", why="another instance was first")
            instance.make("yield", lineage="", epoch=0, restored=None, begun_after="", discard=True)
            self._discard()
            raise Problem("another instance was first", "its database is taken", "wait", final=False)
        self._open()

    def _discard(self) -> None:
        """Remove the database that we had begun; the record says so until it is done."""
        for suffix in ("", *database.SIDE_FILES):
            Path(f"{self._settings.database}{suffix}").unlink(missing_ok=True)
        self._instance.write_record(discard=False)

    def _passed_over(self, path: Path, problem: Problem) -> None:
        self._say_content("passed-over", file=path.name, why=problem.why)

    def _stage_seed(self, seed: Path) -> None:
        database.need_space(self._settings.database.parent, seed.stat().st_size)
        changes.discard(self._settings)
        self._staging.mkdir(parents=True)
        shutil.copyfile(seed, self._staged)
        changes.sync(self._staged)

    def _say_content(self, phase: str, **details: Any) -> None:
        self._instance.journal.write("content", phase, **details)

    # The hand-over

    async def _pull(self, owner: Address) -> None:
        instance = self._instance
        relays = instance.record.successor is not None
        token = instance.record.token or secrets.token_hex(16)
        step = "take back" if relays else "fetch"
        instance.make(step, token=token, predecessor=f"{owner[0]}:{owner[1]}")
        with instance.peer(owner) as peer:
            try:
                hashes = await self._prepare(peer, warm=not relays)
                await self._claim(peer)
                async with self._renewing(owner):
                    sha256 = await self._fetch(peer, hashes)
                    instance.write_record(staged=True, sha256=sha256, predecessor_uid=self._giver)
                    self.say("verified", sha256=sha256)
                    completed = await self._ask_to_own(peer)
                await self._own(*completed)
            except Unreachable as error:
                raise Problem(
                    "the owner does not answer", str(error), "it is looked for again", final=False
                ) from error
            except Refused as refused:
                raise refused.as_problem() from refused
            except OSError as error:
                if database.is_disk_full(error):
                    raise database.disk_full(self._staging, str(error)) from error
                raise
            finally:
                if not instance.record.staged and instance.record.role is Role.INCOMING:
                    await self._give_back(owner)

    async def _prepare(self, peer: Peer, *, warm: bool) -> bytes:
        """All that can be done while the owner serves: most of the content, and all checks."""
        started = time.monotonic()
        await in_thread(changes.discard, self._settings)
        self._staging.mkdir(parents=True)
        token = self._instance.record.token
        status, _ = await in_thread(peer.call, "status")
        self._giver = status["uid"]
        await in_thread(database.need_space, self._staging, status["size"])
        await in_thread(changes.require_place, self._settings)
        answer = await in_thread(peer.fetch, "copy", {"token": token}, self._staged)
        self.say("copy", bytes=answer["size"], ms=_ms(started))
        started = time.monotonic()
        beside = await self._fetch_changes(peer, early=True)
        self.say("changes", **beside, ms=_ms(started))
        started = time.monotonic()
        checked = await in_thread(database.check, self._staged)
        if checked != database.Checked(answer["damage"], answer["foreign_keys"]):
            raise Problem(
                "the copy of the database is damaged",
                "; ".join(checked.damage) or "its foreign keys differ from the owner's",
                "look at the disk of the new instance, then try again",
                final=False,
            )
        self.say("checked", damage=checked.damage, own_words=checked.own_words, ms=_ms(started))
        if warm:
            started = time.monotonic()
            status_code = await self._warm_up()
            self.say("warmed", status=status_code, ms=_ms(started))
        hashes: bytes = await in_thread(database.block_hashes, self._staged)
        return hashes

    async def _warm_up(self) -> int:
        """Serve one request from the copy, on a private socket. What it writes into the copy is
        taken back with the pages."""
        instance, path = self._instance, self._settings.database
        database.install(self._staged, path)
        where = instance.servers.sockets / "warm-up.sock"
        where.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as private:
            private.bind(str(where))
            private.listen()
            server = instance.servers.spawn(private, str(where))
            try:
                return await in_thread(self._ask, server, where)
            finally:
                await instance.servers.end(server)
                where.unlink(missing_ok=True)
                database.install(path, self._staged)

    def _ask(self, server: Server, where: Path) -> int:
        page = fcgi.page(self._settings.document_root, self._settings.warmup)
        why = "it did not answer"
        try:
            status, output = fcgi.get(where, page, self._deadlines.reply)
            if 200 <= status < 400:
                return status
            body = output.partition(b"\r\n\r\n")[2][:300].decode("utf-8", "replace")
            why = f"it answers {status}: {' '.join(body.split())}"
        except OSError as error:
            code = server.process.poll()
            why = f"it ended with exit code {code}" if code is not None else str(error)
        raise Problem(
            "the new release cannot serve",
            f"{self._settings.warmup}: {why}",
            "its log (gate: and php-fpm's lines above) says more; the old release serves on",
        )

    async def _claim(self, peer: Peer) -> None:
        self.say("lease")
        record, settings = self._instance.record, self._settings
        fields: Fields = {"token": record.token, "uid": record.uid, "release": settings.release}
        fields |= {"port": settings.listen[1], "control": settings.control[1]}
        deadline = time.monotonic() + self._deadlines.hook
        last = ""
        while True:
            started = time.monotonic()
            try:
                await in_thread(peer.call, "lease", fields)
                self.say("leased", ms=_ms(started))
                return
            except Refused as refused:
                problem = refused.as_problem()
                status, _ = await in_thread(peer.call, "status")
                if problem.final or status["role"] != Role.OWNER or time.monotonic() > deadline:
                    raise problem from refused
                if str(problem) != last:
                    last = str(problem)
                    self.say("waiting", error=problem.error, why=problem.why)
            await asyncio.sleep(self._deadlines.poll)

    async def _fetch(self, peer: Peer, hashes: bytes) -> str:
        """The rest, from the frozen file; then both have the same."""
        started = time.monotonic()
        token = self._instance.record.token
        difference = self._staging / "pages"

        def work() -> tuple[Fields, str]:
            answer = peer.fetch("pages", {"token": token}, difference, hashes)
            database.apply_difference(self._staged, difference, answer["size"])
            difference.unlink()
            return answer, database.sha256(self._staged)

        answer, sha256 = await in_thread(work)
        if sha256 != answer["sha256"]:
            raise Problem(
                "the copy of the database is not the owner's",
                f"its SHA-256 is {sha256}, the owner's {answer['sha256']}",
                "look at the disk of the new instance, then try again",
                final=False,
            )
        snapshot.tell_absent(self._settings, absent=bool(answer.get("absent")))
        await self._fetch_changes(peer, early=False)
        self.say("pages", blocks=answer["blocks"], bytes=answer["size"], ms=_ms(started))
        return sha256

    async def _fetch_changes(self, peer: Peer, *, early: bool) -> Fields:
        """How many files and bytes have changed, and what of them is left behind."""
        settings, token = self._settings, self._instance.record.token
        archive = self._staging / "changes.tar"

        def work() -> Fields:
            before = None if early else changes.written_down(settings)
            known = before.has if before else {}
            fields = {"token": token, "early": early}
            answer: Fields = peer.fetch("changes", fields, archive, json.dumps(known).encode())
            received = changes.unpack(archive, settings)
            for key in received.apart:
                self._fetch_blocks(peer, key)
            changes.write_down(received, settings)
            archive.unlink()
            if early:
                self._blocks = {
                    key: database.block_hashes(changes.staged(settings, key))
                    for key, value in received.has.items()
                    if changes.is_file(value) and value[0] >= changes.APART
                }
            return {name: answer[name] for name in ("files", "bytes", "left")}

        return await in_thread(work)

    def _fetch_blocks(self, peer: Peer, key: str) -> None:
        """Bring a large file that is staged to what the owner has of it."""
        path, difference = changes.staged(self._settings, key), self._staging / "pages"
        fields = {"token": self._instance.record.token, "path": key}
        answer = peer.fetch("pages", fields, difference, self._blocks.get(key, b""))
        database.apply_difference(path, difference, answer["size"])
        difference.unlink()
        if (sha256 := database.sha256(path)) != answer["sha256"]:
            raise Problem(
                f"the copy of {key} is not the owner's",
                f"its SHA-256 is {sha256}, the owner's {answer['sha256']}",
                "look at the disk of the new instance, then try again",
                final=False,
            )
        path.chmod(answer["mode"])
        os.utime(path, ns=(answer["mtime"], answer["mtime"]))

    async def _complete(self) -> None:
        """After a restart: everything is here and on the disk."""
        await self._own(*await self._ask_to_own(None))

    async def _ask_to_own(self, peer: Peer | None) -> tuple[Fields, Address]:
        """Put in place what is staged, and ask to own it until there is an answer."""
        instance = self._instance
        # After a restart it may have been asked before: then it is the owner alone who can say no.
        first = peer is not None
        try:
            await in_thread(self._placement.put)
        except BaseException:
            if first:
                await self._unstage()
            raise
        self.say("installed")
        if instance.relay is not None:
            # From here on the owner may send to us what we would send to it.
            instance.relay.stop_accepting()
        if first and instance.terminating:
            await self._unstage()
            raise Problem("this instance is ending", "it takes no database any more", "", final=True)
        self.completing = True
        try:
            return await self._ask_complete(peer)
        except Refused as refused:
            await self._unstage()
            raise refused.as_problem() from refused
        finally:
            self.completing = False

    async def _unstage(self) -> None:
        """It stays the owner's: what was here before is here again."""
        try:
            await in_thread(self._placement.undo)
        except OSError as error:
            # What relays needs no files of its own, and what fetches fetches anew.
            self.say("untidy", why=str(error))
        self._instance.write_record(staged=False)

    async def _own(self, answer: Fields, owner: Address) -> None:
        instance = self._instance
        instance.make(
            "take over",
            epoch=answer["epoch"] + 1,
            lineage=answer["lineage"],
            served=True,
            staged=False,
            restored=None,
            token="",
            predecessor=f"{owner[0]}:{owner[1]}",
            successor=None,
        )
        self.say("completed", epoch=instance.record.epoch)
        self._open()
        await in_thread(self._tidy)
        await self._prove(owner)

    def _tidy(self) -> None:
        self._discard_staged()
        self._placement.forget()

    def _discard_staged(self) -> None:
        with contextlib.suppress(OSError):  # the next gate that starts here removes it
            changes.discard(self._settings)

    async def _ask_complete(self, peer: Peer | None) -> tuple[Fields, Address]:
        """The owner's answer, and where it is. `Refused` is raised by its own word alone."""
        record = self._instance.record
        fields = {"token": record.token, "sha256": record.sha256}
        told = False
        while True:
            try:
                peer = peer or await self._find_giver()
                answer, _ = await in_thread(peer.call, "complete", fields)
                peer.close()
                return answer, peer.address
            except Unreachable as error:
                peer = None
                if not told:
                    told = True
                    self.say("waiting", error="the owner has not answered", why=str(error))
            except Problem as problem:
                peer = None
                if problem.final:
                    self._instance.failed = problem
            await asyncio.sleep(self._deadlines.poll)

    async def _find_giver(self) -> Peer:
        """A connection to the one whose database is staged here, wherever that is by now.

        Addresses change hands when the engine is started anew: a stranger at the old one would
        refuse, and then nobody would own what only we have.
        """
        uid = self._instance.record.predecessor_uid
        for seen in (await self._instance.look()).peers:
            if seen.uid == uid:
                peer = self._instance.peer(seen.control)
                # By the connection itself: an address can have changed hands since the look.
                status, _ = await in_thread(peer.call, "status")
                if status["uid"] == uid:
                    return peer
                peer.close()
        raise Unreachable(f"{uid[:8]} is not found under {', '.join(self._settings.peers)}")

    def _open(self) -> None:
        instance = self._instance
        instance.failed = None
        instance.open()
        self.say("opened", epoch=instance.record.epoch, held=instance.held)

    async def _prove(self, predecessor: Address) -> None:
        """The same SHA-256 makes the fingerprint of the predecessor's frozen file that of ours."""
        try:
            with self._instance.peer(predecessor) as peer:
                answer, _ = await in_thread(peer.call, "fingerprint")
            self.say("fingerprint", fingerprint=answer["fingerprint"], sha256=self._instance.record.sha256)
        except (Unreachable, Refused, Problem) as error:
            self.say("unproved", why=str(error))

    async def _give_back(self, owner: Address) -> None:
        """What was taken so far is not used: let the owner serve at once."""
        instance = self._instance
        fields = {"token": instance.record.token, "why": "the successor gave up"}

        def work() -> None:
            # If it cannot be told, its lease ends by itself.
            with contextlib.suppress(Unreachable, Refused, Problem), instance.peer(owner) as peer:
                peer.call("release", fields)

        await in_thread(work)
        await in_thread(self._discard_staged)
        self._relay_again()

    def _relay_again(self) -> None:
        """What should have been taken back is where it was."""
        instance, record = self._instance, self._instance.record
        if record.role is Role.INCOMING and record.successor is not None and not record.staged:
            instance.make("give up", token="")
            instance.relay_to(record.successor, sure=False)

    @contextlib.asynccontextmanager
    async def _renewing(self, owner: Address) -> AsyncIterator[None]:
        """Keep the lease for as long as the work in the block takes."""
        fields = {"token": self._instance.record.token}

        async def renew() -> None:
            with self._instance.peer(owner) as peer:
                while True:
                    await asyncio.sleep(self._deadlines.lease / 3)
                    # If it fails, so does what the block does.
                    with contextlib.suppress(Unreachable, Refused, Problem, OSError):
                        await in_thread(peer.call, "renew", fields)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def _newest_in_words(folder: Path | None) -> str:
    try:
        newest = snapshot.newest(folder)
    except Problem as problem:
        return f"{problem.error} ({problem.why})"
    if newest is None:
        return "there is no snapshot of it"
    saved = snapshot.describe(newest)["time"]
    hours = (time.time() - calendar.timegm(time.strptime(saved, "%Y-%m-%dT%H:%M:%SZ"))) / 3600
    return f"the newest snapshot is of {saved}, {hours:.1f} hours ago"


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
