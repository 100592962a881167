"""Up, down, reset. Each goes on from what is there, and can be run again at any time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from devenv.backends.protocol import HTTPD, PHP_FPM, SERVICES, Kept
from devenv.engine import building, graph, site
from devenv.engine.context import Context
from devenv.engine.graph import Skipped
from devenv.engine.settle import forget, look, recognise, settle
from devenv.errors import DevenvError
from devenv.model import plan
from devenv.model.events import Note, Notice
from devenv.model.instance import Instance


@dataclass(slots=True)
class _Up:
    ctx: Context
    there: list[Instance] = field(default_factory=list)
    before: Instance | None = None
    settled: bool = True
    build_missing: bool = False
    outdated: set[str] = field(default_factory=set)
    """Services that run another image than their release names now."""

    async def engine(self, note: Note) -> str:
        looking = self.ctx.backend.instances(ask_gates=False)
        # The check first: it starts what is stopped, and the look waits for that.
        _, self.there = await asyncio.gather(self.ctx.backend.check(), looking)
        instances = [one for one in self.there if one.service == PHP_FPM]
        if len(instances) == 1 and instances[0].health == "healthy":
            # The common case. Its gate is asked while the start, which changes nothing then, runs.
            [self.before] = instances
            self.settled = False
        elif instances:
            self.before = await settle(self.ctx)
        return f"{self.before.name} runs" if self.before else "nothing runs yet"

    async def settings(self, note: Note) -> str | Skipped:
        known = dict.fromkeys(SERVICES, self.ctx.stack.stack.release) | self.ctx.backend.releases()
        if self.before:
            known[PHP_FPM] = self.before.tag
        return "written" if await self.ctx.backend.prepare(known) else Skipped("as they were")

    async def build(self, service: str) -> str | Skipped:
        release = self.ctx.backend.releases()[service]
        built = await self.ctx.images.build(service, release, self.ctx.emit)
        return f"{release} built" if built else Skipped(f"{release} is up to date")

    async def start(self, note: Note) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ctx.backend.start(note=note))
            if not self.settled:
                group.create_task(settle(self.ctx))
            group.create_task(self._compare_images())
        if HTTPD in self.outdated:
            await self.ctx.backend.start(replace=HTTPD, note=note)
        if self.before is None:
            await self._tell_origin()
        note("asks the site")
        await site.require(self.ctx, self.before or await self._php_fpm())
        note("")
        return "healthy, and the site answers"

    async def _php_fpm(self) -> Instance | None:
        there = await self.ctx.backend.instances(ask_gates=False)
        return next((one for one in there if one.service == PHP_FPM), None)

    async def node(self, note: Note) -> str | Skipped:
        made = [await self.ctx.images.ensure_node(self.ctx.emit)]
        made.append(await self.ctx.images.ensure_programs(self.ctx.emit))
        return "there now" if any(made) else Skipped("there already")

    async def cluster(self, note: Note) -> str | Skipped:
        return "made" if await self.ctx.backend.provide() else Skipped("there already")

    async def load(self, note: Note) -> str | Skipped:
        releases = self.ctx.backend.releases()
        brought = await building.bring(self.ctx, releases, note, build_missing=self.build_missing)
        return ", ".join(brought) if brought else Skipped("there already")

    async def httpd(self, note: Note) -> str | Skipped:
        """httpd holds no content: where its port is another one now, it is simply replaced.

        First of all: one that was made for a port that is taken cannot even be started.
        """
        there = self._there(HTTPD)
        if there is None or there.port == self.ctx.stack.stack.port:
            return Skipped("as it was" if there else "new")
        await self.ctx.backend.start(replace=HTTPD, note=note)
        return "replaced"

    def _there(self, service: str) -> Instance | None:
        return next((one for one in self.there if one.service == service), None)

    async def _tell_origin(self) -> None:
        """Where the content of a new instance comes from is never left to guess."""
        _, now = await look(self.ctx)
        if now.owner and now.owner.gate:
            recognise(self.ctx, now.owner)
            restored = now.owner.gate.restored
            if restored:
                words = f"content restored from the snapshot of {restored['time']}"
                self.ctx.emit(Notice(words))
            else:
                self.ctx.emit(Notice("a new database: the application's first content"))
            if self.ctx.stack.stack.backend != "compose":
                words = "a node that is lost, or a pod that is deleted by force, takes the content with it"
                self.ctx.emit(Notice(f"{words}; to have a copy on this machine: devenv snapshot save"))

    async def _compare_images(self) -> None:
        """An image that was built anew under the same name comes to an instance by a hand-over only."""
        for one in filter(None, (self._there(HTTPD), self.before)):
            digests = await self.ctx.backend.images(one.tag)
            if digests.get(one.service, one.digest) != one.digest:
                self.outdated.add(one.service)
        if self.before and PHP_FPM in self.outdated:
            words = f"{self.before.name} runs an older image of {self.before.tag}"
            next_step = f"to bring the new one: devenv upgrade --to {self.before.tag}"
            self.ctx.emit(Notice(f"{words}; {next_step}", "warning"))


async def up(ctx: Context, *, build_missing: bool = False) -> None:
    """Everything built, running, healthy; what is there already stays as it is.

    With `build_missing`, images are also built for the platforms of an existing cluster's nodes.
    """
    work = _Up(ctx, build_missing=build_missing)

    async def base(note: Note) -> Skipped | None:
        return None if await ctx.images.ensure_base(ctx.emit) else Skipped("not needed")

    place = {"node": work.node, "cluster": work.cluster, "load": work.load}
    planned = plan.up(ctx.stack.stack.backend)
    steps = {step.name for step in planned.steps}
    await graph.run(
        planned,
        {
            **{name: one for name, one in place.items() if name in steps},
            "engine": work.engine,
            "settings": work.settings,
            "base": base,
            "build httpd": lambda note: work.build(HTTPD),
            "build php-fpm": lambda note: work.build(PHP_FPM),
            "httpd": work.httpd,
            "start": work.start,
        },
        ctx.emit,
    )


@dataclass(slots=True)
class _Down:
    ctx: Context
    there: list[Instance]
    owner: Instance | None = None
    saved: Path | None = None

    async def engine(self, note: Note) -> str | Skipped:
        await self.ctx.backend.check()
        self.there, now = await look(self.ctx)
        if not self.there:
            return Skipped("nothing is there")
        if not now.tidy:
            self.owner = await settle(self.ctx)
        elif now.owner:
            self.owner = now.owner
            recognise(self.ctx, now.owner)
        return f"{self.owner.name} owns the content" if self.owner else "no instance owns content"

    async def stop(self, note: Note) -> str | Skipped:
        if not self.there:
            return Skipped("nothing runs")
        await self.ctx.backend.stop()
        return f"{len(self.there)} containers"

    async def snapshot(self, note: Note) -> str | Skipped:
        if self.owner is None:
            return Skipped("no content")
        self.saved = self.ctx.store.new_snapshot(self.ctx.stack.place, "down", self.owner.release)
        if not await self.ctx.backend.last_snapshot(self.owner, self.saved):
            raise DevenvError(
                f"{self.owner.name} ended without saving its content",
                "its journal tells of no snapshot; the container is kept, and the content in it",
                f"see {self.ctx.backend.by_hand('log', self.owner)}, mend it, then devenv up and devenv down;"
                f" or take the file: docker cp {self.owner.name}:/app/{self.ctx.stack.app.database} FILE",
                await self.ctx.backend.log_tail(self.owner),
            )
        self.ctx.store.prune()
        return str(self.saved)

    async def remove(self, note: Note) -> str | Skipped:
        if not self.there:
            return Skipped("nothing is there")
        for kept in await self.ctx.backend.remove_all(content=False):
            self.ctx.emit(Notice(_is_kept(kept), "warning"))
        return "the next devenv up restores the content"

    async def cluster(self, note: Note) -> str | Skipped:
        return "removed" if await self.ctx.backend.remove_place() else Skipped("there is none")


async def down(ctx: Context, *, cluster: bool = False) -> None:
    """Stop and remove everything but the content, which is saved before its container goes; with `cluster`
    a kind cluster of ours as well.
    """
    work = _Down(ctx, [])
    await graph.run(
        plan.down(cluster=cluster),
        {
            **({"cluster": work.cluster} if cluster else {}),
            "engine": work.engine,
            "stop": work.stop,
            "snapshot": work.snapshot,
            "remove": work.remove,
        },
        ctx.emit,
    )


def _is_kept(one: Kept) -> str:
    return f"{one.what} is still there: {one.by or 'the engine does not say who'} uses it"


async def reset(ctx: Context) -> None:
    """Remove everything, saved content as well; a last snapshot stays on this machine, if one can be had."""
    owner: Instance | None = None
    silent: tuple[Instance, ...] = ()

    async def engine(note: Note) -> str:
        nonlocal owner, silent
        await ctx.backend.check()
        there, now = await look(ctx)
        owner, silent = now.owner, now.unknown
        return f"{len(there)} containers"

    async def snapshot(note: Note) -> str | Skipped:
        if owner is None and silent:
            names = ", ".join(one.name for one in silent)
            ctx.emit(Notice(f"no last snapshot: {names} does not say what it holds", "warning"))
            return Skipped("could not be had")
        if owner is None:
            return Skipped("no running instance owns content")
        path = ctx.store.new_snapshot(ctx.stack.place, "before-reset", owner.release)
        try:
            await ctx.backend.snapshot(owner, path)
        except DevenvError as error:
            # Reset is what one reaches for when the stack is broken: it must not need a sound one.
            ctx.emit(Notice(f"no last snapshot: {error.what}: {error.why}", "warning"))
            return Skipped("could not be had")
        ctx.store.prune()
        return str(path)

    async def remove(note: Note) -> str:
        kept = await ctx.backend.remove_all(content=True)
        for one in kept:
            if one.content:
                raise DevenvError(
                    "what was saved is not gone",
                    f"{_is_kept(one)}; the next devenv up would restore from it",
                    "end and remove who uses it, then run devenv reset again",
                )
            ctx.emit(Notice(_is_kept(one), "warning"))
        forget(ctx)
        return "the next devenv up begins anew"

    await graph.run(plan.reset(), {"engine": engine, "snapshot": snapshot, "remove": remove}, ctx.emit)
