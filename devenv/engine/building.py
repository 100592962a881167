"""The images of one release, side by side once their base is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from devenv.backends.protocol import SERVICES
from devenv.engine import graph
from devenv.engine.context import Context
from devenv.engine.graph import Skipped, Work
from devenv.model import plan
from devenv.model.events import Emit, Note


async def build(ctx: Context, release: str | None = None) -> None:
    """Build what is missing or out of date; of the stack's own release where none is named."""
    release = release or ctx.stack.stack.release

    async def base(note: Note) -> Skipped | None:
        return None if await ctx.images.ensure_base(ctx.emit) else Skipped("not needed")

    def image(service: str) -> Work:
        async def work(note: Note) -> str | Skipped:
            built = await ctx.images.build(service, release, ctx.emit)
            return "built" if built else Skipped("up to date")

        return work

    work: dict[str, Work] = {f"build {service}": image(service) for service in SERVICES}
    await graph.run(plan.build(release), {"base": base, **work}, ctx.emit)


async def node_image(ctx: Context) -> None:
    """What a kind cluster is made with, as far as this machine does not have it."""

    def ensured(ensure: Callable[[Emit], Awaitable[bool]]) -> Work:
        async def work(note: Note) -> Skipped | None:
            return None if await ensure(ctx.emit) else Skipped("not needed")

        return work

    work = {"node": ensured(ctx.images.ensure_node), "programs": ensured(ctx.images.ensure_programs)}
    await graph.run(plan.node_image(), work, ctx.emit)
