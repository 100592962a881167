"""Images of a release to a registry, and a registry of one's own."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from devenv.backends.protocol import SERVICES
from devenv.engine import building, graph
from devenv.engine.context import Context
from devenv.engine.graph import Skipped, Work
from devenv.model import plan
from devenv.model.events import Answer, Note, Notice
from devenv.model.registry import Pushed, reference

_NAMED = 5
"""So many files are named."""


async def push(
    ctx: Context,
    release: str | None = None,
    platforms: tuple[str, ...] = (),
    repository: str = "",
    force: bool = False,
) -> None:
    """Build what is missing or out of date, and push it: an index for each service.

    `repository` is HOST/REPOSITORY; by default that of devenv.toml, at last the stack's own registry.
    """
    release = release or ctx.stack.stack.release
    wanted = await building.beside_own(ctx, platforms or ctx.stack.build.platforms)
    section = ctx.stack.registry
    into = await ctx.registry.destination(repository)
    pushed: dict[str, Pushed] = {}
    if found := await asyncio.to_thread(ctx.images.suspects):
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        words = f"the image that is pushed has what looks like secrets: {', '.join(found[:_NAMED])}{more}"
        ctx.emit(Notice(f"{words}; a .dockerignore in the application's folder leaves files out", "warning"))

    def send(service: str) -> Work:
        async def work(note: Note) -> str | Skipped:
            name = reference(into, section.naming, service, release)
            pushed[service] = one = await ctx.images.push(service, release, wanted, name, note, force=force)
            return f"{one.layers_sent} layers sent" if one.new else Skipped("there already, 0 layers sent")

        return work

    work = building.work(ctx, release, wanted) | {f"push {service}": send(service) for service in SERVICES}
    await graph.run(plan.push(release, wanted), work, ctx.emit)
    images = {service: asdict(pushed[service]) for service in SERVICES}
    ctx.emit(Answer("push", {"release": release, "images": images}))


async def registry_up(ctx: Context) -> None:
    """Start a registry on this machine, and have the nodes of a kind cluster pull from it."""

    async def image(note: Note) -> Skipped | None:
        return None if await ctx.registry.ensure_image(ctx.emit) else Skipped("not needed")

    async def registry(note: Note) -> str | Skipped:
        new = await ctx.registry.start()
        return f"{ctx.registry.repository}" if new else Skipped(f"it runs, {ctx.registry.repository}")

    async def nodes(note: Note) -> str | Skipped:
        joined = await ctx.backend.join_registry()
        return "they pull from it" if joined else Skipped("there are none")

    work: dict[str, Work] = {"image": image, "registry": registry, "nodes": nodes}
    await graph.run(plan.registry_up(), work, ctx.emit)


async def registry_down(ctx: Context) -> None:
    """Remove the registry's container; what it stores stays in its volume."""

    async def registry(note: Note) -> str | Skipped:
        return "removed; its images stay" if await ctx.registry.stop() else Skipped("there is none")

    await graph.run(plan.registry_down(), {"registry": registry}, ctx.emit)
