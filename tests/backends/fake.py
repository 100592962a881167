"""A backend in memory. It keeps the promises of the protocol, records each call, and fails where told to."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devenv.backends.protocol import By, Kept
from devenv.errors import DevenvError
from devenv.model.events import LogLine, Note, unnoted
from devenv.model.instance import Gate, Instance

Content = dict[str, list[str]]


@dataclass(frozen=True)
class Saved:
    """A snapshot in the volume."""

    name: str
    content: Content
    epoch: int = 1
    lineage: str = "born"


@dataclass
class Container:
    id: str
    name: str
    service: str
    release: str
    state: str = "running"
    role: str = "fresh"
    epoch: int = 0
    lineage: str | None = None
    content: Content = field(default_factory=dict)
    restored: dict[str, Any] | None = None
    failed: dict[str, Any] | None = None
    answers: bool = True
    starting: int = 0
    """So many more looks until its gate answers."""
    journal: list[dict[str, Any]] = field(default_factory=list)
    created: float = field(default_factory=time.time)
    retired: bool = False
    staged: bool = False
    successor: str = ""
    """The id of the one that it handed its content to."""

    def say(self, side: str, phase: str, **details: Any) -> None:
        event = {"time": time.time(), "uid": self.id, "release": self.release, "side": side, "phase": phase}
        self.journal.append({**event, **details})


class FakeBackend:
    def __init__(self) -> None:
        self.containers: list[Container] = []
        self.refuses: list[DevenvError] = []
        """How the next calls to bring end."""
        self.settings: dict[str, str] = {}
        self.volume: list[Saved] = []
        self.built = {"v1", "v2"}
        self.calls: list[str] = []
        self.fail: dict[str, DevenvError] = {}
        self.kept: list[Kept] = []
        """What somebody else uses."""
        """The error that a call ends with, by its name."""
        self.pause: dict[str, asyncio.Event] = {}
        """A call waits at a named phase until its event is set: `start_beside` at `leased` and `completed`,
        `stop` at `httpd` and `retired`, `check` and `instances` at their own names.
        """
        self.lines: asyncio.Queue[list[LogLine]] = asyncio.Queue()
        """What followers of the logs read."""
        self.reached = asyncio.Event()
        """Set when such a phase is reached."""
        self.port = 8080
        self.killed_before_hand_over = False
        """The owner dies as a new instance comes, which then begins from the newest snapshot, or anew."""
        self.corrupt = False
        """The copy on the way to a successor changes."""
        self.looks_until_a_gate_answers = 0
        """After an instance was started."""
        self.handed_back = False
        """The new instance is restarted as it opens: the old one takes its content back."""
        self.unproved = False
        """The old instance does not answer when the new one asks for its fingerprint."""
        self.damage: list[str] = []
        """What is wrong with the database."""
        self._numbers = itertools.count(1)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if error := self.fail.get(name):
            raise error

    def of(self, instance: Instance) -> Container:
        for one in self.containers:
            if one.id == instance.id:
                return one
        raise DevenvError(f"there is no container {instance.name}", "it is gone", "see: devenv status")

    def add(self, service: str, release: str, **values: Any) -> Container:
        number = next(self._numbers)
        made = Container(f"id{number}", f"devenv-{service}-{number}", service, release, **values)
        self.containers.append(made)
        return made

    @property
    def owner(self) -> Container:
        return next(one for one in self.containers if one.role == "owner" and one.state == "running")

    async def check(self) -> None:
        self._called("check")
        await self._reach("check")

    async def provide(self) -> bool:
        self._called("provide")
        return False

    async def remove_place(self) -> bool:
        self._called("remove_place")
        return False

    def by_hand(self, verb: By, instance: Instance) -> str:
        return f"{verb} {instance.name}"

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        self._called("instances")
        await self._reach("instances")
        found = [self._instance(one) for one in self.containers]
        return found if ask_gates else [replace(one, gate=None) for one in found]

    def _instance(self, one: Container) -> Instance:
        gate = self._gate(one) if one.service == "php-fpm" and one.answers else None
        return Instance(
            one.id, one.name, one.service, f"{one.service}:{one.release}", f"sha256:{one.release}",
            one.created, one.state, "healthy", self.port if one.service == "httpd" else None, gate,
        )  # fmt: skip

    def _gate(self, one: Container) -> Gate:
        states = {"owner": "open", "moved": "relaying", "incoming": "incoming", "fresh": "starting"}
        state = states[one.role] if one.state == "running" else "stopped"
        if one.role == "owner" and one.failed:
            state = "starting"  # another one has gone on: it serves nobody
        ready = one.role in ("owner", "moved") and one.state == "running" and state != "starting"
        successor = {"uid": one.successor, "address": "10.0.0.2:9000"} if one.successor else None
        return Gate(
            one.id, one.release, one.role, one.epoch, one.lineage, state, ready,
            restored=one.restored, failed=one.failed, staged=one.staged, successor=successor,
        )  # fmt: skip

    async def gate(self, instance: Instance) -> Gate | None:
        one = self.of(instance)
        if one.starting:
            one.starting -= 1
            return None
        return self._gate(one) if one.answers else None

    def releases(self) -> dict[str, str]:
        return dict(self.settings)

    async def prepare(self, releases: Mapping[str, str]) -> bool:
        before = dict(self.settings)
        self.settings.update(releases)
        return self.settings != before

    async def images(self, release: str) -> dict[str, str]:
        return {name: f"sha256:{release}" for name in ("httpd", "php-fpm") if release in self.built}

    async def join_registry(self) -> bool:
        return False

    async def bring(self, releases: Mapping[str, str], note: Note = unnoted) -> list[str]:
        if self.refuses:
            raise self.refuses.pop()
        return []

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        self._called(f"start {replace}" if replace else "start")
        for service in ("httpd", "php-fpm"):
            stopped = [one for one in self.containers if one.service == service and one.state != "running"]
            for one in stopped:
                one.state = "running"
            if not any(one.service == service for one in self.containers):
                made = self.add(service, self.settings[service])
                if service == "php-fpm":
                    self._begin(made)

    def _begin(self, made: Container) -> None:
        made.role = "owner"
        if self.volume:
            saved = self.volume[-1]
            made.lineage, made.epoch = saved.lineage, saved.epoch + 1
            made.content = {table: list(rows) for table, rows in saved.content.items()}
            made.restored = {"file": saved.name, "time": "2026-01-01T00:00:00Z"}
            made.say("content", "restored", file=saved.name)
        else:
            made.lineage, made.epoch, made.content = f"born as {made.id}", 1, {"post": ["first"]}
            made.say("content", "initialised")
        made.say("successor", "opened", epoch=made.epoch)

    async def start_beside(
        self, release: str, seen: Callable[[Instance], None], note: Note = unnoted
    ) -> None:
        self._called("start_beside")
        if release not in self.built:
            raise DevenvError(f"there is no image php-fpm:{release}", "not found", "build it")
        old = next((one for one in self.containers if one.role == "owner" and one.state == "running"), None)
        made = self.add("php-fpm", release, role="incoming")
        seen(self._instance(made))
        made.say("successor", "discover")
        if old is not None and self.killed_before_hand_over:
            old.state = "exited"
            self._begin(made)
            return
        if old is None:
            raise DevenvError("no instance owns a database", "none runs", "start one")
        await self._reach("leased")
        if error := self.fail.get("hook"):
            made.failed = {"error": error.what, "why": error.why, "next": error.next_step}
            raise error
        self._complete(old, made)
        await self._reach("completed")
        if self.unproved:
            made.say("successor", "verified", sha256="equal")
            made.say("successor", "unproved", why="it does not answer")
            return
        made.say("successor", "fingerprint", fingerprint=_fingerprint(made.content))
        if self.handed_back:
            self._complete(made, old)
            old.say("successor", "fingerprint", fingerprint=_fingerprint(old.content))

    def _complete(self, old: Container, made: Container) -> None:
        old.say("owner", "closing")
        made.content = {table: list(rows) for table, rows in old.content.items()}
        if self.corrupt:
            made.content["post"] = made.content["post"][:-1]
        old.role, made.role, old.successor, made.successor = "moved", "owner", made.id, ""
        made.epoch, made.lineage = old.epoch + 1, old.lineage
        made.say("successor", "verified")
        old.say("owner", "moved")
        made.say("successor", "completed", epoch=made.epoch)
        made.say("successor", "opened", epoch=made.epoch)

    async def _reach(self, phase: str) -> None:
        if gate := self.pause.get(phase):
            self.reached.set()
            await gate.wait()

    async def revive(self, instance: Instance) -> None:
        self._called("revive")
        one = self.of(instance)
        one.state, one.starting = "running", self.looks_until_a_gate_answers
        if one.role == "owner":
            one.say("owner", "opened", epoch=one.epoch, resumed=True)

    async def hook(self, instance: Instance) -> None:
        self._called("hook")
        made = self.of(instance)
        old = next((one for one in self.containers if one.role == "moved"), None)
        if old is None:
            self._begin(made)
        else:
            made.content, made.role = dict(old.content), "owner"
            made.epoch, made.lineage = old.epoch + 1, old.lineage
            made.say("successor", "completed", epoch=made.epoch)
            made.say("successor", "opened", epoch=made.epoch)
            made.say("successor", "fingerprint", fingerprint=_fingerprint(made.content))

    async def gate_events(
        self, instance: Instance, *, follow: bool
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        one, told = self.of(instance), 0
        while True:
            while told < len(one.journal):
                yield one.journal[told]
                told += 1
            if not follow:
                return
            await asyncio.sleep(0.005)
            if one.journal[-1]["phase"] == "opened" and any(e["phase"] == "completed" for e in one.journal):
                one.say("successor", "fingerprint", fingerprint=_fingerprint(one.content))

    async def fingerprint(self, instance: Instance) -> Mapping[str, Any]:
        return _fingerprint(self.of(instance).content)

    async def snapshot(self, instance: Instance, into: Path) -> Mapping[str, Any]:
        self._called("snapshot")
        one = self.of(instance)
        into.write_text(json.dumps(one.content))
        about = {"bytes": into.stat().st_size, "epoch": one.epoch, "lineage": one.lineage}
        return {**about, "damage": self.damage}

    async def restore(self, instance: Instance, file: Path) -> None:
        self._called("restore")
        self.of(instance).content = json.loads(file.read_text())

    async def retire(self, instance: Instance) -> None:
        self._called("retire")
        self.of(instance).retired = True

    async def recover(self, instance: Instance, *, force: bool = False) -> Mapping[str, Any]:
        self._called("recover --force" if force else "recover")
        one = self.of(instance)
        if one.starting:
            raise DevenvError(f"{one.name}: the gate does not answer", "refused", "see its log")
        one.role, one.epoch, one.staged, one.failed = "owner", one.epoch + 1, False, None
        one.say("owner", "recovered", epoch=one.epoch)
        return {"uid": one.id, "role": one.role}

    async def stop(self) -> None:
        self._called("stop")
        for one in self.containers:
            if one.service == "httpd":
                self._stop(one)
        await self._reach("httpd")
        for one in self.containers:
            one.retired = one.role == "owner" and one.state == "running"
        await self._reach("retired")
        for one in self.containers:
            self._stop(one)

    def _stop(self, one: Container) -> None:
        if one.state != "running":
            return
        one.say("owner", "terminating", role=one.role)
        if one.role == "owner" and "unsaved" not in self.fail:
            name = f"snapshot-{len(self.volume) + 1}.tar"
            content = {table: list(rows) for table, rows in one.content.items()}
            self.volume.append(Saved(name, content, one.epoch, one.lineage or ""))
            one.say("content", "snapshot", file=name)
        one.state = "exited"

    async def last_snapshot(self, instance: Instance, into: Path) -> bool:
        saved = ""
        for event in self.of(instance).journal:
            if event["phase"] in ("opened", "terminating", "snapshot"):
                saved = event.get("file", "")
        if saved:
            into.write_text(json.dumps({one.name: one.content for one in self.volume}[saved]))
        return bool(saved)

    def kill(self, instance: Instance) -> None:
        """Nothing is saved, and nothing said."""
        self.of(instance).state = "exited"

    def fill_volume(self, instance: Instance) -> None:
        """No end saves anything from now on."""
        self.fail["unsaved"] = DevenvError("", "", "")

    async def stop_one(self, instance: Instance) -> None:
        self._called("stop_one")
        self._stop(self.of(instance))

    async def remove_one(self, instance: Instance) -> None:
        self._called("remove_one")
        self.containers.remove(self.of(instance))

    async def remove_all(self, *, content: bool) -> Sequence[Kept]:
        self._called("remove_all")
        self.containers.clear()
        if content and not self.kept:
            self.volume.clear()
        return self.kept

    async def logs(
        self, service: str | None, *, follow: bool, tail: int | None, since: str | None
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        yield [LogLine(one.name, "ready") for one in self.containers if service in (None, one.service)]
        while follow:
            yield await self.lines.get()

    async def changes(self) -> AsyncGenerator[None, None]:
        seen = None
        while True:
            now = [(one.id, one.state, one.role) for one in self.containers]
            if now != seen:
                seen = now
                yield
            await asyncio.sleep(0.005)

    async def log_tail(self, instance: Instance, lines: int = 20) -> str:
        return "the last line"


def _fingerprint(content: Content) -> Mapping[str, Any]:
    tables = {name: {"rows": len(rows), "hash": _hash(rows)} for name, rows in content.items()}
    return {"format": 1, "tables": tables, "total": _hash(*sorted(content.items())), "seconds": 0.0}


def _hash(*parts: object) -> str:
    return hashlib.blake2b("".join(map(repr, parts)).encode(), digest_size=16).hexdigest()
