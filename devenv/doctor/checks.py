"""What the stack needs of this machine. Checks run side by side, and are told in one order."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from devenv import portforward
from devenv.doctor import host as hosts
from devenv.doctor import leftovers
from devenv.doctor.apt import REPLACE
from devenv.doctor.check import Check, Fix
from devenv.doctor.emulation import kernel_has
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.errors import DevenvError
from devenv.model import contexts
from devenv.model import platform as platforms
from devenv.model.stack import ImagesSection, Stack
from devenv.tools import docker, kubeconfig, ports, process, programs
from devenv.tools.programs import GO, KIND, KUBECTL, Found, Program, dotted, older

Where = Literal["here", "registry", "nowhere", "unknown"]
"""Where an image is to be had."""

ENGINE_MINIMUM = (25, 0)
"""The first that builds and keeps `HEALTHCHECK --start-interval`."""
BUILDX_MINIMUM = (0, 13)
"""The first with `--progress=rawjson`."""
EMULATION = "emulation of "
"""Before an architecture: the name of its check."""
ANSWER = 10.0
"""An engine that has not answered after so many seconds counts as hanging."""
REGISTRY = 6.0
DISK_TIGHT = 3_000_000_000
DISK_MINIMUM = 1_000_000_000

_MINIMUM = {"compose": docker.COMPOSE_MINIMUM, "buildx": BUILDX_MINIMUM}
_REFUSED = re.compile(r"permission denied", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Engine:
    """What the docker command tells of itself and of its engine."""

    command: bool = False
    """The docker command is there."""
    version: str = ""
    """Of the engine; empty: it does not answer."""
    silence: str = ""
    """Why it does not."""
    context: str = "default"
    platform: str = ""
    """That it runs by itself."""
    folder: str = ""
    """Where it stores images and containers."""
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Versions by name."""
    containers: int = 0
    """That run."""


async def examine(stack: Stack, cluster: Path) -> list[Check]:
    """All checks, in an order that stays the same. `cluster` is the folder of the stack's cluster, if any."""
    host = hosts.look()

    async def on_engine() -> tuple[Check, ...]:
        seen = await ask_engine()
        emulated, base, port, *place = await asyncio.gather(
            _emulation(stack, seen, host),
            _base_image(stack, seen, host),
            _port(stack, seen, cluster),
            *_of_cluster(stack, seen, host),
        )
        plugins = (plugin(name, seen, host) for name in ("compose", "buildx"))
        disk = await asyncio.to_thread(_disk, seen, host)
        return (engine(seen, host), *plugins, *emulated, base, *place, port, disk)

    seen, name = await asyncio.gather(on_engine(), asyncio.to_thread(_other_program))
    return [*seen, name, *(leftovers.check(Machine()) if host.distribution else ())]


async def ask_engine() -> Engine:
    if shutil.which("docker") is None:
        return Engine(silence="there is no docker command")
    try:
        told = await process.run(["docker", "info", "--format", "{{json .}}"], check=False, timeout=ANSWER)
    except DevenvError as error:
        return Engine(command=True, silence=error.why)
    return read_info(told.stdout, told.stderr)


def read_info(stdout: str, stderr: str) -> Engine:
    """The answer of `docker info`. It tells of the command's own plugins even where no engine answers."""
    try:
        raw = json.loads(stdout)
    except ValueError:
        raw = {}
    client = raw.get("ClientInfo") or {}
    said = [*(raw.get("ServerErrors") or ()), *(line for line in stderr.splitlines() if line.strip())]
    version = raw.get("ServerVersion") or ""
    return Engine(
        command=True,
        version=version,
        silence="" if version else (said[0] if said else "it says nothing"),
        context=client.get("Context") or "default",
        platform=_platform(raw.get("Architecture") or ""),
        folder=raw.get("DockerRootDir") or "",
        plugins={one["Name"]: one.get("Version") or "" for one in client.get("Plugins") or ()},
        containers=raw.get("ContainersRunning") or 0,
    )


def _platform(machine: str) -> str:
    """`linux/arm64` of `aarch64`; empty for one that devenv builds nothing for."""
    try:
        return platforms.read(machine)
    except ValueError:
        return ""


def engine(seen: Engine, host: Host) -> Check:
    name = "container engine"
    needed = f"Docker Engine {dotted(ENGINE_MINIMUM)} or newer"
    if seen.version:
        if older(seen.version, ENGINE_MINIMUM):
            return _too_old(seen, host, f"install {needed}")
        return Check(name, "ok", f"{seen.version} answers")
    if _REFUSED.search(seen.silence):
        return Check(
            name,
            "fail",
            "it refuses this user",
            "add yourself to its group, then log in again: sudo usermod -aG docker $USER",
        )
    if host.mac:
        words = "start Docker Desktop" if seen.command else "install Docker Desktop, and start it"
        return Check(name, "fail", seen.silence, words)
    if seen.command and (elsewhere := host.elsewhere or _context(seen)):
        return Check(name, "fail", seen.silence, f"start the engine that {elsewhere} names, or name none")
    if seen.command and host.dockerd:
        how = "systemctl start docker" if host.managed else "dockerd"
        return Check(name, "fail", f"it does not run: {seen.silence}", f"start it, as root: {how}", "start")
    reason = "it is not installed" if seen.command else seen.silence
    return Check(name, "fail", reason, f"install {needed}", _by_apt(host, "engine"))


