"""Earlier builds of an image, which have lost its name to a later one: nobody else would ever remove them."""

from __future__ import annotations

from contextlib import suppress

from devenv.errors import DevenvError
from devenv.tools import docker


async def remove(name: str) -> None:
    """Those of `name`. One that a container still runs stays, until a later call."""
    filters = ("--filter", "dangling=true", "--filter", f"label={docker.IMAGE_LABEL}={name}")
    # The build has succeeded, whatever becomes of them.
    with suppress(DevenvError):
        found = await docker.call("image", "ls", "--quiet", "--no-trunc", *filters)
        for image in found.stdout.split():
            await docker.call("image", "rm", image, check=False)
