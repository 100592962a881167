"""The kind command: clusters whose nodes are containers. The user's own kubeconfig is never touched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from devenv.errors import CommandFailed
from devenv.tools import docker, process, programs, scratch
from devenv.tools.programs import KIND

_QUICK = 60.0
_CREATE = 300.0
"""On top of how long it waits for the nodes."""
_DELETE = 120.0
_LOAD = 600.0
_STATUS = Path("/proc/self/status")
_SYS_RESOURCE = 24
_SAVES_ONE_PLATFORM = (1, 48)
"""The engine's API, since when `docker image save` takes --platform."""

_PATCHES = "containerdConfigPatches:\n"
RESTRICTED = """\
  - |-
    [plugins."io.containerd.grpc.v1.cri"]
      restrict_oom_score_adj = true
"""
"""Without CAP_SYS_RESOURCE no pod would start, since each lowers its oom_score_adj."""


async def clusters() -> list[str]:
    return await _words("get", "clusters")


async def nodes(name: str) -> list[str]:
    """The containers that are the nodes of a cluster; none where there is no such cluster."""
    return await _words("get", "nodes", "--name", name)


async def create(name: str, config: Path, image: str, kubeconfig: Path, wait: float) -> None:
    """Start a cluster, and wait up to so many seconds until its nodes are ready.

    The kubeconfig is written last: where it names the cluster, the cluster was once whole. Of one that fails
    or is cancelled nothing is left.
    """
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    text = fitting(config.read_text(encoding="utf-8"), lacks_sys_resource())
    with scratch.in_tmpdir() as folder:
        fitted = folder / "kind.yaml"
        fitted.write_text(text, encoding="utf-8")
        options = ["--config", str(fitted), "--image", image, "--wait", f"{wait:.0f}s"]
        try:
            await _call("create", "cluster", "--name", name, *options,
                        kubeconfig=kubeconfig, timeout=wait + _CREATE)  # fmt: skip
        except asyncio.CancelledError:
            # kind clears up after a failure of its own, not after a signal.
            await delete(name, kubeconfig)
            raise
        except CommandFailed as error:
            if error.code is None:
                # Nor where it took too long, and was ended.
                await delete(name, kubeconfig)
            raise


async def delete(name: str, kubeconfig: Path) -> None:
    """Remove a cluster, and its part of the kubeconfig; nothing happens where there is none."""
    await _call("delete", "cluster", "--name", name, kubeconfig=kubeconfig, timeout=_DELETE)


async def load(name: str, images: Sequence[str]) -> list[str]:
    """Bring images of the engine into every node that does not have them; those that were brought."""
    if not (missing := await _missing(name, images)):
        return []
    async with archive(list(missing)) as file:
        await load_archive(name, file, sorted({node for some in missing.values() for node in some}))
    return list(missing)


@asynccontextmanager
async def archive(images: Sequence[str]) -> AsyncGenerator[Path, None]:
    """Within, a file with these images of the engine."""
    with scratch.in_tmpdir() as folder:
        file = folder / "images.tar"
        # Of one platform: of an image for many, the engine has only this one's layers.
        await docker.call("image", "save", *await _platform(), "--output", str(file), *images, timeout=_LOAD)
        yield file


async def load_archive(name: str, file: Path, targets: Sequence[str]) -> None:
    """Bring all images of `file` into these nodes, whether they have them or not."""
    await _call("load", "image-archive", str(file), "--name", name, "--nodes", ",".join(targets),
                timeout=_LOAD)  # fmt: skip


async def pull(name: str, images: Sequence[str], registry: str) -> list[str]:
    """The same by way of a registry that the nodes know, so that only layers that are missing are moved."""
    missing = await _missing(name, images)

    async def one(image: str, nodes: Sequence[str]) -> None:
        there = f"{registry}/{image}"
        await docker.call("tag", image, there)
        try:
            await docker.call("push", "--quiet", there, timeout=_LOAD)
        finally:
            await docker.call("image", "rm", "--no-prune", there, check=False)
        await asyncio.gather(*(_fetch(node, there, image) for node in nodes))

    await asyncio.gather(*(one(image, nodes) for image, nodes in missing.items()))
    return list(missing)


async def _fetch(node: str, there: str, image: str) -> None:
    images = ("exec", node, "ctr", "--namespace", "k8s.io", "images")
    await docker.call(*images, "pull", "--hosts-dir", "/etc/containerd/certs.d", there, timeout=_LOAD)
    # What the manifests call it, and what a load would have called it.
    own = f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"
    await docker.call(*images, "tag", "--force", there, own)


async def _missing(name: str, images: Sequence[str]) -> dict[str, list[str]]:
    """The nodes that lack an image, for each that some lack."""
    missing: dict[str, list[str]] = {}
    all_nodes = await nodes(name)
    known = await docker.inspect_images(images)
    # One after the other: what a node answers is quick, and an image that is not here is for docker to tell.
    for image in images:
        for node in all_nodes:
            if image not in known or known[image].digest not in await held(node, image):
                missing.setdefault(image, []).append(node)
    return missing


def fitting(config: str, restricted: bool) -> str:
    """The configuration of a cluster as this machine needs it. Patches that are there stay as they are."""
    if not restricted or "restrict_oom_score_adj" in config:
        return config
    if _PATCHES in config:
        return config.replace(_PATCHES, f"{_PATCHES}{RESTRICTED}", 1)
    return f"{config.rstrip()}\n{_PATCHES}{RESTRICTED}"


def lacks_sys_resource(status: Path = _STATUS) -> bool:
    """Whether the bounding set withholds it from everybody. Without /proc, the engine runs elsewhere."""
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    bounds = next((line.split()[1] for line in lines if line.startswith("CapBnd:")), "")
    return bool(bounds) and not int(bounds, 16) >> _SYS_RESOURCE & 1


def digests(inspected: str) -> list[str]:
    """What `crictl inspecti` says an image is: the digest of its configuration, and those of its manifests.

    The engine calls an image by the one or the other, depending on how it stores images; Kubernetes by its
    first manifest's, if it has one.
    """
    with docker.readable("the node", "delete the cluster, and try again"):
        status = json.loads(inspected)["status"]
        manifests = (one.partition("@")[2] for one in status.get("repoDigests") or ())
        return [status["id"], *manifests]


async def held(node: str, image: str) -> list[str]:
    """The digests of an image that a node has; none where it has none of that name."""
    told = await docker.call("exec", node, "crictl", "inspecti", image, check=False)
    return digests(told.stdout) if told.code == 0 else []


async def _platform() -> list[str]:
    """The option that keeps to the platform of the engine, where it takes one."""
    api, platform = await docker.server()
    return [] if programs.older(api, _SAVES_ONE_PLATFORM) else ["--platform", platform]


async def _words(*arguments: str) -> list[str]:
    told = await _call(*arguments)
    return told.stdout.split()


async def _call(
    *arguments: str, kubeconfig: Path | None = None, timeout: float = _QUICK
) -> process.Completed:
    kind = await programs.path(KIND)
    named = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    with docker.engine_errors():
        return await process.run([kind, *arguments, *named], timeout=timeout)
