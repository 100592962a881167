"""A registry of one's own. Its image is here already, pulled, or made of Debian's docker-registry."""

from __future__ import annotations

from pathlib import Path

from devenv.errors import CommandFailed, DevenvError, UsageError
from devenv.images import base, pull
from devenv.model.events import BuildStage, Emit
from devenv.model.stack import RegistrySection, Stack
from devenv.tools import docker
from devenv.tools.registry import Registry

DEFAULT = RegistrySection().image
_MAKE = 600.0


class OwnRegistry:
    """Of one stack. `context` is the folder that holds docker/."""

    def __init__(self, stack: Stack, context: Path) -> None:
        self._stack = stack
        self._context = context
        self._image = stack.registry.image
        self._container = Registry(stack.stack.name, stack.registry.port)

    @property
    def repository(self) -> str:
        """Where it has the images of the stack."""
        return f"{self._container.host}/{self._stack.stack.name}"

    async def destination(self, named: str = "") -> str:
        """Where images are pushed to, HOST/REPOSITORY: as named here or in devenv.toml, else this one."""
        if into := (named or self._stack.registry.push).rstrip("/"):
            return into
        if await self._container.runs():
            return self.repository
        raise UsageError(
            "there is no registry to push to",
            "none is named, and the stack has none of its own that runs",
            "name one in devenv.toml: [registry] push, or: devenv push --registry HOST/REPOSITORY; or start"
            " one: devenv registry up",
        )

    async def start(self) -> bool:
        """True if it did not run. Its image must be here."""
        return await self._container.start(self._image)

    async def stop(self) -> bool:
        """True if it was there. What it stores stays in its volume."""
        return await self._container.stop()

    async def ensure_image(self, emit: Emit) -> bool:
        """True if it had to be fetched or made."""

        async def make(silence: CommandFailed) -> None:
            await self._make(silence, emit)

        return await pull.ensure(self._image, "registry", make, emit)

    async def _make(self, silence: CommandFailed, emit: Emit) -> None:
        if self._image != DEFAULT:
            raise DevenvError(
                f"there is no image {self._image}",
                f"no registry gives it: {silence.why}",
                f"let this machine reach a registry; or use {DEFAULT}, which devenv makes",
                silence.log_tail,
            ) from silence
        base_image = self._stack.images.base
        await base.ensure(base_image, self._context, emit)
        words = f"make {self._image} of Debian's docker-registry"
        emit(BuildStage("registry", "", words, "started"))
        recipe = self._context / "docker" / "registry" / "Dockerfile"
        made = await docker.call(
            "buildx", "build", "--builder", await docker.own_builder(), "--load", "--quiet",
            "--tag", self._image, "--build-arg", f"BASE={base_image}",
            "--file", str(recipe), str(self._context), timeout=_MAKE,
        )  # fmt: skip
        emit(BuildStage("registry", "", words, "done", made.seconds))
