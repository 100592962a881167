"""Installs packages of Debian and Ubuntu, and removes them. What fails leaves apt's files as they were.

No service is kept from starting: Debian's invoke-rc.d starts one where an init tells a runlevel, so that
there is one in whose hands it then runs, and nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from devenv.doctor import running
from devenv.doctor.machine import Machine
from devenv.doctor.suites import SUITES, Recipe, opened, parse_deb822
from devenv.errors import CommandFailed, NotFit
from devenv.tools import process

LISTS = Path("/var/lib/apt/lists")
REPLACE = "devenv doctor --fix --replace-engine"

_ENGINE = {"docker.io", "docker-ce", "containerd", "containerd.io", "runc"}
"""With a new one of these, or without, containers stop or are in the hands of another program."""
_SAY_EVERY = 2.0
_OPTIONS = (
    "-o", "DPkg::Lock::Timeout=120",
    "-o", "Acquire::Retries=3",
    "-o", "Acquire::http::Timeout=30",
    "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Changes:
    """What apt would do."""

    new: tuple[str, ...] = ()
    upgraded: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def changes(simulated: str) -> Changes:
    """Of the lines of `apt-get --simulate`: `Inst NAME [OLD] (NEW …)`, `Remv NAME [OLD]`."""
    found = re.findall(r"^(Inst|Remv) (\S+)( \[)?", simulated, re.MULTILINE)
    return Changes(
        tuple(name for verb, name, old in found if verb == "Inst" and not old),
        tuple(name for verb, name, old in found if verb == "Inst" and old),
        tuple(name for verb, name, _ in found if verb == "Remv"),
    )


def install_argv(packages: Iterable[str]) -> list[str]:
    """Nothing that is there is removed for them."""
    return ["apt-get", "install", "--yes", "--no-remove", "--no-install-recommends", *packages]


def remove_argv(packages: Iterable[str]) -> list[str]:
    """Not purged: docker.io would take all images, volumes and containers along."""
    return ["apt-get", "remove", "--yes", *packages]


def named(machine: Machine) -> set[str]:
    """Packages that the files of apt have opened their suites for."""
    contents = (machine.content(suite.preferences) for suite in SUITES)
    return set[str]().union(*(opened(one.decode(errors="replace")) for one in contents if one is not None))


async def install(
    recipe: Recipe, machine: Machine, note: Note, *, gone: Iterable[Path] = (), replacing: bool = False
) -> None:
    """Put the files, then the packages. What fails, or is cancelled, leaves the files as they were.

    `gone`: files of devenv that these ones replace. `replacing`: an engine that runs containers may be
    replaced.
    """
    record = machine.recorded()
    if record.pending:
        await settle(machine, note)
        record = machine.recorded()
    paths = [*recipe.files, *gone]
    if paths:
        await machine.keep(replace(record, pending={str(path): machine.before(path) for path in paths}))
    try:
        for path, text in recipe.files.items():
            await machine.put(path, text.encode())
        for path in gone:
            await machine.remove(path)
        await _fetch(recipe, machine, note)
        if recipe.packages:
            new = await _allowed(recipe.packages, machine, replacing=replacing)
            await machine.keep(machine.recorded().with_packages(new))
            await _apt(install_argv(recipe.packages), machine, note)
    except BaseException:
        await take_back(machine)
        raise
    if paths:
        written = {str(path): text.encode() for path, text in recipe.files.items()}
        await machine.keep(machine.recorded().done(written))


async def take_back(machine: Machine) -> None:
    """The files of an installation that did not come to its end are as they were before it."""
    record = machine.recorded()
    await machine.restore(record.pending)
    await machine.keep(replace(record, pending={}))


async def settle(machine: Machine, note: Note) -> None:
    """After an installation that was killed: finished where it is complete, else taken back."""
    record = machine.recorded()
    # What was killed with it, or goes on by itself: apt is waited for, and dpkg finishes what it has begun.
    if (await _try([*machine.become, "apt-get", *_OPTIONS, "install", "--yes"])).code != 0:
        note("dpkg finishes what was begun")
        await process.run(
            [*machine.become, "dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]
        )
    wanted = named(machine)
    if not wanted or wanted - await installed(sorted(wanted)):
        note("an installation was killed: its files of apt are put back as they were")
        await take_back(machine)
        return
    now = {path: machine.content(path) for path in record.pending}
    await machine.keep(record.done({path: text for path, text in now.items() if text is not None}))


async def remove(packages: Sequence[str], machine: Machine, note: Note) -> list[str]:
    """Those that are still there, and nothing that needs them. Returns the ones that were removed."""
    there = sorted(await installed(packages))
    if not there:
        return []
    argv = remove_argv(there)
    told = await process.run([*machine.become, argv[0], "--simulate", *argv[1:]])
    if others := sorted(set(changes(told.stdout).removed) - set(there)):
        raise NotFit(
            "packages that devenv has installed are needed by others",
            f"with them would go {', '.join(others)}",
            f"remove those first if they are not needed: apt-get remove {' '.join(others)}",
        )
    await _apt(argv, machine, note)
    return there


async def installed(packages: Sequence[str]) -> set[str]:
    if not packages:
        return set()
    told = await _try(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\\n", *packages]
    )
    return {line.split()[1] for line in told.stdout.splitlines() if line.startswith("ii")}


async def _fetch(recipe: Recipe, machine: Machine, note: Note) -> None:
    """The lists of the new suites must come. One of another source that fails is not the one that counts."""
    if not any(machine.at(LISTS).glob("*_Packages*")):
        await _update(machine, note)
    for path in recipe.files:
        if path.suffix != ".sources":
            continue
        only = ("-o", f"Dir::Etc::SourceList={machine.at(path)}", "-o", "Dir::Etc::SourceParts=/dev/null")
        try:
            await _apt(
                ["apt-get", "update", *only, "-o", "APT::Get::List-Cleanup=0", "--error-on=any"],
                machine,
                note,
            )
        except CommandFailed as error:
            raise _lacking(recipe.files[path], error) from error


def _lacking(sources: str, error: CommandFailed) -> NotFit:
    said = re.findall(r"The repository '(\S+) (\S+) \S+' does not have", error.log_tail)
    wanted = [(uri, suite) for one in parse_deb822(sources) for uri in one.uris for suite in one.suites]
    if said:
        what = ", ".join(f"{suite} at {uri}" for uri, suite in said)
        return NotFit(
            "the mirror lacks a suite",
            f"there is no {what}",
            "have apt use a mirror that has it, or install by hand what the checks name",
            error.log_tail,
        )
    what = ", ".join(f"{suite} of {uri}" for uri, suite in wanted)
    return NotFit(
        f"the lists of {what} do not come", error.why, "see to it that apt-get update works", error.log_tail
    )


async def _allowed(packages: Sequence[str], machine: Machine, *, replacing: bool) -> tuple[str, ...]:
    """The packages that come new. Raises NotFit where an engine that runs containers would be replaced."""
    argv = install_argv(packages)
    simulation = [*machine.become, argv[0], "--simulate", *argv[1:]]
    if (told := await _try(simulation)).code != 0:
        # The lists are perhaps older than what the mirror has.
        await _update(machine, lambda text: None)
        told = await process.run(simulation)
    found = changes(told.stdout)
    engine = sorted(_ENGINE.intersection(found.upgraded))
    if engine and not replacing and (count := running.containers()):
        raise NotFit(
            "the engine runs containers, and is not replaced",
            f"apt would replace {', '.join(engine)}; {count} running containers would stop",
            f"stop them first, or agree to it: {REPLACE}",
        )
    return found.new


async def _update(machine: Machine, note: Note) -> None:
    try:
        await _apt(["apt-get", "update"], machine, note)
    except CommandFailed as error:
        note(f"apt-get update: {error.why}")


async def _try(argv: Sequence[str]) -> process.Completed:
    return await process.run(argv, check=False, env={"DEBIAN_FRONTEND": "noninteractive"})


async def _apt(argv: Sequence[str], machine: Machine, note: Note) -> None:
    program, *rest = argv
    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    said = 0.0
    async with aclosing(process.stream([*machine.become, program, *_OPTIONS, *rest], env=env)) as lines:
        async for line in lines:
            moment = time.monotonic()
            if line.text.strip() and moment - said >= _SAY_EVERY:
                said = moment
                note(line.text.strip())
