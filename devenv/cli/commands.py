"""The commands: each takes its options and runs one use case. What is heavy is imported where it is used."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from devenv.cli.session import Common, Session, perform, state_folder
from devenv.errors import NotFit, UsageError
from devenv.model.actions import action
from devenv.model.events import Answer, Notice

if TYPE_CHECKING:
    from devenv.engine.context import Context

DEFAULT = Common()

Flag = Parameter(negative="")
Count = Parameter(validator=Number(gte=1, lte=256))


def _locked(work: Callable[[Context], Awaitable[None]]) -> Callable[[Session], Awaitable[None]]:
    """A use case that changes the stack: one at a time."""

    async def use(session: Session) -> None:
        from devenv.cli.wiring import context

        ctx = context(session)
        with ctx.store.locked(session.action):
            await work(ctx)

    return use


def up(*, no_tui: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    no_tui
        Print lines even on a terminal.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.lifecycle import up

        await up(ctx)

    return perform("up", common, _locked(work), url=True)


def down(*, common: Common = DEFAULT) -> int:
    async def work(ctx: Context) -> None:
        from devenv.engine.lifecycle import down

        await down(ctx)

    return perform("down", common, _locked(work))


def reset(*, yes: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    yes
        Do not ask.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.lifecycle import reset

        _confirm("reset", yes)
        await reset(ctx)

    return perform("reset", common, _locked(work))


def status(*, common: Common = DEFAULT) -> int:
    async def use(session: Session) -> int:
        from devenv.cli.wiring import context
        from devenv.engine.content import status

        return await status(context(session))

    return perform("status", common, use)


def logs(
    service: str | None = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative="")] = False,
    tail: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    since: str | None = None,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    service
        httpd or php-fpm; both where it is not given.
    follow
        Go on with what is written next, also by instances that start later.
    tail
        Only so many lines of each container.
    since
        Only what is newer, for instance 10m or 2026-01-31T12:00:00.
    """

    async def use(session: Session) -> None:
        from devenv.backends.protocol import SERVICES
        from devenv.cli.wiring import context

        if service not in (None, *SERVICES):
            raise UsageError(f"there is no service {service}", "it is httpd or php-fpm", "name one of them")
        found = context(session).backend.logs(service, follow=follow, tail=tail, since=since)
        async with aclosing(found) as lines:
            async for line in lines:
                session.emit(line)

    return perform("logs", common, use)


def build(*, release: str | None = None, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    release
        Which one; the stack's own where it is not given.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.building import build

        await build(ctx, release or ctx.stack.stack.release)

    return perform("build", common, _locked(work))


def upgrade(
    *, to: str | None = None, probe: Annotated[int | None, Count] = None, common: Common = DEFAULT
) -> int:
    """
    Parameters
    ----------
    to
        The release; the one after the running one where it is not given (v1, v2, …).
    probe
        Let so many writers write through the site meanwhile, and count their writes.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.upgrade import upgrade

        await upgrade(ctx, to, writers=probe or 0)

    return perform("upgrade", common, _locked(work))


def rollback(*, probe: Annotated[int | None, Count] = None, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    probe
        Let so many writers write through the site meanwhile, and count their writes.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.upgrade import rollback

        await rollback(ctx, writers=probe or 0)

    return perform("rollback", common, _locked(work))


def verify(*, common: Common = DEFAULT) -> int:
    async def work(ctx: Context) -> None:
        from devenv.engine.content import verify

        await verify(ctx)

    return perform("verify", common, _locked(work))


def probe(
    *,
    writers: Annotated[int, Count] = 8,
    seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 10,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    writers
        So many clients at once.
    seconds
        For so long.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.content import probe

        await probe(ctx, writers, seconds)

    return perform("probe", common, _locked(work))


def snapshot_save(*, common: Common = DEFAULT) -> int:
    async def work(ctx: Context) -> None:
        from devenv.engine.content import save

        await save(ctx)

    return perform("snapshot save", common, _locked(work))


def snapshot_list(*, common: Common = DEFAULT) -> int:
    async def use(session: Session) -> None:
        from devenv.cli.wiring import context
        from devenv.engine.content import snapshots

        snapshots(context(session))

    return perform("snapshot list", common, use)


def snapshot_restore(name: str, /, *, yes: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    name
        A file, a name from `devenv snapshot list`, or latest.
    yes
        Do not ask.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.content import find_snapshot, restore

        path = find_snapshot(ctx, name)
        _confirm("snapshot restore", yes)
        await restore(ctx, path)

    return perform("snapshot restore", common, _locked(work))


def recover(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    yes: Annotated[bool, Flag] = False,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    from_
        The instance that handed its content over, by name or id; see devenv status.
    yes
        Do not ask.
    """

    async def work(ctx: Context) -> None:
        from devenv.engine.content import recover

        _confirm("recover", yes)
        await recover(ctx, from_)

    return perform("recover", common, _locked(work))


def doctor(
    *, fix: Annotated[bool, Flag] = False, yes: Annotated[bool, Flag] = False, common: Common = DEFAULT
) -> int:
    """
    Parameters
    ----------
    fix
        Mend what can be mended.
    yes
        Do not ask before anything is installed or started.
    """

    async def use(session: Session) -> None:
        from devenv import doctor as room
        from devenv.engine import graph

        done: list[str] = []
        while True:
            found = await room.examine(session.stack)
            session.emit(Answer("doctor", {"checks": [asdict(one) for one in found]}))
            mends = (
                await room.prescribe(found, state_folder(session.stack).parent / "dockerd.log") if fix else []
            )
            names = [mend.name for mend in mends]
            # What was missing can hide what else is: an engine that answers is asked more.
            if not mends or names == done:
                break
            steps = [{"name": mend.name, "title": mend.title, "does": mend.does} for mend in mends]
            session.emit(Answer("mends", {"steps": steps}))
            if not yes:
                _ask("doctor does this, step by step")
            await graph.run(room.in_turn(mends), {mend.name: mend.work for mend in mends}, session.emit)
            done = names
        if broken := [one for one in found if one.status == "fail"]:
            raise NotFit(
                "this machine cannot run the stack as it is",
                "; ".join(f"{one.name}: {one.reason}" for one in broken),
                room.advice(broken, tried=fix),
            )

    return perform("doctor", common, use)


def config_show(*, common: Common = DEFAULT) -> int:
    async def use(session: Session) -> None:
        session.emit(Answer("config", session.stack.model_dump(mode="json")))

    return perform("config show", common, use)


def config_schema() -> int:
    """For editors that complete and check devenv.toml."""
    from devenv.model.stack import schema

    print(json_format.dumps(schema(), indent=2))
    return 0


def config_path(*, common: Common = DEFAULT) -> int:
    async def use(session: Session) -> None:
        if session.path is None:
            session.emit(Notice("there is no devenv.toml here or above; every value is its default"))
        where: dict[str, Path | None] = {"config": session.path, "state": state_folder(session.stack)}
        session.emit(Answer("path", {name: str(path or "-") for name, path in where.items()}))

    return perform("config path", common, use)


def _confirm(name: str, yes: bool) -> None:
    """Name what goes; the default is to leave it."""
    if not yes:
        _ask(f"{name} removes for good: {action(name).destroys}")


def _ask(words: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes", words, "say it beforehand: --yes")
    print(f"{words}\nGo on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done", "it was not confirmed", "say y, or --yes beforehand")
