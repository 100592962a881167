"""The images of one release, side by side once their base is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from devenv.backends.protocol import SERVICES
from devenv.engine import graph
from devenv.engine.context import Context
from devenv.engine.graph import Skipped, Work
from devenv.errors import OtherContent, WrongPlatform
from devenv.model import plan
from devenv.model.events import Emit, Note, Notice, unnoted


async def build(ctx: Context, release: str | None = None, platforms: tuple[str, ...] = ()) -> None:
    """Build what is missing or out of date; of the stack's own release where none is named.

    `platforms`: those of devenv.toml where none is named; of the engine alone where that names none.
    """
    release = release or ctx.stack.stack.release
    wanted = await beside_own(ctx, platforms or ctx.stack.build.platforms)

    await graph.run(plan.build(release, wanted), work(ctx, release, wanted), ctx.emit)


def work(ctx: Context, release: str, platforms: Sequence[str]) -> dict[str, Work]:
    """That of the steps of a build."""

    def base(platform: str) -> Work:
        async def work(note: Note) -> Skipped | None:
            return None if await ctx.images.ensure_base(ctx.emit, platform) else Skipped("not needed")

        return work

    def image(service: str, platform: str) -> Work:
        async def work(note: Note) -> str | Skipped:
            built = await ctx.images.build(service, release, ctx.emit, platform)
            return "built" if built else Skipped("up to date")

        return work

    found: dict[str, Work] = {}
    for platform in platforms:
        found[plan.on("base", platform)] = base(platform)
        for service in SERVICES:
            found[plan.on(f"build {service}", platform)] = image(service, platform)
    return found


async def bring(
    ctx: Context, releases: Mapping[str, str], note: Note = unnoted, *, build_missing: bool
) -> list[str]:
    """Have each service's release where it runs; those that were not there.

    With `build_missing`, what is for another platform than needed there is built for that one.
    """
    try:
        return await _bring(ctx, releases, note)
    except WrongPlatform as error:
        if not build_missing:
            raise
        for platform in await beside_own(ctx, error.missing):
            await ctx.images.ensure_base(ctx.emit, platform)
            for service, release in releases.items():
                await ctx.images.build(service, release, ctx.emit, platform)
        return await _bring(ctx, releases, note)


async def _bring(ctx: Context, releases: Mapping[str, str], note: Note) -> list[str]:
    try:
        return await ctx.backend.bring(releases, note)
    except OtherContent as error:
        ctx.emit(Notice(f"{error.what}, and that is what runs; {error.next_step}", "warning"))
        return []


async def beside_own(ctx: Context, platforms: tuple[str, ...]) -> tuple[str, ...]:
    """These platforms, once each, with an empty one for the engine's own, which comes first."""
    if not platforms:
        return ("",)
    own = await ctx.images.own_platform()
    return tuple(sorted({"" if one == own else one for one in platforms}))


async def node_image(ctx: Context) -> None:
    """What a kind cluster is made with, as far as this machine does not have it."""

    def ensured(ensure: Callable[[Emit], Awaitable[bool]]) -> Work:
        async def work(note: Note) -> Skipped | None:
            return None if await ensure(ctx.emit) else Skipped("not needed")

        return work

    work = {"node": ensured(ctx.images.ensure_node), "programs": ensured(ctx.images.ensure_programs)}
    await graph.run(plan.node_image(), work, ctx.emit)
