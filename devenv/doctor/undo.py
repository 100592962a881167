"""Puts this machine back: what devenv has changed of it by its record, and nothing else."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from devenv.doctor import apt, emulation, leftovers, running, starting
from devenv.doctor import host as hosts
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.doctor.mends import Mend
from devenv.doctor.record import Written, digest
from devenv.errors import NotFit
from devenv.tools import process

Note = Callable[[str], None]


async def take_back() -> list[Mend]:
    """The same for this machine.

    Raises NotFit where there is something, and one would have to be root and is not.
    """
    host = hosts.look()
    steps = await decide(host, Machine())
    if not steps:
        return []
    become = await hosts.become_root()
    if become is None:
        raise NotFit("this machine cannot be put back", "that needs root", "run: sudo devenv doctor --undo")
    return await decide(host, Machine(become))


async def decide(host: Host, machine: Machine) -> list[Mend]:
    """In the order in which it is to be done; empty where there is nothing to put back.

    Raises DevenvError for a record that cannot be used.
    """
    record = machine.recorded()
    steps = []
    if record.pending:
        steps.append(_settle(machine))
    if (engine := _engine(host, machine)) is not None:
        steps.append(engine)
    elif record.engine is not None:
        steps.append(_forget(machine))
    if record.emulators or record.mounted:
        steps.append(_emulation(machine))
    if record.packages:
        steps.append(_packages(sorted(await apt.installed(record.packages)), machine))
    if record.files or record.pending:
        steps.append(_files(machine))
    if former := leftovers.former(machine):
        steps.append(_former(former, machine))
    return steps


def kept(machine: Machine) -> list[str]:
    """Files that somebody has changed since devenv wrote them: they stay."""
    return [path for path, one in machine.recorded().files.items() if _changed(machine, path, one)]


def _changed(machine: Machine, path: str, written: Written) -> bool:
    content = machine.content(path)
    return content is not None and digest(content) != written.after


def _settle(machine: Machine) -> Mend:
    async def work(note: Note) -> None:
        await apt.settle(machine, note)

    return Mend("settle", "interrupted installation", ("finish it, or take it back",), work)


def _engine(host: Host, machine: Machine) -> Mend | None:
    started = machine.recorded().engine
    number = running.dockerd()
    if started is None or number is None or not (started.managed or running.ours(started, number)):
        return None
    how = "systemctl stop docker.socket docker" if host.managed else f"kill {number}"
    count = running.containers()

    async def work(note: Note) -> None:
        await starting.stop(host, machine.become)
        await machine.keep(replace(machine.recorded(), engine=None))

    does = f"{shlex.join(machine.become)} {how}".strip()
    return Mend("stop", "container engine", (does, f"containers that run, and stop with it: {count}"), work)


def _forget(machine: Machine) -> Mend:
    """The engine that devenv has started is gone."""

    async def work(note: Note) -> str:
        await machine.keep(replace(machine.recorded(), engine=None))
        return "it does not run any more"

    return Mend("stop", "container engine", ("nothing: what devenv has started does not run",), work)


def _emulation(machine: Machine) -> Mend:
    record = machine.recorded()
    argvs = emulation.disabling(record.emulators, mounted=record.mounted == running.boot())
    if shutil.which("update-binfmts") is None:
        argvs = [argv for argv in argvs if argv[0] != "update-binfmts"]

    async def work(note: Note) -> None:
        for argv in argvs:
            await process.run([*machine.become, *argv], timeout=30)
        await machine.keep(replace(machine.recorded(), emulators=(), mounted=""))

    does = tuple(shlex.join([*machine.become, *argv]) for argv in argvs)
    return Mend("emulation", "emulation", does or ("nothing: none is in force",), work)


def _packages(there: list[str], machine: Machine) -> Mend:
    does = (
        shlex.join([*machine.become, *apt.remove_argv(there)]) if there else "nothing: none is there any more"
    )

    async def work(note: Note) -> str:
        gone = await apt.remove(there, machine, note)
        await machine.keep(replace(machine.recorded(), packages=()))
        return ", ".join(gone)

    return Mend("packages", "packages", (does,), work)


def _files(machine: Machine) -> Mend:
    files = machine.recorded().files
    does = [
        f"leave {path}: somebody has changed it since"
        if _changed(machine, path, one)
        else f"{'remove' if one.before.content is None else 'restore'} {path}"
        for path, one in files.items()
    ]

    async def work(note: Note) -> None:
        # Read again: an installation that was interrupted is settled by now.
        record = machine.recorded()
        stay = kept(machine)
        await machine.restore({path: one.before for path, one in record.files.items() if path not in stay})
        await machine.keep(replace(record, files={}))

    return Mend("files", "files of apt", tuple(does), work)


def _former(paths: list[Path], machine: Machine) -> Mend:
    async def work(note: Note) -> None:
        for path in paths:
            await machine.remove(path)

    return Mend("former", "files of an earlier version", tuple(f"remove {path}" for path in paths), work)
