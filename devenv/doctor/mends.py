"""What `--fix` does about what the checks found: first as words, then for real."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devenv.doctor import apt, emulation, starting
from devenv.doctor import host as hosts
from devenv.doctor.apt import Recipe, Source
from devenv.doctor.checks import EMULATION, Check
from devenv.doctor.host import Host
from devenv.model.plan import Plan, Step

Note = Callable[[str], None]
PARTS = ("engine", "compose", "buildx", "mmdebstrap", "go", "emulation")


@dataclass(frozen=True, slots=True)
class Mend:
    name: str
    title: str
    does: tuple[str, ...]
    """Exactly what it does, a line each."""
    work: Callable[[Note], Awaitable[str | None]]


async def prescribe(checks: Sequence[Check], log: Path) -> list[Mend]:
    """The mends of these checks, in the order in which they are to be done.

    Empty where nothing is to be mended, and where one would have to be root and is not. `log` is for an
    engine that is started in the background.
    """
    host = hosts.look()
    if not any(check.fix for check in checks):
        return []
    become = await hosts.become_root()
    return [] if become is None else decide(checks, host, apt.sources(), become, log)


def decide(
    checks: Iterable[Check], host: Host, entries: Sequence[Source], become: Sequence[str], log: Path
) -> list[Mend]:
    broken = [check for check in checks if check.status != "ok"]
    fixes = {check.fix for check in broken}
    mends = []
    if parts := fixes.intersection(PARTS):
        mends.append(_install(apt.recipe(host, parts, entries), host, become))
    if fixes & {"engine", "start"}:
        mends.append(_start(host, become, log))
    if "emulation" in fixes:
        lacking = [check.name.removeprefix(EMULATION) for check in broken if check.fix == "emulation"]
        mends.append(_emulate(lacking, become))
    return mends


def in_turn(mends: Sequence[Mend]) -> Plan:
    """A plan that does one after the other."""
    steps = [
        Step(mend.name, mend.title, tuple(before.name for before in mends[max(number - 1, 0) : number]))
        for number, mend in enumerate(mends)
    ]
    return Plan("doctor", tuple(steps))


def advice(broken: Sequence[Check], *, tried: bool, options: str = "") -> str:
    """The next step for a person, where something is still broken. `options` are those that were given."""
    if not any(check.fix for check in broken):
        return "the mends stand above"
    if not tried:
        return f"run: devenv doctor --fix{options}"
    return f"the mends stand above; what needs root, devenv does as root: sudo devenv doctor --fix{options}"


def _install(recipe: Recipe, host: Host, become: Sequence[str]) -> Mend:
    does = []
    for path, text in recipe.files.items():
        does += [f"write {path}:", *(f"  | {line}".rstrip() for line in text.splitlines())]
    if recipe.files:
        does.append(shlex.join([*become, "apt-get", "update"]))
    does.append(shlex.join([*become, *apt.install_argv(recipe.packages)]))
    if not host.managed:
        does.append(f"meanwhile {apt.POLICY} keeps services from starting by themselves")

    async def work(note: Note) -> str:
        await apt.install(recipe, become, host, note)
        return ", ".join(name.partition("/")[0] for name in recipe.packages)

    return Mend("install", "packages", tuple(does), work)


def _start(host: Host, become: Sequence[str], log: Path) -> Mend:
    if host.managed:
        does = shlex.join([*become, "systemctl", "start", "docker"])
    else:
        does = f"{shlex.join([*become, host.dockerd or 'dockerd'])}, in the background; it writes to {log}"

    async def work(note: Note) -> str:
        # Looked at again: it has perhaps just been installed.
        return await starting.start(hosts.look(), become, log, note)

    return Mend("start", "container engine", (does,), work)


def _emulate(architectures: Sequence[str], become: Sequence[str]) -> Mend:
    async def work(note: Note) -> str:
        return await emulation.enable(architectures, become)

    return Mend("emulate", "emulation", emulation.told(architectures, become), work)
