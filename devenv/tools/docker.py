"""The docker command, typed where its answers are read."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Literal

from devenv.errors import CommandFailed, DevenvError, NotFit, WrongPlatform
from devenv.model.instance import Instance
from devenv.tools import pipe, process
from devenv.tools.pipe import Taken

COMPOSE_MINIMUM = (2, 30)
"""The first with `post_start`, which runs the hand-over."""
PROJECT_LABEL = "com.docker.compose.project"
IMAGE_LABEL = "io.devenv.image"
"""Of each image that devenv builds, and so of its containers: its name, also when it has lost that."""
SERVICE_LABEL = "com.docker.compose.service"
FILES_LABEL = "com.docker.compose.project.config_files"
ONEOFF_LABEL = "com.docker.compose.oneoff"

_UNREACHABLE = re.compile(
    r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
    r"|dial unix .*: connect:|failed to connect to the docker api",
    re.IGNORECASE,
)
_NO_FILE = re.compile(r"could not find the file|no such container", re.IGNORECASE)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}
_REFUSED = re.compile(r"permission denied while trying to connect", re.IGNORECASE)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns a command's failure that is really the engine's absence into a NotFit."""
    try:
        yield
    except CommandFailed as error:
        said = f"{error.why}\n{error.log_tail}"
        if _REFUSED.search(said):
            raise NotFit(
                "the container engine refuses this user",
                error.why,
                "add yourself to its group (sudo usermod -aG docker $USER, then log in again)",
            ) from error
        if _UNREACHABLE.search(said):
            raise NotFit(
                "the container engine does not answer", error.why, "start it, or run: devenv doctor --fix"
            ) from error
        raise


@contextmanager
def readable(whose: str, next_step: str) -> Iterator[None]:
    """Turns an answer that cannot be read into an error of whom it is from, which can be asked again."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, tarfile.TarError) as error:
        raise DevenvError(
            f"what {whose} says cannot be read", f"{type(error).__name__}: {error}", next_step
        ) from error


_OTHER_ENGINE = "see whether docker works by hand, and which version it is: docker version"


async def call(*arguments: str, timeout: float = 60, check: bool = True) -> process.Completed:
    """A short docker command."""
    with engine_errors():
        return await process.run(["docker", *arguments], timeout=timeout, check=check)


async def check_compose() -> str:
    """The version of the compose plugin, or a NotFit when it is missing or too old."""
    result = await call("compose", "version", "--short", check=False)
    found = re.search(r"(\d+)\.(\d+)", result.stdout)
    if result.code != 0 or found is None:
        raise NotFit("docker compose is not there", "the plugin does not answer", "run: devenv doctor --fix")
    if (int(found[1]), int(found[2])) < COMPOSE_MINIMUM:
        wanted = ".".join(map(str, COMPOSE_MINIMUM))
        raise NotFit(
            f"docker compose {result.stdout.strip()} is too old",
            f"the hand-over needs {wanted}, the first with post_start",
            "run: devenv doctor --fix",
        )
    return result.stdout.strip()


async def containers(project: str, *, one_off: bool = False) -> list[Container]:
    """All that carry the name of a compose project, running or not, oldest first; those of
    `docker compose run` only where they are asked for.

    The name is a label that anybody may use: a folder of that name, with a compose file, is enough.
    """
    listed = await call(
        "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={PROJECT_LABEL}={project}"
    )
    if not (ids := listed.stdout.split()):
        return []
    # One that goes away between the two calls makes inspect fail, but it still prints the others.
    inspected = await call("container", "inspect", *ids, check=False)
    with readable("the container engine", _OTHER_ENGINE):
        raws = [raw for raw in json.loads(inspected.stdout or "[]") if one_off or not _one_off(raw)]
        found = [Container(_instance(raw), raw["Config"]["Labels"]) for raw in raws]
    return sorted(found, key=lambda one: one.instance.created)


async def users_of_volume(name: str) -> list[str]:
    """Names of the containers that have it, running or not."""
    listed = await call("ps", "--all", "--filter", f"volume={name}", "--format", "{{.Names}}")
    return listed.stdout.split()


async def users_of_network(name: str) -> list[str]:
    """Names of the containers that are on it."""
    told = await call("network", "inspect", name, check=False)
    with readable("the container engine", _OTHER_ENGINE):
        networks = json.loads(told.stdout or "[]")
        return [one["Name"] for network in networks for one in (network.get("Containers") or {}).values()]


async def of_project(kind: Literal["volume", "network"], project: str) -> list[str]:
    """Names of those that carry the name of a compose project."""
    label = f"label={PROJECT_LABEL}={project}"
    return (await call(kind, "ls", "--filter", label, "--format", "{{.Name}}")).stdout.split()


async def started(container: str) -> float:
    """When a container was started the last time, by the engine's clock."""
    said = await call("container", "inspect", "--format", "{{.State.StartedAt}}", container)
    with readable("the container engine", _OTHER_ENGINE):
        return _seconds(said.stdout.strip())


async def ask_registry(image: str, timeout: float) -> str:
    """What a registry has under this name: a manifest or an index, as JSON.

    Raises CommandFailed where it has nothing, or is silent, which is not the engine's silence.
    """
    argv = ["docker", "buildx", "imagetools", "inspect", "--raw", image]
    return (await process.run(argv, timeout=timeout)).stdout