def _too_old(seen: Engine, host: Host, words: str) -> Check:
    reason, fix = f"{seen.version} is too old", _by_apt(host, "engine")
    if fix and seen.containers:
        reason = f"{reason}, and runs containers: {seen.containers}"
        words = f"{words}; they stop for that, so stop them yourself, or agree to it: {REPLACE}"
        fix = "replace"
    return Check("container engine", "fail", reason, words, fix)


def plugin(name: Literal["compose", "buildx"], seen: Engine, host: Host) -> Check:
    title, minimum = f"docker {name}", _MINIMUM[name]
    version = seen.plugins.get(name)
    words = f"install its version {dotted(minimum)} or newer"
    if version is None:
        return Check(title, "fail", "it is not there", words, _by_apt(host, name))
    if older(version, minimum):
        return Check(title, "fail", f"{version} is too old", words, _by_apt(host, name))
    return Check(title, "ok", version)


def base_image(image: str, where: Where, host: Host) -> Check:
    """`where` it is to be had."""
    name = "base image"
    if where == "here":
        return Check(name, "ok", f"{image} is here")
    if where == "registry":
        return Check(name, "ok", f"a registry has {image}")
    by_packages = image == ImagesSection().base and host.distribution == "debian"
    if by_packages and host.mmdebstrap:
        return Check(name, "ok", f"mmdebstrap can make {image}")
    if where == "unknown":
        return Check(name, "warn", "not known before the engine answers")
    if by_packages:
        words = "install mmdebstrap, which makes it of Debian's packages"
        return Check(name, "warn", f"no registry gives {image}", words, "mmdebstrap")
    return Check(name, "warn", f"no registry gives {image}", "let this machine reach a registry")


def emulation(platform: str, runs: Collection[str], host: Host) -> Check:
    """Of a platform that the engine is not; `runs`: those that it runs as it is."""
    name = f"{EMULATION}{platforms.architecture(platform)}"
    if platform in runs:
        return Check(name, "ok", f"the engine runs {platform}")
    if host.mac or host.elsewhere or not host.distribution:
        words = f"have the engine's machine run {platform}: docs.docker.com/build/building/multi-platform"
        return Check(name, "fail", f"the engine does not run {platform}", words)
    words = "install qemu-user-static and binfmt-support, and have the kernel use them"
    return Check(name, "fail", f"the engine does not run {platform}", words, "emulation")


def program(wanted: Program, found: Found | None, go: Found | None, host: Host) -> Check:
    """kind or kubectl. Where Go is, devenv can make them."""
    if found and found.fits:
        return Check(wanted.name, "ok", f"{found.version}, {found.path}")
    reason = f"{found.path} is {found.version}, too old" if found else "it is not there"
    if go and go.fits:
        return Check(wanted.name, "ok", f"{reason}; devenv makes its own with Go")
    words = f"install its version {dotted(wanted.minimum)} or newer"
    fix = _by_debian(host, "go")
    ways = f"{words}, or Go {dotted(GO.minimum)}, with which devenv makes it" if fix else words
    return Check(wanted.name, "fail", reason, ways, fix)


def node_image(image: str, where: Where, go: Found | None, host: Host) -> Check:
    """`where` it is to be had."""
    name = "node image"
    if where == "here":
        return Check(name, "ok", f"{image} is here")
    if where == "registry":
        return Check(name, "ok", f"a registry has {image}")
    ours = image == ImagesSection().node
    if ours and go and go.fits:
        return Check(name, "ok", f"devenv can make {image} with Go {go.version}, in some minutes")
    if where == "unknown":
        return Check(name, "warn", "not known before the engine answers")
    if ours and (fix := _by_debian(host, "go")):
        words = f"install Go {dotted(GO.minimum)} or newer, with which devenv makes it"
        return Check(name, "warn", f"no registry gives {image}", words, fix)
    return Check(name, "warn", f"no registry gives {image}", "let this machine reach a registry")


def disk(free: int, folder: Path) -> Check:
    reason = f"{free / 1e9:.1f} GB free in {folder}"
    if free >= DISK_TIGHT:
        return Check("disk", "ok", reason)
    return Check(
        "disk",
        "warn" if free >= DISK_MINIMUM else "fail",
        f"{reason}; images and their builds take up to {DISK_TIGHT / 1e9:.0f} GB",
        "make room there; docker system df tells what the engine keeps",
    )


def _by_apt(host: Host, fix: Fix) -> Fix:
    return fix if host.distribution else ""


def _by_debian(host: Host, fix: Fix) -> Fix:
    return fix if host.distribution == "debian" else ""


def _context(seen: Engine) -> str:
    return "" if seen.context == "default" else f"the docker context {seen.context}"


