"""This instance: its record, its listening socket, and who answers on that.

All of it is used from the event loop alone, which makes each change one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from . import database
from . import mark as marks
from . import record as records
from .discovery import Nobody, Seen, View, choose, look
from .journal import Journal
from .mark import Mark
from .neighbours import Listener, Neighbours, find_neighbours
from .problem import Problem
from .record import FORMAT, Record, Role, Successor
from .relay import Relay, waiting
from .servers import Servers
from .settings import Address, Settings
from .states import Machine, State
from .wire import Peer

T = TypeVar("T")

BACKLOG = 4096
"""How many connections the kernel holds while we are closed (at most net.core.somaxconn)."""


class Instance(Machine):
    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self.settings = settings
        self.secret = settings.secret()
        path = settings.state / "record.json"
        record = records.load(path) or Record()
        here = socket.gethostname()
        if record.host not in ("", here):
            # The disk is a copy of another instance's, which may serve: `docker commit` makes such.
            record = record.evolve(uid=Record().uid, token="", copied=True)
            if record.role is Role.INCOMING:
                record = record.evolve(staged=False)  # that hand-over is the other one's
        super().__init__(path, record.evolve(host=here))
        records.save(path, self.record)
        self.journal = Journal(settings.state / "events.jsonl", self.record.uid)
        self.found_self = False
        self.failed: Problem | None = None
        self.held = 0
        self._signed: Mark | None = None
        self._unsigned = False
        self.relay: Relay | None = None
        self.neighbours = find_neighbours(self.journal) if settings.neighbours_only else None
        """Who alone may connect; None: anybody who reaches our address."""
        self.listener = _bind(settings.listen, self.neighbours)
        self._listening = False
        sockets = Path(os.environ.get("GATE_RUN", "/run/gate"))
        sockets.mkdir(parents=True, exist_ok=True)
        (sockets / "opcache").mkdir(exist_ok=True)
        # For the warm-up; what is put in place later may have none.
        settings.sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
        env = _server_env(sockets / "opcache", settings.sessions)
        self.servers = Servers(command, env, sockets, self.journal)

    @property
    def ready(self) -> bool:
        """Whether an engine may send requests here, and end the instance before this one."""
        serves = self.record.role in (Role.OWNER, Role.MOVED) and self.state in (
            State.OPEN,
            State.CLOSED,
            State.RELAYING,
        )
        return serves and self.found_self and not self.servers.unable

    def status(self) -> dict[str, Any]:
        record = self.record
        try:
            size = self.settings.database.stat().st_size
        except FileNotFoundError:
            size = 0
        return {
            "format": FORMAT,
            "uid": record.uid,
            "release": self.settings.release,
            "role": record.role,
            "epoch": record.epoch,
            "lineage": record.lineage or None,
            "served": record.served,
            "staged": record.staged,
            "state": self.state,
            "ready": self.ready,
            "terminating": self.terminating,
            "size": size,
            "held": self.held,
            "relayed": self.relay.relayed if self.relay else 0,
            "restored": record.restored,
            "successor": record.successor
            and {"uid": record.successor.uid, "address": record.successor.address},
            "since": round(self.since, 3),
            "failed": self.failed and self.failed.as_json(),
        }

    def peer(self, control: Address) -> Peer:
        host = self.settings.control[0]
        source = None if host == "0.0.0.0" else host
        return Peer(control, self.secret, self.settings.deadlines, source)

    async def look(self) -> View:
        """Who is there now."""
        view: View = await in_thread(look, self.settings, self.secret, self.record.uid)
        self.found_self |= view.found_self
        return view

    async def find_owner(self) -> Address | None:
        """Where to send requests if the one we handed to does not answer: only ever forward.

        Its address may be another one than it was: after the engine was restarted, even ours.
        """
        view = await self.look()
        record = self.record
        found = None
        with contextlib.suppress(Problem, Nobody):
            head = choose(view, record.uid)
            if head.status["lineage"] == record.lineage and head.status["epoch"] > record.epoch:
                found = head
        if found is None and record.successor is not None:
            # It has not opened yet, or relays itself.
            found = next((seen for seen in view.peers if seen.uid == record.successor.uid), None)
        if found is None:
            return None
        self._follow(found)
        return found.control[0], self.settings.listen[1]

    def _follow(self, seen: Seen) -> None:
        """Write down where the one we relay to is now."""
        host, port = seen.control
        successor = self.record.successor
        if self.record.role is Role.MOVED and successor is not None:
            now = replace(
                successor, uid=seen.uid, address=f"{host}:{self.settings.listen[1]}", control=f"{host}:{port}"
            )
            if now != successor:
                self.write_record(successor=now)

    def sign(self, *, saved: str = "") -> None:
        """Tell beside the snapshots that we have the content, or which snapshot has all of ours.

        Where that cannot be written we serve all the same, and try again. But what was signed before must
        not send a new instance to a snapshot that is older than what is served since.
        """
        folder, record = self.settings.snapshots, self.record
        if folder is None:
            return
        release, host = self.settings.release, socket.gethostname()
        mark = Mark(record.uid, host, release, record.lineage, record.epoch, saved)
        if mark == self._signed:
            return
        try:
            if self.superseded() is not None:
                return  # another one has gone on, and what we have is not the content any more
            marks.save(folder, mark)
            self._signed, self._unsigned = mark, False
        except (OSError, Problem) as error:
            if not self._unsigned:
                self.journal.write("content", "unsigned", why=str(error))
            self._unsigned = True
            with contextlib.suppress(OSError):
                marks.lapse(folder)

    def superseded(self) -> Problem | None:
        """Another instance has served since we did: one that restored our last snapshot, or was told to."""
        mark = None
        with contextlib.suppress(Problem):  # we serve on, and write it anew
            mark = marks.load(self.settings.snapshots)
        if mark is None or not mark.supersedes(self.record):
            return None
        return Problem(
            "another instance has gone on with the content",
            f"{mark} has served since this one did",
            f"if that one is right, remove this one; to serve what this one has instead, end that one first,"
            f" then: {_recover_here()}",
        )

    def open(self) -> None:
        """Serve on the listening socket; those who waited there come first.

        Raises a `Problem` where another instance has served since this one did.
        """
        if (problem := self.superseded()) is not None:
            raise problem
        self.count_held()
        self.settings.sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.settings.absent.exists():
            database.forget_empty(self.settings.database)
            self.settings.absent.unlink(missing_ok=True)
        self.make("open", served=True)
        self.sign()
        if self.relay is not None:
            self.relay.stop_accepting()
        self.listen()
        self.serve()

    def listen(self) -> None:
        if not self._listening:
            self.listener.listen(BACKLOG)
            self._listening = True

    def serve(self) -> None:
        host, port = self.settings.listen
        self.servers.start(self.listener, f"{host}:{port}")

    async def close(self, budget: float) -> bool:
        """Let no request reach a server, and wait for those that have: False if some are not
        done within `budget` seconds. New ones wait in the backlog."""
        # First: nobody starts a server, and nobody else closes, while this one is asked what it does.
        self.make("close")
        try:
            await self.servers.begin_drain()
        except BaseException:
            if self.may("open"):
                self.make("open")  # it still serves
            raise
        return await self.servers.drained(budget)

    def relay_to(self, successor: Successor, *, sure: bool = True) -> None:
        """Pass each connection on, those first that waited here: after a transition to `relaying`.

        Not `sure`: the address is of an earlier life, so the successor is looked for.
        """
        if self.relay is None:
            self.relay = Relay(self.listener, self.settings.deadlines, self.find_owner)
        if sure:
            self.relay.target = address(successor.address)
        self.listen()
        self.relay.start()

    def count_held(self) -> None:
        """Before it is left: who waits in the backlog now."""
        if self.state is State.CLOSED:
            self.held += waiting(self.listener)

    def die(self, why: str) -> NoReturn:
        """End at once, as if killed: the engine starts the process again, and it goes on from its disk."""
        self.journal.write("gate", "died", why=why)
        self.servers.kill()
        os._exit(70)


def _recover_here() -> str:
    """For whoever reads it on the machine of the engine."""
    return f"devenv recover --from {socket.gethostname()} (by hand: gate recover, in it)"


def missing(mark: Mark, newest: str, *, final: bool) -> Problem:
    """A new instance finds nobody, though `mark` says who has the content."""
    return Problem(
        "the instance that has the content is not there",
        f"{mark} owns it, did not save it at its end, and does not answer; {newest}",
        f"start {mark.host} again; if it is gone for good, go on without what"
        f" it wrote since: {_recover_here()}",
        final=final,
    )


def address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _bind(where: Address, neighbours: Neighbours | None) -> socket.socket:
    listener = Listener(neighbours) if neighbours else socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise Problem(
            "the gate cannot have its address",
            f"{where[0]}:{where[1]}: {error.strerror}",
            "end what listens there, or set GATE_LISTEN",
        ) from error
    return listener


def _server_env(opcache: Path, sessions: Path) -> dict[str, str]:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    env = {"APP_STARTED": started, "GATE_OPCACHE": str(opcache), "GATE_SESSIONS": str(sessions)}
    return {**env, **os.environ}


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run what blocks beside the loop, to its end: if the waiting is cancelled, the work is not
    abandoned half-way, since it may have files of ours in its hands."""
    work = asyncio.create_task(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
