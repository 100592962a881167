"""One run of one action: wires the pieces, shows the events, minds signals, gives the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from devenv.errors import DevenvError, UsageError
from devenv.model import stack as config
from devenv.model.events import ActionEnded, ActionFailed, ActionStarted, Emit, Notice
from devenv.model.stack import Stack

INTERRUPTED = 130


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Write events to stdout, a JSON object a line."""
    config: Path | None = None
    """Use this devenv.toml instead of the nearest one."""
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative="")] = False
    """Show also the commands that only read."""


def load_stack(common: Common) -> tuple[Stack, Path | None]:
    """The configuration in effect, and the file that it comes from."""
    if common.config is not None and not common.config.is_file():
        raise UsageError(f"there is no file {common.config}", "--config names it", "give another path")
    path = common.config or config.find(Path.cwd())
    return config.load(path), path


def state_folder(stack: Stack) -> Path:
    """Of one stack: XDG_STATE_HOME/devenv/NAME on Linux."""
    import platformdirs

    return platformdirs.user_state_path("devenv") / stack.stack.name


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
    front = _front_end(common)
    started = time.monotonic()
    stack = Stack()
    front(ActionStarted(action))
    try:
        stack, path = load_stack(common)
        with asyncio.Runner() as runner:
            code = runner.run(_guarded(Session(action, common, stack, path, front), use))
    except DevenvError as error:
        front(ActionFailed(error.what, error.why, error.next_step, error.log_tail, error.exit_code))
        code = error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except Exception as error:  # a mistake of ours: the trace goes to a file, not to the screen
        front(_crashed(stack, error))
        code = 1
    shown = stack.url if url and code == 0 else ""
    front(ActionEnded(action, code, time.monotonic() - started, shown))
    return code


async def _guarded(session: Session, use: Use) -> int:
    """Cancel on the first signal. What must be put in order is; the third signal does not wait for it."""
    from devenv.tools import process

    loop = asyncio.get_running_loop()
    with process.observed(session.emit):
        # A task sees what is set when it is made.
        work = asyncio.ensure_future(use(session))
    signals = 0

    def interrupt() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            work.cancel()
        elif signals == 2:
            words = "putting in order what was begun; once more leaves it to the next devenv up"
            session.emit(Notice(words, "warning"))
        else:
            for task in asyncio.all_tasks():
                task.cancel()
            loop.call_later(1.0, os._exit, INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    # A terminal that goes away does not stop what it began.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    return await work or 0


def _front_end(common: Common) -> Emit:
    if common.json:
        from devenv.cli.json_lines import JsonLines

        return JsonLines()
    from devenv.cli.plain import Plain

    return Plain(verbose=common.verbose)


def _crashed(stack: Stack, error: Exception) -> ActionFailed:
    folder = state_folder(stack)
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / "crash.log"
    trace.write_text("".join(traceback.format_exception(error)))
    return ActionFailed(
        "devenv itself failed", f"{type(error).__name__}: {error}", f"please report it, with {trace}"
    )
