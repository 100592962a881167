"""An image from elsewhere: here already, pulled, or made where no registry answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from devenv.errors import CommandFailed, DevenvError
from devenv.model import registry
from devenv.model.events import BuildStage, Emit
from devenv.model.platform import local
from devenv.tools import docker

ANSWER = 6.0
"""A registry that has not answered after so many seconds counts as none."""
_PULL = 1800.0

Make = Callable[[CommandFailed], Awaitable[None]]
"""Makes the image, given how the registry was silent. Where it cannot, its error names both ways out."""


async def ensure(image: str, service: str, make: Make, emit: Emit, platform: str = "") -> bool:
    """True if it had to be fetched or made. What is done is told as stages of `service`.

    `platform`: another one than the engine's; the image then has a name of its own, see platform.local.
    """
    name = local(image, platform) if platform else image
    known, own = await asyncio.gather(docker.inspect_images([name]), docker.platform())
    if name in known and known[name].platform == (platform or own):
        return False
    try:
        index = await docker.ask_registry(image, ANSWER)
    except CommandFailed as silence:
        await make(silence)
        return True
    emit(BuildStage(service, "", f"pull {name}", "started"))
    # By its digest where it is for another platform: the engine may keep one of a name.
    wanted = registry.at_digest(image, manifest(index, image, platform)) if platform else image
    pulled = await docker.call("pull", "--quiet", wanted, timeout=_PULL)
    if platform:
        await docker.call("tag", wanted, name)
    emit(BuildStage(service, "", f"pull {name}", "done", pulled.seconds))
    return True


def manifest(index: str, image: str, platform: str) -> str:
    """The digest of the image for a platform, of what a registry has under a name."""
    with docker.readable("the registry", f"see what it has: docker buildx imagetools inspect {image}"):
        found = registry.manifests(json.loads(index))
    if platform not in found:
        there = ", ".join(found) or "one platform alone, which it does not name"
        raise DevenvError(
            f"there is no base image {image} for {platform}",
            f"the registry has it for {there}",
            "name another one in [images] of devenv.toml",
        )
    return found[platform]
