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
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

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
from .wire import Peer

T = TypeVar("T")

BACKLOG = 4096
"""How many connections the kernel holds while we are closed (at most net.core.somaxconn)."""


class State(StrEnum):
    STARTING = "starting"
    INCOMING = "incoming"
    OPEN = "open"
    CLOSED = "closed"
    RELAYING = "relaying"
    ENDING = "ending"


class Instance:
    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self.settings = settings
        self.secret = settings.secret()
        self.record_path = settings.state / "record.json"
        self.record = records.load(self.record_path) or Record()
        records.save(self.record_path, self.record)
        self.journal = Journal(settings.state / "events.jsonl", self.record.uid)
        self.state = State.STARTING
        self.since = time.time()
        self.terminating = False
        self.found_self = False
        self.restored: dict[str, Any] | None = None
        self.failed: Problem | None = None
        self.held = 0
        self._signed: Mark | None = None
        self.relay: Relay | None = None
        self.neighbours = find_neighbours(self.journal) if settings.neighbours_only else None
        """Who alone may connect; None: anybody who reaches our address."""
        self.listener = _bind(settings.listen, self.neighbours)
        self._listening = False
        sockets = Path(os.environ.get("GATE_RUN", "/run/gate"))
        sockets.mkdir(parents=True, exist_ok=True)
        (sockets / "opcache").mkdir(exist_ok=True)
        self.servers = Servers(command, _server_env(sockets / "opcache"), sockets, self.journal)

    @property
    def ready(self) -> bool:
        """Whether an engine may send requests here, and end the instance before this one."""
        serves = self.record.role in (Role.OWNER, Role.MOVED) and self.state in (
            State.OPEN,
            State.CLOSED,
            State.RELAYING,
        )
        return serves and self.found_self

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
            "state": self.state,
            "ready": self.ready,
            "terminating": self.terminating,
            "size": size,
            "held": self.held,
            "relayed": self.relay.relayed if self.relay else 0,
            "restored": self.restored,
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

    def enter(self, state: State) -> None:
        self.state, self.since = state, time.time()

    def write_record(self, **changes: Any) -> None:
        """Change the record; on return it is on the disk."""
        changed = self.record.evolve(**changes)
        records.save(self.record_path, changed)
        self.record = changed

    def sign(self, *, saved: str = "") -> None:
        """Tell beside the snapshots that we have the content, or which snapshot has all of ours.

        Where that cannot be written we serve all the same: it helps those who come later, and us not.
        """
        folder, record = self.settings.snapshots, self.record
        if folder is None:
            return
        release, host = self.settings.release, socket.gethostname()
        mark = Mark(record.uid, host, release, record.lineage, record.epoch, saved)
        if mark == self._signed:
            return
        try:
            if saved and (last := marks.load(folder)) is not None and last.uid != record.uid:
                return  # another one has gone on, and what we have is not the content any more
            marks.save(folder, mark)
            self._signed = mark
        except (OSError, Problem) as error:
            self.journal.write("content", "unsigned", why=str(error))

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
            f"if that one is right, remove this one; to serve what this one has: {_recover_here()}",
        )

    def open(self) -> None:
        """Serve on the listening socket; those who waited there come first."""
        if not self.record.served:
            self.write_record(served=True)
        self.sign()
        if self.relay is not None:
            self.relay.stop_accepting()
        self.listen()
        self._count_held()
        self.serve()
        self.enter(State.OPEN)

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
        self.enter(State.CLOSED)
        try:
            await self.servers.begin_drain()
        except BaseException:
            self.enter(State.OPEN)  # it still serves
            raise
        return await self.servers.drained(budget)

    def relay_to(self, successor: Successor, *, sure: bool = True) -> None:
        """Pass each connection on, those first that waited here.

        Not `sure`: the address is of an earlier life, so the successor is looked for.
        """
        if self.relay is None:
            self.relay = Relay(self.listener, self.settings.deadlines, self.find_owner)
        if sure:
            self.relay.target = address(successor.address)
        self.listen()
        self._count_held()
        self.relay.start()
        self.enter(State.RELAYING)

    def _count_held(self) -> None:
        if self.state is State.CLOSED:
            self.held += waiting(self.listener)


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


def _server_env(opcache: Path) -> dict[str, str]:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"APP_STARTED": started, "GATE_OPCACHE": str(opcache), **os.environ}


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run what blocks beside the loop, to its end: if the waiting is cancelled, the work is not
    abandoned half-way, since it may have files of ours in its hands."""
    work = asyncio.create_task(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
