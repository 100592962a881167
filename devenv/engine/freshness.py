"""What runs, beside what the working tree would build."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from devenv.backends.protocol import SERVICES
from devenv.engine.context import Context
from devenv.errors import ConfigError
from devenv.model.freshness import Freshness, Made
from devenv.model.instance import Instance


async def compare(ctx: Context, instances: Sequence[Instance]) -> tuple[Freshness, ...]:
    """Of each service that runs, httpd first. Of php-fpm the owner counts.

    None where the working tree has no application: whoever builds it tells of that.
    """
    run = [one for service in SERVICES if (one := _of(service, instances))]
    try:
        return tuple(await asyncio.gather(*(_one(ctx, instance) for instance in run)))
    except ConfigError:
        return ()


def _of(service: str, instances: Sequence[Instance]) -> Instance | None:
    some = [one for one in instances if one.service == service and one.running and not one.leaving]
    return next((one for one in some if one.owner), some[-1] if some else None)


async def _one(ctx: Context, instance: Instance) -> Freshness:
    made, called = await asyncio.gather(
        ctx.images.made(instance.service, instance.tag), ctx.backend.images(instance.tag)
    )
    # Where it runs, the same image may go by another digest.
    here = called.get(instance.service, "")
    return Freshness(instance.service, instance.tag, instance.digest, Made(here, made.of, made.wanted))
