"""The base image: here already, pulled, or made from Debian's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError
from devenv.model.events import BuildStage, Emit
from devenv.tools import docker, process

DEFAULT = "debian:bookworm-slim"
ANSWER = 6.0
"""A registry that has not answered after so many seconds counts as none."""
_PULL = 900.0
_MAKE = 600.0


async def ensure(image: str, context: Path, emit: Emit) -> bool:
    """True if it had to be fetched or made. Where neither works, the error names both ways out."""
    if await docker.inspect_images([image]):
        return False
    try:
        await docker.ask_registry(image, ANSWER)
    except CommandFailed as silence:
        await _make(image, context, emit, silence)
        return True
    emit(BuildStage("base", "", f"pull {image}", "started"))
    pulled = await docker.call("pull", "--quiet", image, timeout=_PULL)
    emit(BuildStage("base", "", f"pull {image}", "done", pulled.seconds))
    return True


async def _make(image: str, context: Path, emit: Emit, silence: CommandFailed) -> None:
    if image != DEFAULT or shutil.which("mmdebstrap") is None:
        by_packages = f"; or, on Debian, let devenv make {DEFAULT}: devenv doctor --fix installs mmdebstrap"
        raise DevenvError(
            f"there is no base image {image}",
            f"no registry gives it: {silence.why}",
            f"let this machine reach a registry, and try again{by_packages if image == DEFAULT else ''}",
            silence.log_tail,
        ) from silence
    stage = f"make {image} with mmdebstrap, no registry answers"
    emit(BuildStage("base", "", stage, "started"))
    script = str(context / "docker" / "base" / "build.sh")
    made = await process.run(["sh", script, image], timeout=_MAKE)
    emit(BuildStage("base", "", stage, "done", made.seconds))
