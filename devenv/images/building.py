"""One image of one release, built by buildx unless it is up to date."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

from devenv.errors import CommandFailed, ConfigError, DevenvError
from devenv.images import base, inputs, node
from devenv.images.progress import Progress
from devenv.model.events import BuildStage, Emit
from devenv.model.stack import Stack
from devenv.tools import docker, process


class BuiltImages:
    """Images built on this machine from `context`, the folder that holds docker/."""

    def __init__(self, stack: Stack, root: Path, context: Path, logs: Path) -> None:
        self._stack = stack
        self._context = context
        self._logs = logs
        self._app = (root / stack.app.source).resolve() if stack.app.source else None

    async def ensure_base(self, emit: Emit) -> bool:
        return await base.ensure(self._stack.images.base, self._context, emit)

    async def ensure_node(self, emit: Emit) -> bool:
        return await node.ensure(self._stack.images.node, self._context, emit)

    async def ensure_programs(self, emit: Emit) -> bool:
        return await node.ensure_programs(self._context, emit)

    async def current(self, service: str, release: str) -> bool:
        """Whether the image is here, made of what the working tree holds now."""
        image = self._stack.image(service, release)
        known = await docker.inspect_images([self._stack.images.base, image])
        return image in known and known[image].labels.get(inputs.LABEL) == self._inputs(
            service, release, known
        )

    async def build(self, service: str, release: str, emit: Emit) -> bool:
        """True if it was built, False if it was up to date."""
        if await self.current(service, release):
            return False
        wanted = self._inputs(service, release, await docker.inspect_images([self._stack.images.base]))
        progress = Progress(service, release)
        argv = self._argv(service, release, wanted)
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{service}-{release}.log"
        with path.open("w", encoding="utf-8", errors="replace") as log, docker.engine_errors():
            try:
                async with aclosing(process.stream(argv)) as lines:
                    async for line in lines:
                        for told in progress.read(line.text):
                            if isinstance(told, BuildStage):
                                emit(told)
                            else:
                                log.write(f"{told}\n")
            except CommandFailed as error:
                raise self._failure(service, release, progress, path, error) from error
        return True

    def _inputs(self, service: str, release: str, known: Mapping[str, docker.Image]) -> str:
        if self._app is not None and not self._app.is_dir():
            raise ConfigError(
                f"there is no application at {self._app}",
                "[app] source of devenv.toml names that folder",
                "mend the path; it is relative to devenv.toml",
            )
        arguments = self._arguments(release)
        if found := known.get(self._stack.images.base):
            arguments["BASE"] = found.digest
        return inputs.digest(service, self._context, self._app, arguments)

    def _arguments(self, release: str) -> dict[str, str]:
        app = self._stack.app
        return {
            "BASE": self._stack.images.base,
            "RELEASE": release,
            "DOCUMENT_ROOT": app.document_root,
            "DATABASE": app.database,
        }

    def _argv(self, service: str, release: str, wanted: str) -> list[str]:
        argv = ["docker", "buildx", "build", "--load", "--progress=rawjson"]
        argv += ["--file", str(self._context / "docker" / service / "Dockerfile")]
        argv += ["--tag", self._stack.image(service, release), "--label", f"{inputs.LABEL}={wanted}"]
        for name, value in self._arguments(release).items():
            argv += ["--build-arg", f"{name}={value}"]
        if self._app is not None:
            argv += ["--build-context", f"app={self._app}"]
        return [*argv, str(self._context)]

    def _failure(
        self, service: str, release: str, progress: Progress, path: Path, error: CommandFailed
    ) -> DevenvError:
        stage, said = progress.cause()
        lines = [line for line in said.splitlines() if line.strip()]
        return DevenvError(
            f"the image {self._stack.image(service, release)} cannot be built",
            f"{' '.join(stage.split())}: {_result(progress.error)}" if stage else (lines or [error.why])[-1],
            f"mend it and build again: devenv build --release {release}; the whole log: {path}",
            "\n".join(lines),
        )


def _result(error: str) -> str:
    """BuildKit names the whole command once more before it tells the exit code."""
    return error.rpartition("did not complete successfully: ")[2] or error
