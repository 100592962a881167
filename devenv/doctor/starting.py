"""Starts the container engine: by the service manager, or in the background where there is none."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from devenv.doctor.host import Host
from devenv.errors import DevenvError, NotFit
from devenv.tools import daemons, process

PATIENCE = 60.0
_ASK_EVERY = 0.3
_SAY_EVERY = 5.0
_TAIL = 15
_RUN = Path("/run")
# Left behind where the machine went down; its number can belong to another program since then, and the
# engine would take that one for itself.
_PID_FILES = (("docker.pid", "dockerd"), ("docker/containerd/containerd.pid", "containerd"))
_REFUSED = re.compile(r"permission denied", re.IGNORECASE)


async def start(host: Host, become: Sequence[str], log: Path, note: Callable[[str], None]) -> str:
    """Returns once it answers, with its version."""
    if found := await _answer():
        return found
    if host.managed:
        await process.run([*become, "systemctl", "start", "docker"], timeout=PATIENCE)
        return await _wait(note, lambda: None, log)
    if running := _running():
        note(f"dockerd runs already, process {running}, but does not answer yet")
        return await _wait(note, lambda: None, log)
    for stale in stale_pid_files(_RUN, Path("/proc")):
        note(f"{stale} names no running engine, and goes")
        await process.run([*become, "rm", "-f", str(stale)])
    ended = daemons.start_bounded([*become, host.dockerd or "dockerd"], log)
    return await _wait(note, ended, log)


def stale_pid_files(run: Path, proc: Path) -> list[Path]:
    """Those whose process is gone, or is another program by now."""
    return [
        run / name
        for name, program in _PID_FILES
        if (run / name).exists() and _name_of(_pid(run / name), proc) != program
    ]


def _running() -> int | None:
    """The engine's process, where its pid file is true."""
    pid = _pid(_RUN / "docker.pid")
    return pid if pid and _name_of(pid, Path("/proc")) == "dockerd" else None


def _pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _name_of(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


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
