"""The base image: here already, pulled, or made from Debian's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError
from devenv.images import pull
from devenv.model.events import BuildStage, Emit
from devenv.tools import process

DEFAULT = "debian:bookworm-slim"
_MAKE = 600.0


async def ensure(image: str, context: Path, emit: Emit) -> bool:
    """True if it had to be fetched or made. Where neither works, the error names both ways out."""
    return await pull.ensure(image, "base", lambda silence: _make(image, context, emit, silence), emit)


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