async def _emulation(stack: Stack, seen: Engine, host: Host) -> list[Check]:
    """For what is to be built for others than the engine itself."""
    foreign = [one for one in stack.build.platforms if one != seen.platform]
    if not seen.version or not foreign or "buildx" not in seen.plugins:
        return []
    runs = set(await docker.platforms())
    if not host.mac and not host.elsewhere and not _context(seen):
        # The engine remembers what it once could; its kernel is this machine's own.
        runs -= {one for one in foreign if not kernel_has(platforms.architecture(one))}
    return [emulation(one, runs, host) for one in foreign]


async def _base_image(stack: Stack, seen: Engine, host: Host) -> Check:
    image = stack.images.base
    makes = image == ImagesSection().base and host.mmdebstrap and host.distribution == "debian"
    return base_image(image, await _where(image, seen, makes), host)


async def _where(image: str, seen: Engine, makes: bool) -> Where:
    """`makes`: devenv can make it here, so nobody waits for a registry that perhaps never answers."""
    if not seen.version:
        return "unknown"
    if await docker.inspect_images([image]):
        return "here"
    if makes:
        return "nowhere"
    if "buildx" not in seen.plugins:
        return "unknown"
    try:
        await docker.ask_registry(image, REGISTRY)
    except DevenvError:
        return "nowhere"
    return "registry"


def _of_cluster(stack: Stack, seen: Engine, host: Host) -> list[Coroutine[Any, Any, Check]]:
    """What only a cluster needs."""
    if stack.stack.backend == "compose":
        return []

    async def go() -> Found | None:
        # What a node needs is compiled on Linux alone.
        return None if host.mac else await programs.find(GO)

    async def one(wanted: Program) -> Check:
        return program(wanted, await programs.find(wanted), await go(), host)

    async def image() -> Check:
        name, found = stack.images.node, await go()
        makes = name == ImagesSection().node and found is not None and found.fits
        return node_image(name, await _where(name, seen, makes), found, host)

    if stack.stack.backend == "cluster":
        return [one(KUBECTL), _leads(stack)]
    return [one(KIND), one(KUBECTL), image()]


async def _leads(stack: Stack) -> Check:
    """Of an existing cluster. Whether it is the same as before, and what one may do there, `up` finds out."""
    name = stack.cluster.context
    try:
        names = await kubeconfig.contexts()
        if name not in names:
            choice = f"one of {', '.join(names)}" if names else "a cluster of yours first"
            reason = f"your kubeconfig has no context {name}" if name else "no context is named"
            return Check("context", "fail", reason, f"devenv up --backend cluster --context NAME: {choice}")
        found = await kubeconfig.endpoint(name)
    except DevenvError as error:
        return Check("context", "fail", f"{error.what}: {error.why}", error.next_step)
    if why := contexts.refusal(name, found.server, stack.cluster.allow):
        mend = f'if that is meant, allow it in devenv.toml: [cluster] allow = ["{name}"]'
        return Check("context", "fail", f"{name} is not allowed: {why}", mend)
    return Check("context", "ok", f"{name} leads to {found.server}")


async def _port(stack: Stack, seen: Engine, cluster: Path) -> Check:
    port = stack.stack.port
    if not await asyncio.to_thread(ports.taken, port):
        return Check("port", "ok", f"{port} is free")
    forward = portforward.state(cluster / portforward.FOLDER)
    if forward is not None and forward.port == port:
        return Check("port", "ok", f"{port} is this stack's own, and leads to {forward.target}")
    containers = []
    if seen.version:
        label = f'{{{{.Label "{docker.PROJECT_LABEL}"}}}}'
        listed = await docker.call(
            "ps", "--filter", f"publish={port}", "--format", f"{{{{.Names}}}} {label}", check=False
        )
        containers = [line.split() for line in listed.stdout.splitlines()]
    for container, *project in containers:
        if project == [stack.stack.name]:
            return Check("port", "ok", f"{port} is this stack's own, of {container}")
    who = f"container {containers[0][0]}" if containers else await asyncio.to_thread(ports.holder, port)
    return Check(
        "port",
        "fail",
        f"{who or 'another program'} listens on {port}",
        "end it, or set another [stack] port in devenv.toml",
    )


def _disk(seen: Engine, host: Host) -> Check:
    folder = Path(seen.folder or "/var/lib/docker")
    if host.mac or (seen.folder and not folder.exists()):
        return Check("disk", "ok", "the engine stores elsewhere, not seen from here")
    # The folder comes with the first start of the engine.
    while not folder.exists():
        folder = folder.parent
    return disk(shutil.disk_usage(folder).free, folder)


def _other_program() -> Check:
    """The name is not ours alone."""
    own = Path(sys.prefix).resolve()
    folders = dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep))
    found = [Path(path) for folder in folders if folder and (path := shutil.which("devenv", path=folder))]
    if not found:
        return Check("name", "ok", "no other devenv on PATH")
    if found[0].resolve().is_relative_to(own):
        return Check("name", "ok", f"devenv on PATH is this one, {found[0]}")
    return Check(
        "name",
        "warn",
        f"devenv on PATH is another program, {found[0]}",
        f"put {Path(sys.prefix, 'bin')} before {found[0].parent} in PATH, or call this one by its path",
    )
