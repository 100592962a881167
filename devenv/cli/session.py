"""One run of one action: wires the pieces, shows the events, minds signals, gives the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast, get_args

from cyclopts import Parameter

from devenv.engine.outcome import INTERRUPTED, outcome
from devenv.engine.store import unusable
from devenv.errors import UsageError
from devenv.model import stack as config
from devenv.model.events import Emit, Notice
from devenv.model.stack import BackendName, Stack


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Write events to stdout, a JSON object a line."""
    config: Path | None = None
    """Use this devenv.toml instead of the nearest one."""
    backend: BackendName | None = None
    """Where the stack runs; remembered for this stack until another one is named."""
    context: str | None = None
    """Of the kubeconfig, for a cluster that is there already; remembered as well."""
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative="")] = False
    """Show also the commands that only read."""


def load_stack(common: Common) -> tuple[Stack, Path | None]:
    """The configuration in effect, and the file that it comes from."""
    path = common.config
    if path is None and (named := os.environ.get("DEVENV_CONFIG")):
        path = Path(named)
    if path is not None and not path.is_file():
        by = "--config" if common.config else "DEVENV_CONFIG"
        raise UsageError(f"there is no file {path}", f"{by} names it", "give another path")
    # Who names a file trusts it.
    path = path or config.find(Path.cwd(), trusted(os.environ, os.geteuid()), _home())
    stack = config.load(path)
    if common.context and common.backend not in (None, "cluster"):
        raise UsageError(
            f"{common.backend} takes no context",
            "one leads to a cluster that is there already",
            f"devenv ... --backend cluster --context {common.context}",
        )
    # Who names a context wants its cluster.
    backend = _remembered(stack, "backend", "cluster" if common.context else common.backend)
    context = _remembered(stack, "context", common.context)
    return stack.on(
        cast(BackendName, backend) if backend in get_args(BackendName) else stack.stack.backend, context
    ), path


def trusted(environment: Mapping[str, str], uid: int) -> frozenset[int]:
    """The users whose devenv.toml is obeyed unnamed: ourselves, root, and who wrote the program that runs
    here already, so root can work in a checkout of somebody's. With sudo also who calls it, as git has it.
    """
    users = {uid, 0, Path(__file__).stat().st_uid}
    if uid == 0 and (caller := environment.get("SUDO_UID", "")).isdecimal():
        users.add(int(caller))
    return frozenset(users)


def _home() -> Path | None:
    """What lies above it is no project of ours."""
    with suppress(RuntimeError, OSError):
        return Path.home().resolve()
    return None


def _remembered(stack: Stack, name: str, named: str | None) -> str:
    """What is named; DEVENV_NAME, for one command; what was named last; empty where nothing was."""
    memory = state_folder(stack) / name
    if named is None:
        said = os.environ.get(f"DEVENV_{name.upper()}", "")
        with suppress(OSError):
            said = said or memory.read_text().strip()
        return said
    try:
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        memory.write_text(f"{named}\n")
    except OSError as error:
        raise unusable(memory.parent, error) from error
    return named


def state_folder(stack: Stack) -> Path:
    """Of one stack: XDG_STATE_HOME/devenv/NAME on Linux."""
    return _state() / stack.stack.name


def preferences_path() -> Path:
    """How this person likes the terminal interface."""
    import platformdirs

    from devenv.model.preferences import FILE_NAME

    return platformdirs.user_config_path("devenv") / FILE_NAME


def crash_log() -> Path:
    """Where the trace of a mistake of ours goes."""
    return _state() / "crash.log"


def _state() -> Path:
    import platformdirs

    return platformdirs.user_state_path("devenv")


def on_a_terminal() -> bool:
    """Whether somebody watches who can also press keys: not in a pipe, a CI job, a dumb terminal."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")


Use = Callable[["Session"], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Session:
    """What a command's use case gets to work with."""

    action: str
    common: Common
    stack: Stack
    path: Path | None
    emit: Emit

    @property
    def root(self) -> Path:
        """What paths of devenv.toml are relative to."""
        return self.path.parent.absolute() if self.path else Path.cwd()


def perform(action: str, common: Common, use: Use, *, url: bool = False) -> int:
    """Run a use case to its exit code. `url`: a success ends with the address of the site."""
    front = front_end(common)
    try:
        with asyncio.Runner() as runner:
            return runner.run(_to_its_end(action, common, use, front, url))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _to_its_end(action: str, common: Common, use: Use, front: Emit, url: bool) -> int:
    try:
        stack, path = load_stack(common)
    except Exception as error:
        return await outcome(action, refused(error), front, crash=crash_log())
    work = _guarded(Session(action, common, stack, path, front), use)
    return await outcome(action, work, front, crash=crash_log(), url=stack.url if url else "")


async def refused(error: Exception) -> int:
    """The work of an action that could not even begin."""
    raise error


async def _guarded(session: Session, use: Use) -> int:
    from devenv.tools import process

    with process.observed(session.emit):
        # A task sees what is set when it is made.
        work = asyncio.ensure_future(use(session))
    mind_signals(work.cancel, session.emit)
    # A terminal that goes away does not stop what it began.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    return await work or 0


def mind_signals(cancel: Callable[[], object], emit: Emit) -> None:
    """Cancel on the first signal. What must be put in order is; the third signal does not wait for it."""
    loop = asyncio.get_running_loop()
    signals = 0

    def interrupt() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            cancel()
        elif signals == 2:
            words = "putting in order what was begun; once more leaves it to the next devenv up"
            emit(Notice(words, "warning"))
        else:
            for task in asyncio.all_tasks():
                task.cancel()
            loop.call_later(1.0, os._exit, INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)


def front_end(common: Common) -> Emit:
    if common.json:
        from devenv.cli.json_lines import JsonLines

        return JsonLines()
    from devenv.cli.plain import Plain

    return Plain(verbose=common.verbose)
