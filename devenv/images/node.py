"""The node image of a kind cluster, with kind and kubectl: here already, pulled, or made with Go."""

from __future__ import annotations

import os
import platform
import time
from contextlib import aclosing
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError
from devenv.images import base, inputs, pull
from devenv.model.events import BuildStage, BuildState, Emit, Notice
from devenv.model.stack import ImagesSection
from devenv.tools import docker, process, programs
from devenv.tools.programs import GO, KIND, KUBECTL, Program
from devenv.tools.scratch import Scratch

DEFAULT = ImagesSection().node
"""What docker/node makes."""
_MARK = "== "
"""Begins the line of a script that names its next stage."""
_OWN = (KIND, KUBECTL)


async def ensure(image: str, context: Path, emit: Emit) -> bool:
    """True if it had to be fetched or made. Where neither works, the error names both ways out."""
    return await pull.ensure(image, "node", lambda silence: _make(image, context, emit, silence), emit)


async def ensure_programs(context: Path, emit: Emit) -> bool:
    """True if kind or kubectl had to be made, because this machine has none that is new enough."""
    if not (missing := [one for one in _OWN if not await _fits(one)]):
        return False
    if not await _makes(context):
        names = " and ".join(one.name for one in missing)
        raise DevenvError(
            f"there is no {names} on this machine, or it is too old",
            f"{await _lack(missing[0])}, and without Go {programs.dotted(GO.minimum)} devenv makes none",
            f"install {names} (https://kind.sigs.k8s.io, https://kubernetes.io/docs/tasks/tools)"
            "; or, on Debian, let devenv make it: devenv doctor --fix installs Go",
        )
    await _compile(context, emit)
    return True


async def _make(image: str, context: Path, emit: Emit, silence: CommandFailed) -> None:
    if image != DEFAULT or not await _makes(context):
        with_go = f"; or, on Debian, let devenv make {DEFAULT}: devenv doctor --fix installs Go"
        raise DevenvError(
            f"there is no node image {image}",
            f"no registry gives it: {silence.why}",
            f"let this machine reach a registry, and try again{with_go if image == DEFAULT else ''}",
            silence.log_tail,
        ) from silence
    folder = await _compile(context, emit)
    await base.ensure(base.DEFAULT, context, emit)
    script = context / "docker" / "node" / "build.sh"
    await _follow(["sh", str(script), str(folder), image, base.DEFAULT], {}, emit)


async def _compile(context: Path, emit: Emit) -> Path:
    """The folder of the compiled programs, made unless it is kept from an earlier time."""
    folder = _folder(context)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        script = context / "docker" / "node" / "programs" / "build.sh"
        emit(Notice("Kubernetes is compiled, once: that takes 6 to 7 minutes on 2 cores"))
        # Whole at once under its name: what is cut short is never taken for it.
        with Scratch(folder.parent) as part:
            made = part / "programs"
            await _follow(["sh", str(script), str(made)], {"GO": await programs.path(GO)}, emit)
            _into_place(made, folder)
    for one in _OWN:
        _link(programs.own_folder() / one.name, folder / one.name)
    return folder


def _into_place(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Somebody else was faster; of the same sources, it is the same.
        if not folder.is_dir():
            raise


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    with Scratch(link.parent) as part:
        # Relative, so that the cache can be carried to another machine.
        (part / link.name).symlink_to(os.path.relpath(target, link.parent))
        (part / link.name).replace(link)


def _folder(context: Path) -> Path:
    return programs.cache() / "node-image" / inputs.programs(context, platform.machine())[:16]


async def _makes(context: Path) -> bool:
    """Go has done its work here before, or can do it: for Linux, since a node is one."""
    return _folder(context).is_dir() or (platform.system() == "Linux" and await _fits(GO))


async def _follow(argv: list[str], env: dict[str, str], emit: Emit) -> None:
    """Run a script, and tell its stages as it names them."""
    stage, begin = "", 0.0

    def ended(state: BuildState) -> None:
        if stage:
            emit(BuildStage("node", "", stage, state, time.monotonic() - begin))

    try:
        with docker.engine_errors():
            async with aclosing(process.stream(argv, env=env)) as lines:
                async for line in lines:
                    if line.text.startswith(_MARK):
                        ended("done")
                        stage, begin = line.text.removeprefix(_MARK), time.monotonic()
                        emit(BuildStage("node", "", stage, "started"))
    except CommandFailed as error:
        ended("failed")
        raise DevenvError(
            "the node image cannot be made",
            f"{stage}: {error.why}" if stage else error.why,
            "mend it and try again: devenv node-image build; it goes on from what is done",
            error.log_tail,
        ) from error
    ended("done")


async def _fits(program: Program) -> bool:
    found = await programs.find(program)
    return found is not None and found.fits


async def _lack(program: Program) -> str:
    found = await programs.find(program)
    wanted = programs.dotted(program.minimum)
    return f"{found.path} is {found.version}, not {wanted}" if found else f"{program.name} is not on PATH"
