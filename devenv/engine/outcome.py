"""How an action begins and how it ends, as events and an exit code, whatever comes of it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable
from pathlib import Path

from devenv.engine.store import unusable
from devenv.errors import DevenvError
from devenv.logs.ansi import visible
from devenv.model.events import ActionEnded, ActionFailed, ActionStarted, Emit

INTERRUPTED = 130


async def outcome(action: str, work: Awaitable[int | None], emit: Emit, *, crash: Path, url: str = "") -> int:
    """Await `work`, which is an action's. Its exit code; 130 where it was cancelled.

    `url` goes with a success. The trace of a mistake of ours goes to the file `crash`.
    """
    started = time.monotonic()
    emit(ActionStarted(action))
    try:
        code = await work or 0
    except asyncio.CancelledError:
        code = INTERRUPTED
    except Exception as error:
        failed = failure(error, crash)
        emit(failed)
        code = failed.exit_code
    emit(ActionEnded(action, code, time.monotonic() - started, url if code == 0 else ""))
    return code


def failure(error: Exception, crash: Path) -> ActionFailed:
    """The error as an event. The trace of a mistake of ours goes to a file, not to the screen."""
    if isinstance(error, OSError) and _within(error, crash.parent):
        error = unusable(crash.parent, error)
    if isinstance(error, DevenvError):
        return ActionFailed(
            error.what,
            error.why,
            error.next_step,
            error.log_tail,
            error.exit_code,
            error.instance_says,
        )
    what, why = "devenv itself failed", f"{type(error).__name__}: {error}"
    try:
        write_trace(error, crash)
    except OSError as refused:
        # It is nowhere else then; and whatever the disk says, the action is told to have ended.
        lost = f"please report it, with its trace, which could not be kept in {crash}: {refused.strerror}"
        return ActionFailed(what, why, lost, _trace(error))
    return ActionFailed(what, why, f"please report it, with {crash}")


def write_trace(error: BaseException, crash: Path) -> None:
    """Keep the trace in a file, which is read on a terminal, too. Raises OSError where it cannot be kept."""
    crash.parent.mkdir(parents=True, exist_ok=True)
    crash.write_text("".join(f"{visible(line)}\n" for line in _trace(error).split("\n")), encoding="utf-8")


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip("\n")


def _within(error: OSError, folder: Path) -> bool:
    """Whether a file of this folder is what was refused, or the folder itself."""
    return isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(folder)
