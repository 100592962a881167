"""An instance without processes and sockets."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from devenv.handover.discovery import Seen, View
from devenv.handover.journal import Journal
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role, Successor
from devenv.handover.settings import Address, Settings
from devenv.handover.states import Machine, State
from devenv.handover.wire import Peer

LEASE = 0.5


class FakeServers:
    """Requests at work are a number; who drains waits for it to become 0."""

    def __init__(self) -> None:
        self.at_work = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def drained(self, budget: float) -> bool:
        await self.gate.wait()
        await asyncio.sleep(0)
        return self.at_work == 0

    def unfinished(self) -> list[str]:
        return [f"GET /slow/{number} (1.0 s)" for number in range(self.at_work)]


class FakeInstance(Machine):
    """An instance without processes and sockets; `steps` is what it was told to do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = replace(
            settings, deadlines=replace(settings.deadlines, lease=LEASE, drain=0.05, shell=0.1)
        )
        self.secret = settings.secret()
        super().__init__(
            settings.state / "record.json",
            Record(uid="owner", role=Role.OWNER, lineage="line", epoch=4, served=True),
        )
        self.state = State.OPEN
        self.journal = Journal(settings.state / "events.jsonl", "owner")
        self.servers = FakeServers()
        self.steps: list[str] = []
        self.held = 0
        self.relay: Any = None
        self.failed: Problem | None = None
        self.newer: Problem | None = None
        self.view = View(found_self=True)

    def superseded(self) -> Problem | None:
        return self.newer

    def open(self) -> None:
        if self.newer is not None:
            raise self.newer
        self.make("open", served=True)
        self.steps.append("open")

    async def close(self, budget: float) -> bool:
        self.make("close")
        self.steps.append("close")
        return await self.servers.drained(budget)

    def make(self, name: str, **changes: Any) -> None:
        super().make(name, **changes)
        if name not in ("open", "close"):
            self.steps.append(name)

    def write_record(self, **changes: Any) -> None:
        super().write_record(**changes)
        self.steps.append("record")

    def relay_to(self, successor: Successor, *, sure: bool = True) -> None:
        self.steps.append("relay")

    def count_held(self) -> None:
        pass

    def die(self, why: str) -> NoReturn:
        self.steps.append("die")
        raise SystemExit(why)

    def peer(self, control: Address) -> Peer:
        return Peer(control, self.secret, self.settings.deadlines)

    async def look(self) -> View:
        return self.view

    def as_seen(self, control: Address) -> Seen:
        return Seen(control, self.status())

    def status(self) -> dict[str, Any]:
        path = self.settings.database
        return {
            "uid": self.record.uid,
            "role": str(self.record.role),
            "release": self.settings.release,
            "lineage": self.record.lineage,
            "epoch": self.record.epoch,
            "served": self.record.served,
            "terminating": self.terminating,
            "successor": None,
            "size": path.stat().st_size if path.exists() else 0,
        }

    def phases(self) -> list[str]:
        lines = self.journal.path.read_text().splitlines()
        return [json.loads(line)["phase"] for line in lines]


class Crash(BaseException):
    pass


@contextmanager
def at_effect(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The effect of that number on the disk does not happen, nor does any later one."""
    count = [0]

    def guarded(true: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] >= number:
                raise error
            return true(*arguments, **options)

        return effect

    with monkeypatch.context() as patched:
        for owner, name in (
            (Path, "rename"),
            (Path, "mkdir"),
            (Path, "touch"),
            (Path, "unlink"),
            (Path, "chmod"),
        ):
            patched.setattr(owner, name, guarded(getattr(owner, name)))
        for name in ("rmtree", "copytree"):
            patched.setattr(shutil, name, guarded(getattr(shutil, name)))
        yield count
