"""What earlier runs have left on this machine that is not as it should be, and how it is put in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from devenv.doctor import apt, suites
from devenv.doctor.check import Check
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.doctor.suites import FORMER, Recipe, Source
from devenv.errors import DevenvError
from devenv.tools import process

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks it whether a service may start. Earlier versions said no there while they installed."""

_POLICY = b"#!/bin/sh\n# Of devenv doctor, while it installs: nothing starts by itself.\nexit 101\n"
_HEAD = b"# Of devenv doctor"
_PINS = re.compile(rb"(Package: \*\nPin: release n=(trixie|sid)\nPin-Priority: (100|50)\n\n?)+")


def former(machine: Machine) -> list[Path]:
    """Files of earlier versions of devenv, which kept no record: known by what stands in them."""
    sources, pins = (machine.content(path) for path in FORMER)
    ours = {
        FORMER[0]: sources is not None and sources.startswith(_HEAD),
        FORMER[1]: pins is not None and _PINS.fullmatch(pins) is not None,
        POLICY: machine.content(POLICY) == _POLICY,
    }
    return [path for path, is_ours in ours.items() if is_ours]


def check(machine: Machine) -> list[Check]:
    """None where all is in order."""
    name = "earlier mends"
    reasons = [f"{path} is of an earlier version of devenv" for path in former(machine)]
    try:
        if machine.recorded().pending:
            reasons.append("an installation was interrupted")
    except DevenvError as error:
        return [Check(name, "warn", error.why, error.next_step)]
    return [Check(name, "warn", "; ".join(reasons), "put that in order", "tidy")] if reasons else []


def told(machine: Machine) -> tuple[str, ...]:
    """What `tidy` does, a line each."""
    pending = ["finish the installation that was interrupted, or put the files of apt back as they were"]
    old = former(machine)
    pins = ["write files of apt that open the suites for the packages that are from there, for no others"]
    return (
        *(pending if machine.recorded().pending else ()),
        *(f"remove {path}" for path in old),
        *(pins if set(old) & set(FORMER) else ()),
    )


async def tidy(entries: Sequence[Source], host: Host, machine: Machine, note: Callable[[str], None]) -> None:
    old = former(machine)
    if POLICY in old:
        await machine.remove(POLICY)
    if machine.recorded().pending:
        await apt.settle(machine, note)
    if replaced := [path for path in FORMER if path in former(machine)]:
        foreign = await _foreign(list(suites.newer(host)), host)
        files = suites.of_packages(host, foreign, entries, apt.named(machine)).files
        await apt.install(Recipe(files, ()), machine, note, gone=replaced)


async def _foreign(packages: Sequence[str], host: Host) -> list[str]:
    """Those that are here in a version that the machine's own release does not have."""
    here = sorted(await apt.installed(packages))
    told = await process.run(["apt-cache", "policy", *here], env={"LC_ALL": "C.UTF-8"}) if here else None
    return [one for one in here if told and not of_release(told.stdout, one, host.codename)]


def of_release(policy: str, package: str, codename: str) -> bool:
    """Whether the version that is installed is one of that release, by the answer of `apt-cache policy`."""
    told = re.search(rf"^{re.escape(package)}:\n((?:[ ].*\n?)*)", policy, re.MULTILINE)
    version = re.search(r"^ \*\*\* .*\n((?: {8}.*\n?)*)", told[1] if told else "", re.MULTILINE)
    return version is not None and re.search(rf" {codename}(-\w+)?/", version[1]) is not None