async def server() -> tuple[str, str]:
    """The engine's version of its API, and its platform."""
    told = await call("version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Arch}}")
    api, _, platform = told.stdout.strip().partition(" ")
    return api, platform


async def platform() -> str:
    """Of the engine, such as linux/amd64."""
    return (await server())[1]


async def own_builder() -> str:
    """The builder that has the images which are here: that of the engine itself."""
    # buildx calls it as its context (docs.docker.com/build/builders).
    return (await call("context", "show")).stdout.strip()


async def builder() -> str:
    """The builder that images are built with: BUILDX_BUILDER, as for buildx itself, or the engine's own."""
    return os.environ.get("BUILDX_BUILDER") or await own_builder()


async def platforms() -> frozenset[str]:
    """What the builder builds for, by itself or by emulation, as it says now."""
    told = await call("buildx", "inspect", await builder())
    named = re.findall(r"^Platforms:(.*)$", told.stdout, re.MULTILINE)
    return frozenset(one.strip(" *") for line in named for one in line.split(","))


@dataclass(frozen=True, slots=True)
class Container:
    instance: Instance
    labels: Mapping[str, str]
    """Its own, and those of its image."""


@dataclass(frozen=True, slots=True)
class Image:
    digest: str
    labels: Mapping[str, str]
    platform: str


async def inspect_images(names: Sequence[str]) -> dict[str, Image]:
    """Those images that are here, by name."""
    found = await call("image", "inspect", "--format", "{{json .}}", *names, check=False)
    with readable("the container engine", _OTHER_ENGINE):
        images = [json.loads(line) for line in found.stdout.splitlines() if line.strip()]
        return {
            tag: Image(
                image["Id"], image["Config"].get("Labels") or {}, f"{image['Os']}/{image['Architecture']}"
            )
            for image in images
            for tag in image.get("RepoTags") or ()
            if tag in names
        }


async def must_run(names: Sequence[str], where: str = "the container engine") -> None:
    """Raise WrongPlatform where an image is for a platform that the engine neither is nor emulates.

    Its programs would end with `exec format error`.
    """
    known, own = await asyncio.gather(inspect_images(names), platform())
    other = {name: image.platform for name, image in known.items() if image.platform != own}
    runs = await platforms() if other else frozenset()
    for name, of in other.items():
        if of not in runs:
            raise WrongPlatform(
                f"{name} is for {of}, and {where} runs {own}",
                "its programs would end with: exec format error",
                f"build the one for {own}: devenv build --release {name.rpartition(':')[2]}"
                "; or let the upgrade do it: --build-missing",
            )


def _one_off(raw: dict[str, Any]) -> bool:
    return bool(raw["Config"].get("Labels", {}).get(ONEOFF_LABEL) == "True")


def _instance(raw: dict[str, Any]) -> Instance:
    state = raw["State"]
    bindings = raw["HostConfig"].get("PortBindings") or {}
    published = [one for ports in bindings.values() for one in ports or ()]
    return Instance(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        service=raw["Config"]["Labels"].get(SERVICE_LABEL, ""),
        image=raw["Config"]["Image"],
        digest=raw["Image"],
        created=_seconds(raw["Created"]),
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        port=next((int(one["HostPort"]) for one in published if one.get("HostPort")), None),
    )


def _seconds(moment: str) -> float:
    """The engine gives nanoseconds, more than Python reads."""
    short = re.sub(r"(\.\d{6})\d+", r"\1", moment)
    return datetime.fromisoformat(short.replace("Z", "+00:00")).timestamp()


async def read_file(container: str, path: str, limit: int) -> bytes | None:
    """A regular file of a container, running or not; None where there is none.

    A ValueError or a TarError: it is of another kind, or has more than `limit` bytes. Whatever else keeps it
    from being read is a CommandFailed: it may be there.
    """

    def whole(content: IO[bytes]) -> bytes:
        read = content.read(limit + 1)
        if len(read) > limit:
            raise ValueError(f"{path} has more than {limit >> 10} KiB")
        return read

    argv = ["docker", "cp", f"{container}:{path}", "-"]
    try:
        with engine_errors():
            return await pipe.through(
                lambda sink: process.run(argv, stdout=sink, timeout=60),
                lambda source: only_file(source, whole),
            )
    except CommandFailed as error:
        if _NO_FILE.search(f"{error.why}\n{error.log_tail}"):
            return None
        raise


def only_file(source: IO[bytes], take: pipe.Take[Taken]) -> Taken:
    """What `take` makes of the one file of an archive that `docker cp` writes.

    A ValueError or a TarError: it is a link, a folder, or what else a container can put in a file's place.
    """
    with tarfile.open(fileobj=source, mode="r|") as tar:
        member = tar.next()
        if member is None:
            raise ValueError("nothing came")
        content = tar.extractfile(member) if member.type in _REGULAR and member.sparse is None else None
        if content is None:
            raise ValueError(f"{member.name!r} is {_KINDS.get(member.type, 'something else')}, not a file")
        made = take(content)
        if tar.next() is not None:
            raise ValueError(f"more came than {member.name!r}")
    return made
