"""What a soak is played on: a stack with an application of its own, whose clock can be set, and its gates."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from tests.e2e import leftovers
from tests.e2e.conftest import Devenv, docker, make
from tests.soak.plan import Backend, Fault, Jump
from tests.soak.watcher import Belongs, Seen, look, of_node, of_project

T = TypeVar("T")

APP = Path(__file__).with_name("app")
CLOCK = ".clock"
PATIENCE = 60.0
_DESCRIBED = """
[app]
source = "app"
warmup = "/"
"""


def prepare(folder: Path, name: str, backend: Backend) -> Devenv:
    """devenv, in a folder of its own, for a stack that serves the application of the soak."""
    more = 'backend = "kind"\n' if backend == "kind" else ""
    devenv = make(folder, name, more + _DESCRIBED)
    shutil.copytree(APP, folder / "app", dirs_exist_ok=True)
    leftovers.marked(devenv, secrets.token_hex(8), folder / "tmp")
    return devenv


@dataclass
class Stage:
    devenv: Devenv
    backend: Backend

    @cached_property
    def belongs(self) -> Belongs:
        """From the first start on."""
        name = self.devenv.stack.stack.name
        if self.backend == "compose":
            return of_project(name)
        return of_node(docker("inspect", "--format", "{{.Id}}", f"{name}-control-plane"))

    def gates(self) -> list[Seen]:
        return look(self.belongs)

    def owner(self) -> Seen:
        """The one that serves."""
        [owner] = until(lambda: [one for one in self.gates() if one.serves], "nobody serves")
        return owner

    def set_clock(self, seconds: int) -> None:
        """For all instances, those to come as well: it is off the machine's clock, but theirs is one."""
        volume = docker("volume", "inspect", "--format", "{{.Mountpoint}}",
                        f"{self.devenv.stack.stack.name}_snapshots")  # fmt: skip
        part = Path(volume, f"{CLOCK}.part")
        part.write_text(f"{seconds}\n")
        part.chmod(0o644)
        part.replace(Path(volume, CLOCK))

    async def jump(self, jump: Jump) -> None:
        await asyncio.sleep(jump.after / 1000)
        with suppress(AssertionError):  # the volume is there from the first start on
            await asyncio.to_thread(self.set_clock, jump.to)

    async def strike(self, fault: Fault, before: Sequence[Seen], process: subprocess.Popen[str]) -> bool:
        """Do it to the victim, for as long as it lasts. False if the victim was not there any more.

        `before` is who was there. `process` is the operation: a new one is waited for as long as that runs.
        """
        victim = next((one for one in before if one.role == "owner"), None)
        if fault.victim == "new":
            victim = await self._new(before, process)
        await asyncio.sleep(fault.after / 1000)
        if fault.victim == "devenv":
            return process.poll() is None and await _signalled(process.pid, fault)
        if victim is None:
            return False
        if fault.how == "pause":
            return await _paused(victim.container, fault)
        return await _signalled(victim.pid, fault)

    async def _new(self, before: Sequence[Seen], process: subprocess.Popen[str]) -> Seen | None:
        known = {one.uid for one in before}
        while process.poll() is None:
            if new := [one for one in await asyncio.to_thread(self.gates) if one.uid not in known]:
                return new[-1]
            await asyncio.sleep(0.05)
        return None


async def _signalled(pid: int, fault: Fault) -> bool:
    try:
        if fault.how == "kill":
            os.kill(pid, signal.SIGKILL)
            return True
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    try:
        await asyncio.sleep(fault.lasts / 1000)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return True


async def _paused(container: str, fault: Fault) -> bool:
    async def engine(verb: str) -> bool:
        argv = ["docker", verb, container]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
        return done.returncode == 0

    if not await engine("pause"):
        return False
    try:
        await asyncio.sleep(fault.lasts / 1000)
    finally:
        await engine("unpause")
    return True


def until(true: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Its value, as soon as it has a true one."""
    deadline = time.monotonic() + patience
    while not (value := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value
