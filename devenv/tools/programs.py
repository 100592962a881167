"""Programs of a kind cluster: those on PATH, and those that devenv made where a machine has none."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from devenv.errors import DevenvError, NotFit
from devenv.tools import process

_ANSWER = 20.0
_known: dict[str, str] = {}
"""Paths by name: what was found once is not asked again."""


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    ask: tuple[str, ...]
    """What makes it tell its version."""
    minimum: tuple[int, int]
    beside: tuple[str, ...] = ()
    """Folders that PATH often lacks, as patterns."""


KIND = Program("kind", ("--version",), (0, 27))
"""The first that loads images into the containerd 2 of its nodes."""
KUBECTL = Program("kubectl", ("version", "--client"), (1, 32))
"""Two releases from the node's own: kubectl is to be within one, and mostly works with one more."""
GO = Program("go", ("version",), (1, 24), ("/usr/local/go/bin", "/usr/lib/go-1.*/bin"))
"""The first that keeps tools in go.mod, and the least that Kubernetes takes."""


@dataclass(frozen=True, slots=True)
class Found:
    path: str
    version: str
    fits: bool


def cache() -> Path:
    """What devenv made and can make again."""
    return platformdirs.user_cache_path("devenv")


def own_folder() -> Path:
    """Where devenv's own kind and kubectl lie."""
    return cache() / "bin"


async def find(program: Program) -> Found | None:
    """The first on PATH that is new enough, then devenv's own; the first of all where none is."""
    first = None
    for path in _candidates(program):
        found = await _look(program, path)
        if found and found.fits:
            return found
        first = first or found
    return first


async def path(program: Program) -> str:
    """Where it is, or a NotFit."""
    if (known := _known.get(program.name)) and Path(known).exists():
        return known
    found = await find(program)
    if found and found.fits:
        _known[program.name] = found.path
        return found.path
    wanted = dotted(program.minimum)
    why = f"{found.path} is {found.version}, and {wanted} is needed" if found else "it is not installed"
    raise NotFit(f"{program.name} is not there", why, "run: devenv node-image build")


def version(text: str) -> tuple[int, int] | None:
    """The first two numbers: (2, 40) of `v2.40.3-3`."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def older(text: str, minimum: tuple[int, int]) -> bool:
    """A version that does not say its number is a build of one's own, and trusted."""
    found = version(text)
    return found is not None and found < minimum


def dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _candidates(program: Program) -> list[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), str(own_folder())]
    for pattern in program.beside:
        folders += sorted((str(one) for one in Path("/").glob(pattern.lstrip("/"))), reverse=True)
    found = (shutil.which(program.name, path=folder) for folder in folders if folder)
    return list(dict.fromkeys(one for one in found if one))


async def _look(program: Program, path: str) -> Found | None:
    """None where it does not answer, as a link that leads nowhere does."""
    try:
        told = await process.run([path, *program.ask], timeout=_ANSWER, env={"GOTOOLCHAIN": "local"})
    except DevenvError:
        return None
    line = next(iter(told.stdout.splitlines()), "")
    numbers = re.search(r"\d+\.\d+\S*", line)
    return Found(path, numbers[0] if numbers else "of unknown version", not older(line, program.minimum))
