"""One image of one release, built by buildx unless it is up to date."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from devenv.errors import CommandFailed, DevenvError, NotFit
from devenv.images import base, earlier, inputs, node, source
from devenv.images.context import Context
from devenv.images.progress import Progress
from devenv.images.push import find, push
from devenv.images.suspects import suspects
from devenv.model import platform as platforms
from devenv.model.events import BuildStage, Emit, Note
from devenv.model.freshness import Made
from devenv.model.registry import Pushed
from devenv.model.stack import Stack
from devenv.tools import docker, process
from devenv.tools.telling import telling


class BuiltImages:
    """Images built on this machine from `context`, the folder that holds docker/."""

    def __init__(self, stack: Stack, root: Path, context: Path, logs: Path) -> None:
        self._stack = stack
        self._context = context
        self._logs = logs
        self._starting = asyncio.Lock()
        self._app = (root / stack.app.source).resolve() if stack.app.source else None

    async def ensure_base(self, emit: Emit, platform: str = "") -> bool:
        return await base.ensure(self._stack.images.base, self._context, emit, platform)

    async def ensure_node(self, emit: Emit) -> bool:
        return await node.ensure(self._stack.images.node, self._context, emit)

    async def ensure_programs(self, emit: Emit) -> bool:
        return await node.ensure_programs(self._context, emit)

    async def own_platform(self) -> str:
        return await docker.platform()

    async def made(self, service: str, release: str, platform: str = "") -> Made:
        wanted = _Wanted(self._stack, service, release, platform)
        known, own = await asyncio.gather(
            docker.inspect_images([wanted.base, wanted.name]), self.own_platform()
        )
        now = self._inputs(wanted, known)
        found = known.get(wanted.name)
        if found is None:
            return Made("", "", now)
        of = found.labels.get(inputs.LABEL, "") if found.platform == (platform or own) else ""
        return Made(found.digest, of, now)

    async def build(self, service: str, release: str, emit: Emit, platform: str = "") -> bool:
        """True if it was built, False if it was up to date."""
        if (await self.made(service, release, platform)).current:
            return False
        wanted = _Wanted(self._stack, service, release, platform)
        if platform:
            await self._must_run(wanted)
        known, revision, builder = await asyncio.gather(
            docker.inspect_images([wanted.base]), self._revision(), docker.builder()
        )
        own = {inputs.LABEL: self._inputs(wanted, known), docker.IMAGE_LABEL: wanted.name}
        labels = own | _provenance(wanted, known, revision)
        progress = Progress(wanted.repository, release)
        path = self._log(f"{wanted.repository}-{release}.log")
        async with base.given(wanted.base, builder, self._starting) as given:
            argv = self._argv(wanted, labels, given)
            try:
                await self._follow(argv, builder, progress, path, emit)
            except CommandFailed as error:
                raise self._failure(wanted, progress, path, error) from error
        await earlier.remove(wanted.name)
        return True

    def _log(self, name: str) -> Path:
        """Where a build's log goes; the oldest of others make room."""
        self._logs.mkdir(parents=True, exist_ok=True)
        others = [path for path in self._logs.glob("*.log") if path.name != name]
        for old in sorted(others, key=_written)[: -_KEPT_LOGS + 1]:
            old.unlink(missing_ok=True)
        return self._logs / name

    async def _follow(
        self, argv: Sequence[str], builder: str, progress: Progress, path: Path, emit: Emit
    ) -> None:
        """Run a build, with its stages told and all that it says in the log at `path`."""
        with path.open("w", encoding="utf-8", errors="replace") as log, docker.engine_errors():
            async with aclosing(process.stream(argv, env={"BUILDX_BUILDER": builder})) as lines:
                async for line in lines:
                    for told in progress.read(line.text):
                        if isinstance(told, BuildStage):
                            emit(told)
                        else:
                            log.write(f"{told}\n")

    def sources(self) -> str:
        """A hash over all that images are made of but the base image: nobody is asked for it."""
        wanted = (_Wanted(self._stack, service, "", "") for service in inputs.SERVICES)
        return " ".join(self._inputs(one, {}) for one in wanted)

    def suspects(self) -> list[str]:
        # The demo's own accounts are no secret.
        return list(suspects(Context(self._app, self._context))) if self._app else []

    async def push(
        self, service: str, release: str, platforms: Sequence[str], reference: str, note: Note, *, force: bool
    ) -> Pushed:
        own = await self.own_platform()
        images = {one or own: _Wanted(self._stack, service, release, one).name for one in platforms}
        return await push(images, reference, note, force=force)

    async def find(self, reference: str) -> Pushed | None:
        return await find(reference)

    async def here(self, service: str, release: str) -> tuple[str, ...]:
        """The platforms that this machine has the image for; the engine's own is an empty one."""
        own = await self.own_platform()
        names = {
            platform: _Wanted(self._stack, service, release, platform).name
            for platform in ("", *(one for one in platforms.PLATFORMS if one != own))
        }
        known = await docker.inspect_images(list(names.values()))
        return tuple(platform for platform, name in names.items() if name in known)

    async def _must_run(self, wanted: _Wanted) -> None:
        """Before minutes are spent on it: a build runs programs of its platform."""
        if wanted.platform not in await docker.platforms():
            raise _no_emulation(wanted.platform, f"it would run programs of {wanted.name} as it builds it")

    def _inputs(self, wanted: _Wanted, known: Mapping[str, docker.Image]) -> str:
        if self._app is not None:
            source.require_fit(self._app, self._stack.app)
        arguments = self._arguments(wanted)
        if found := known.get(wanted.base):
            arguments["BASE"] = found.digest
        return inputs.digest(wanted.service, self._context, self._app, arguments)

    def _arguments(self, wanted: _Wanted) -> dict[str, str]:
        app = self._stack.app
        return {
            "BASE": wanted.base,
            "RELEASE": wanted.release,
            "DOCUMENT_ROOT": app.document_root,
            "DATABASE": app.database,
            "WRITABLE": ":".join(app.writable),
            "LEAVE": ":".join(app.leave),
        }

    async def _revision(self) -> str:
        """Of the working tree that the application comes from, where git knows one."""
        folder = self._app or self._context / "docker" / "app"
        argv = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            told = await process.run(argv, check=False, timeout=_GIT)
        except DevenvError:
            return ""
        return told.stdout.strip() if told.code == 0 else ""

    def _argv(self, wanted: _Wanted, labels: Mapping[str, str], given: Sequence[str]) -> list[str]:
        # An engine that stores images in containerd would make an index of image and provenance; a push
        # makes the index, of the images of all platforms.
        argv = ["docker", "buildx", "build", "--load", "--progress=rawjson", "--provenance=false"]
        argv += ["--platform", wanted.platform] if wanted.platform else []
        argv += ["--file", str(self._context / "docker" / wanted.service / "Dockerfile")]
        argv += ["--tag", wanted.name]
        for name, value in labels.items():
            argv += ["--label", f"{name}={value}"]
        for name, value in self._arguments(wanted).items():
            argv += ["--build-arg", f"{name}={value}"]
        if self._app is not None:
            argv += ["--build-context", f"app={self._app}"]
        return [*argv, *given, str(self._context)]

    def _failure(self, wanted: _Wanted, progress: Progress, path: Path, error: CommandFailed) -> DevenvError:
        stage, said = progress.cause()
        if wanted.platform and _FORMAT.search(f"{said}\n{progress.error}"):
            return _no_emulation(wanted.platform, f"{' '.join(stage.split())}: exec format error")
        lines = [line for line in said.splitlines() if line.strip()]
        again = f"devenv build --release {wanted.release}"
        again += f" --platform {wanted.platform}" if wanted.platform else ""
        why, mend = _of_gate(lines)
        return DevenvError(
            f"the image {wanted.name} cannot be built",
            why or telling(lines) or _result(progress.error) or error.why,
            f"{mend or 'mend it'}; then build again: {again}; the whole log: {path}",
            "\n".join(lines),
        )


