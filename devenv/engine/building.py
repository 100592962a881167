"""The images of one release, side by side once their base is there."""

from __future__ import annotations

from devenv.backends.protocol import SERVICES
from devenv.engine import graph
from devenv.engine.context import Context
from devenv.engine.graph import Note, Skipped, Work
from devenv.model import plan


async def build(ctx: Context, release: str) -> None:
    """Build what is missing or out of date."""

    async def base(note: Note) -> Skipped | None:
        return None if await ctx.images.ensure_base(ctx.emit) else Skipped("not needed")

    def image(service: str) -> Work:
        async def work(note: Note) -> str | Skipped:
            built = await ctx.images.build(service, release, ctx.emit)
            return "built" if built else Skipped("up to date")

        return work

    work: dict[str, Work] = {f"build {service}": image(service) for service in SERVICES}
    await graph.run(plan.build(release), {"base": base, **work}, ctx.emit)
