"""The base image: here already, pulled, or made from Debian's packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError
from devenv.images import pull
from devenv.model.events import BuildStage, Emit
from devenv.model.plan import on
from devenv.model.platform import architecture, local
from devenv.tools import process

DEFAULT = "debian:bookworm-slim"
_MAKE = 600.0


async def ensure(image: str, context: Path, emit: Emit, platform: str = "") -> bool:
    """True if it had to be fetched or made. Where neither works, the error names both ways out.

    `platform`: another one than the engine's; the image then has a name of its own, see platform.local.
    """
    stage = on("base", platform)

    async def make(silence: CommandFailed) -> None:
        await _make(image, context, silence, platform, partial(BuildStage, stage, ""), emit)

    return await pull.ensure(image, stage, make, emit, platform)


async def _make(
    image: str,
    context: Path,
    silence: CommandFailed,
    platform: str,
    stage: Callable[..., BuildStage],
    emit: Emit,
) -> None:
    if image != DEFAULT or shutil.which("mmdebstrap") is None:
        by_packages = f"; or, on Debian, let devenv make {DEFAULT}: devenv doctor --fix installs mmdebstrap"
        raise DevenvError(
            f"there is no base image {image}{f' for {platform}' if platform else ''}",
            f"no registry gives it: {silence.why}",
            f"let this machine reach a registry, and try again{by_packages if image == DEFAULT else ''}",
            silence.log_tail,
        ) from silence
    name, of = (local(image, platform), [architecture(platform)]) if platform else (image, [])
    words = f"make {name} with mmdebstrap, no registry answers"
    emit(stage(words, "started"))
    script = str(context / "docker" / "base" / "build.sh")
    made = await process.run(["sh", script, name, *of], timeout=_MAKE)
    emit(stage(words, "done", made.seconds))
