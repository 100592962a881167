"""An image from elsewhere: here already, pulled, or made where no registry answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from devenv.errors import CommandFailed
from devenv.model.events import BuildStage, Emit
from devenv.tools import docker

ANSWER = 6.0
"""A registry that has not answered after so many seconds counts as none."""
_PULL = 1800.0

Make = Callable[[CommandFailed], Awaitable[None]]
"""Makes the image, given how the registry was silent. Where it cannot, its error names both ways out."""


async def ensure(image: str, service: str, make: Make, emit: Emit) -> bool:
    """True if it had to be fetched or made. What is done is told as stages of `service`."""
    if await docker.inspect_images([image]):
        return False
    try:
        await docker.ask_registry(image, ANSWER)
    except CommandFailed as silence:
        await make(silence)
        return True
    emit(BuildStage(service, "", f"pull {image}", "started"))
    pulled = await docker.call("pull", "--quiet", image, timeout=_PULL)
    emit(BuildStage(service, "", f"pull {image}", "done", pulled.seconds))
    return True
