"""Starts the container engine, and stops it: by the service manager, or itself where there is none."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from devenv.doctor import running
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.errors import DevenvError, NotFit
from devenv.tools import daemons, process

PATIENCE = 60.0
_ASK_EVERY = 0.3
_SAY_EVERY = 5.0
_TAIL = 15
_RUN = running.RUN
# Left behind where the machine went down; its number can belong to another program since then, and the
# engine would take that one for itself.
_PID_FILES = (("docker.pid", "dockerd"), ("docker/containerd/containerd.pid", "containerd"))
_REFUSED = re.compile(r"permission denied", re.IGNORECASE)


async def start(
    host: Host, machine: Machine, log: Path, note: Callable[[str], None], *, again: bool = False
) -> str:
    """Returns once it answers, with its version. `again`: an older one that runs is stopped first."""
    if again:
        await stop(host, machine.become)
    elif found := await _answer():
        return found
    if (number := running.dockerd(_RUN)) is not None:
        note(f"dockerd runs already, process {number}, but does not answer yet")
        return await _wait(note, lambda: None, log)
    record = machine.recorded()
    # One that ran before devenv came is its owner's, also when it was started again.
    if not again or record.engine is not None:
        await machine.keep(replace(record, engine=running.now(managed=host.managed)))
    if host.managed:
        await process.run([*machine.become, "systemctl", "start", "docker"], timeout=PATIENCE)
        return await _wait(note, lambda: None, log)
    for stale in stale_pid_files(_RUN, running.PROC):
        note(f"{stale} names no running engine, and goes")
        await process.run([*machine.become, "rm", "-f", str(stale)])
    ended = daemons.start_bounded([*machine.become, host.dockerd or "dockerd"], log)
    return await _wait(note, ended, log)


async def stop(host: Host, become: Sequence[str]) -> None:
    """The engine, and with it all of its containers. Returns once its process is gone."""
    number = running.dockerd(_RUN)
    if host.managed:
        # The socket would start it again.
        await process.run([*become, "systemctl", "stop", "docker.socket", "docker"], timeout=PATIENCE)
    elif number is not None:
        await process.run([*become, "kill", str(number)])
    begin = time.monotonic()
    while number is not None and running.dockerd(_RUN) == number:
        if time.monotonic() - begin > PATIENCE:
            raise NotFit(
                "the container engine does not end",
                f"process {number} is still there after {PATIENCE:.0f} s",
                f"see what it waits for; as root: kill -KILL {number}",
            )
        await asyncio.sleep(_ASK_EVERY)


def stale_pid_files(run: Path, proc: Path) -> list[Path]:
    """Those whose process is gone, or is another program by now."""
    return [
        run / name
        for name, program in _PID_FILES
        if (run / name).exists() and running.name_of(running.pid(run / name), proc) != program
    ]


async def _answer() -> str:
    """The engine's version; empty as long as there is no answer."""
    try:
        told = await process.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=5
        )
    except DevenvError:
        return ""
    if told.code == 0:
        return told.stdout.strip()
    # It runs; that it refuses this user is for the next look to tell.
    return "it runs" if _REFUSED.search(told.stderr) else ""


async def _wait(note: Callable[[str], None], ended: Callable[[], int | None], log: Path) -> str:
    begin = said = time.monotonic()
    while (moment := time.monotonic()) - begin < PATIENCE:
        if found := await _answer():
            return found
        if (code := ended()) is not None:
            raise _failed(f"dockerd ended with code {code}", log)
        if moment - said >= _SAY_EVERY:
            said = moment
            note(f"no answer yet after {moment - begin:.0f} s")
        await asyncio.sleep(_ASK_EVERY)
    raise _failed(f"no answer within {PATIENCE:.0f} s", log)


def _failed(why: str, log: Path) -> NotFit:
    last = daemons.tail(log, _TAIL)
    where = f"see {log}" if last else "see: journalctl -u docker"
    return NotFit("the container engine does not come up", why, where, last)