def _of_gate(lines: Sequence[str]) -> tuple[str, str]:
    """Why it refused something in the build, and what it advises; nothing where it was another program."""
    for line in reversed(lines):
        with suppress(ValueError, LookupError, TypeError):
            said = json.loads(line)
            return f"{said['error']}: {said['why']}", str(said["next"])
    return "", ""


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0  # another build has just removed it


_GIT = 5.0
_KEPT_LOGS = 50
_FORMAT = re.compile(r"exec format error", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An image that is to be. `platform` is empty for that of the engine."""

    stack: Stack
    service: str
    release: str
    platform: str

    @property
    def name(self) -> str:
        return self._local(self.stack.image(self.service, self.release))

    @property
    def repository(self) -> str:
        """Its own, without that of the stack: `php-fpm-arm64`."""
        return self._local(self.service).partition(":")[0]

    @property
    def base(self) -> str:
        return self._local(self.stack.images.base)

    def _local(self, image: str) -> str:
        return platforms.local(image, self.platform) if self.platform else image


def _provenance(wanted: _Wanted, known: Mapping[str, docker.Image], revision: str) -> dict[str, str]:
    """By the names of the OCI image specification (annotations.md)."""
    base = known.get(wanted.base)
    found = {
        "revision": revision,
        "base.name": wanted.stack.images.base,
        "base.digest": base.digest if base else "",
    }
    return {f"org.opencontainers.image.{name}": value for name, value in found.items() if value}


def _no_emulation(platform: str, why: str) -> NotFit:
    return NotFit(
        f"the container engine runs nothing of {platform}",
        f"{why}, and this machine emulates no {platforms.architecture(platform)}",
        f"devenv doctor --fix --platform {platform}",
    )


def _result(error: str) -> str:
    """BuildKit names the whole command once more before it tells the exit code."""
    return error.rpartition("did not complete successfully: ")[2] or error
