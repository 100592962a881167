"""The container engine as it runs: its process, and that it has containers."""

from __future__ import annotations

from pathlib import Path

from devenv.doctor.record import Started

PROC = Path("/proc")
RUN = Path("/run")
_SHIM = "containerd-shim"
"""Each container has one; the kernel tells 15 letters of its name."""


def containers(proc: Path = PROC) -> int:
    """How many run on this machine, whether or not an engine answers."""
    return sum(_name(path) == _SHIM for path in proc.glob("[0-9]*"))


def dockerd(run: Path = RUN, proc: Path = PROC) -> int | None:
    """The engine's process, where its pid file is true."""
    number = pid(run / "docker.pid")
    return number if number and name_of(number, proc) == "dockerd" else None


def pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def name_of(number: int, proc: Path = PROC) -> str:
    return _name(proc / str(number))


def now(*, managed: bool, proc: Path = PROC) -> Started:
    """What is started from here on. A program is known by when it was started: numbers come again."""
    return Started(boot(proc), ticks("self", proc), managed)


def boot(proc: Path = PROC) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def ours(started: Started | None, number: int, proc: Path = PROC) -> bool:
    """Whether it can be the one that devenv has started."""
    return started is not None and started.boot == boot(proc) and ticks(str(number), proc) >= started.ticks


def ticks(number: str, proc: Path = PROC) -> int:
    """When it was started; -1 where it is gone."""
    try:
        # The name before it may have spaces and brackets.
        return int((proc / number / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return -1


def _name(path: Path) -> str:
    try:
        return (path / "comm").read_text().strip()
    except OSError:
        return ""
