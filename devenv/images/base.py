"""The base image: here already, pulled, or made from Debian's packages."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError
from devenv.images import pull
from devenv.model.events import BuildStage, Emit
from devenv.model.plan import on
from devenv.model.platform import architecture, local
from devenv.tools import docker, process, scratch

DEFAULT = "debian:bookworm-slim"
_MAKE = 600.0
_SAVE = 120.0
_START = 300.0
"""Its image may have to be pulled first."""


async def ensure(image: str, context: Path, emit: Emit, platform: str = "") -> bool:
    """True if it had to be fetched or made. Where neither works, the error names both ways out.

    `platform`: another one than the engine's; the image then has a name of its own, see platform.local.
    """
    stage = on("base", platform)

    async def make(silence: CommandFailed) -> None:
        await _make(image, context, silence, platform, partial(BuildStage, stage, ""), emit)

    return await pull.ensure(image, stage, make, emit, platform)


@asynccontextmanager
async def given(image: str, builder: str, starting: asyncio.Lock) -> AsyncIterator[Sequence[str]]:
    """Arguments of a build, by which that builder builds on the image that is here.

    A builder of its own is started under `starting`: two builds that do it at once find it half there.
    """
    if builder == await docker.own_builder():
        yield ()
        return
    async with starting:
        await _start(builder)
    with scratch.in_tmpdir() as folder:
        digest = await _save(image, folder, builder)
        # buildx 0.33 takes no digest without a tag (docker/buildx#3793).
        yield ("--build-context", f"{image}=oci-layout://{folder}:base@{digest}")


async def _start(builder: str) -> None:
    try:
        await docker.call("buildx", "inspect", "--bootstrap", builder, timeout=_START)
    except CommandFailed as error:
        raise DevenvError(
            f"the builder {builder} does not start",
            error.why,
            f"see: docker buildx inspect --bootstrap {builder}; or unset BUILDX_BUILDER, which names it",
            error.log_tail,
        ) from error


async def _save(image: str, folder: Path, builder: str) -> str:
    """As an image layout of OCI, which docker has made since 25.0; the digest in it."""
    archive, index = folder / "archive.tar", folder / "index.json"
    next_step = "make room in TMPDIR; or unset BUILDX_BUILDER: the engine's own builder has the base image"
    try:
        await docker.call("save", "--output", str(archive), image, timeout=_SAVE)
        await process.run(["tar", "-x", "-f", str(archive), "-C", str(folder)], timeout=_SAVE)
    except CommandFailed as error:
        what = f"the base image {image} cannot be handed to the builder {builder}"
        raise DevenvError(what, error.why, next_step, error.log_tail) from error
    with docker.readable("docker save", next_step):
        if not index.exists():
            raise ValueError("no image layout of OCI, as docker makes it since 25.0")
        return str(json.loads(index.read_text())["manifests"][0]["digest"])


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
