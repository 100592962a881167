"""The commands: each takes its options and runs one use case. What is heavy is imported where it is used."""

from __future__ import annotations

import json as json_format
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from devenv.cli.output import write
from devenv.cli.session import Common, Session, on_a_terminal, perform, preferences_path, state_folder
from devenv.errors import UsageError
from devenv.model import platform as platforms
from devenv.model.actions import action
from devenv.model.events import Answer, Notice
from devenv.model.probe import MOST_WRITERS

DEFAULT = Common()

Flag = Parameter(negative="")
Platforms = Annotated[
    tuple[str, ...],
    Parameter(
        converter=lambda _, tokens: platforms.read_all(",".join(one.value for one in tokens)), negative=""
    ),
]
Count = Parameter(validator=Number(gte=1, lte=MOST_WRITERS))


def _run(name: str, /, common: Common, *, url: bool = False, ask: str = "", **options: Any) -> int:
    """An action of the stack. `ask`: what goes for good, which wants a yes."""

    async def use(session: Session) -> int | None:
        from devenv.cli.wiring import context
        from devenv.engine.perform import perform as act

        if ask:
            _ask(ask)
        return await act(context(session), name, **options)

    return perform(name, common, use, url=url)


def _loss(name: str, yes: bool) -> str:
    return "" if yes else f"{name} removes for good: {action(name).destroys}"


def up(
    *,
    no_tui: Annotated[bool, Flag] = False,
    build_missing: Annotated[bool, Flag] = False,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    no_tui
        Print lines even on a terminal.
    build_missing
        Build images also for the platforms of an existing cluster's nodes.
    """
    if not no_tui and not build_missing and not common.json and on_a_terminal():
        from devenv.cli.screen import show

        return show(common)
    return _run("up", common, url=True, build_missing=build_missing)


def down(*, cluster: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    cluster
        Remove the kind cluster as well, if the stack has one.
    """
    return _run("down", common, cluster=cluster)


def reset(*, yes: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    yes
        Do not ask.
    """

    return _run("reset", common, ask=_loss("reset", yes))


def status(*, common: Common = DEFAULT) -> int:
    async def use(session: Session) -> int | None:
        from devenv.cli.wiring import context
        from devenv.engine.perform import perform as act

        if session.path is not None and session.root != Path.cwd():
            session.emit(Notice(f"{session.path} counts here"))
        return await act(context(session), "status")

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
            async for some in lines:
                for line in some:
                    session.emit(line)

    return perform("logs", common, use)


def open_site(*, common: Common = DEFAULT) -> int:
    return _run("open", common)


def receipt_list(*, common: Common = DEFAULT) -> int:
    return _run("receipt list", common)


def receipt_show(name: str = "latest", /, *, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    name
        One from `devenv receipt list`, a file, or latest.
    """
    return _run("receipt show", common, name=name)


def build(*, release: str | None = None, platform: Platforms = (), common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    release
        Which one; the stack's own where it is not given.
    platform
        For instance linux/arm64,linux/amd64; those of devenv.toml where it is not given.
    """

    return _run("build", common, release=release, platforms=platform)


def push(
    *,
    registry: str = "",
    release: str | None = None,
    platform: Platforms = (),
    force: Annotated[bool, Flag] = False,
    common: Common = DEFAULT,
) -> int:
    """
    Credentials are those of docker login.

    Parameters
    ----------
    registry
        HOST/REPOSITORY; that of devenv.toml where it is not given, at last the registry of this machine.
    release
        Which one; the stack's own where it is not given.
    platform
        For instance linux/arm64,linux/amd64; those of devenv.toml where it is not given.
    force
        Replace what the registry has under that name.
    """

    return _run("push", common, repository=registry, release=release, platforms=platform, force=force)


def registry_up(*, common: Common = DEFAULT) -> int:
    return _run("registry up", common)


def registry_down(*, common: Common = DEFAULT) -> int:
    return _run("registry down", common)


def node_image_build(*, common: Common = DEFAULT) -> int:
    """
    Where no registry answers, they are made with Go: 6 to 7 minutes the first time, about one after that.
    """

    return _run("node-image build", common)


def upgrade(
    *,
    to: str | None = None,
    probe: Annotated[int | None, Count] = None,
    build_missing: Annotated[bool, Flag] = False,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    to
        The release; the one after the running one where it is not given (v1, v2, …).
    probe
        Let so many writers write through the site meanwhile, and count their writes.
    build_missing
        Build the image anew where it is for another architecture than where it is to run.
    """

    return _run("upgrade", common, to=to, writers=probe or 0, build_missing=build_missing)


def rollback(*, probe: Annotated[int | None, Count] = None, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    probe
        Let so many writers write through the site meanwhile, and count their writes.
    """

    return _run("rollback", common, writers=probe or 0)


def verify(*, common: Common = DEFAULT) -> int:
    return _run("verify", common)


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

    return _run("probe", common, writers=writers, seconds=seconds)


def snapshot_save(*, common: Common = DEFAULT) -> int:
    return _run("snapshot save", common)


def snapshot_list(*, common: Common = DEFAULT) -> int:
    return _run("snapshot list", common)


def snapshot_restore(name: str, /, *, yes: Annotated[bool, Flag] = False, common: Common = DEFAULT) -> int:
    """
    Parameters
    ----------
    name
        A file, a name from `devenv snapshot list`, or latest.
    yes
        Do not ask.
    """

    return _run("snapshot restore", common, ask=_loss("snapshot restore", yes), name=name)


def recover(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    force: Annotated[bool, Flag] = False,
    yes: Annotated[bool, Flag] = False,
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    from_
        The instance whose content is to go on, by name or id; see devenv status.
    force
        Also where another instance owns the content and serves, or may do so:
        devenv recover --from devenv-php-fpm-1 --force
    yes
        Do not ask.
    """

    return _run("recover", common, from_=from_, force=force, ask_first=_agreed if yes else _ask)


def doctor(
    *,
    fix: Annotated[bool, Flag] = False,
    undo: Annotated[bool, Flag] = False,
    replace_engine: Annotated[bool, Flag] = False,
    yes: Annotated[bool, Flag] = False,
    platform: Platforms = (),
    common: Common = DEFAULT,
) -> int:
    """
    Parameters
    ----------
    fix
        Mend what can be mended.
    undo
        Put this machine back as it was before doctor mended it.
    replace_engine
        Replace an engine that is too old though it runs containers, which stop then.
    yes
        Do not ask before anything is installed, started or removed.
    platform
        That images are to be built for; those of devenv.toml where it is not given.
    """

    return _run(
        "doctor",
        common,
        fix=fix,
        undo=undo,
        replacing=replace_engine,
        ask_first=_agreed if yes else _ask,
        platforms=platform,
    )


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
        where["preferences"] = preferences_path()
        session.emit(Answer("path", {name: str(path or "-") for name, path in where.items()}))

    return perform("config path", common, use)


def _ask(words: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes", words, "say it beforehand: --yes")
    write(sys.stderr, words)
    write(sys.stderr, "Go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done", "it was not confirmed", "say y, or --yes beforehand")


def _agreed(words: str) -> None:
    """What --yes answers."""
