"""What `--fix` does about what the checks found: first as words, then for real."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from devenv.doctor import apt, emulation, leftovers, running, starting, suites
from devenv.doctor import host as hosts
from devenv.doctor.check import Check
from devenv.doctor.checks import EMULATION
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.doctor.suites import Recipe, Source
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


async def prescribe(checks: Sequence[Check], log: Path, *, replacing: bool = False) -> list[Mend]:
    """The mends of these checks, in the order in which they are to be done.

    Empty where nothing is to be mended, and where one would have to be root and is not. `log` is for an
    engine that is started in the background. `replacing`: an engine that runs containers may be replaced.
    """
    host = hosts.look()
    if not any(check.fix for check in checks):
        return []
    become = await hosts.become_root()
    if become is None:
        return []
    machine = Machine(become)
    return decide(checks, host, suites.sources(), machine, log, named=apt.named(machine), replacing=replacing)


def decide(
    checks: Iterable[Check],
    host: Host,
    entries: Sequence[Source],
    machine: Machine,
    log: Path,
    *,
    named: Set[str] = frozenset(),
    replacing: bool = False,
) -> list[Mend]:
    """`named`: packages that files of apt have opened their suites for."""
    broken = [check for check in checks if check.status != "ok"]
    fixes = {"engine" if check.fix == "replace" and replacing else check.fix for check in broken}
    old = any(check.fix == "replace" for check in broken) and replacing
    mends = []
    if "tidy" in fixes:
        mends.append(_tidy(entries, host, machine))
    if parts := fixes.intersection(PARTS):
        mends.append(_install(suites.recipe(host, parts, entries, named), machine, replacing=replacing))
    if fixes & {"engine", "start"}:
        mends.append(_start(host, machine, log, again=old))
    if "emulation" in fixes:
        lacking = [check.name.removeprefix(EMULATION) for check in broken if check.fix == "emulation"]
        mends.append(_emulate(lacking, machine))
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
    if any(check.fix == "replace" for check in broken):
        return f"stop its containers, or agree that they stop: {apt.REPLACE}{options}"
    if not any(check.fix for check in broken):
        return "the mends stand above"
    if not tried:
        return f"run: devenv doctor --fix{options}"
    return f"the mends stand above; what needs root, devenv does as root: sudo devenv doctor --fix{options}"


def _install(recipe: Recipe, machine: Machine, *, replacing: bool) -> Mend:
    does = []
    for path, text in recipe.files.items():
        does += [f"write {path}:", *(f"  | {line}".rstrip() for line in text.splitlines())]
    if recipe.files:
        does.append(shlex.join([*machine.become, "apt-get", "update"]) + ", for these suites")
    does.append(shlex.join([*machine.become, *apt.install_argv(recipe.packages)]))

    async def work(note: Note) -> str:
        await apt.install(recipe, machine, note, replacing=replacing)
        return ", ".join(name.partition("/")[0] for name in recipe.packages)

    return Mend("install", "packages", tuple(does), work)


def _start(host: Host, machine: Machine, log: Path, *, again: bool) -> Mend:
    if host.managed:
        does = shlex.join([*machine.become, "systemctl", "start", "docker"])
    else:
        argv = shlex.join([*machine.become, host.dockerd or "dockerd"])
        does = f"{argv}, in the background; it writes to {log}"
    before = (f"stop the engine that runs, with its {running.containers()} containers",) if again else ()

    async def work(note: Note) -> str:
        # Looked at again: it has perhaps just been installed.
        return await starting.start(hosts.look(), machine, log, note, again=again)

    return Mend("start", "container engine", (*before, does), work)


def _emulate(architectures: Sequence[str], machine: Machine) -> Mend:
    async def work(note: Note) -> str:
        return await emulation.enable(architectures, machine)

    return Mend("emulate", "emulation", emulation.told(architectures, machine.become), work)


def _tidy(entries: Sequence[Source], host: Host, machine: Machine) -> Mend:
    async def work(note: Note) -> None:
        await leftovers.tidy(entries, host, machine, note)

    return Mend("tidy", "what earlier runs have left", leftovers.told(machine), work)
