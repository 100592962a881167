"""`devenv up` on a terminal: the terminal interface around a desk, and what is said once it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from devenv.cli.session import (
    Common,
    Session,
    crash_log,
    front_end,
    load_stack,
    mind_signals,
    preferences_path,
    refused,
    state_folder,
)
from devenv.engine.outcome import INTERRUPTED, outcome
from devenv.model.events import Emit, Event, Notice

if TYPE_CHECKING:
    from devenv.tui.app import DevenvApp

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def show(common: Common) -> int:
    """Until it is left; the exit code is that of the last action."""
    front = front_end(common)
    try:
        return asyncio.run(_show(common, front))
    except Exception as error:
        return asyncio.run(outcome("up", refused(error), front, crash=crash_log()))
    except asyncio.CancelledError:
        # By the third signal, which does not wait.
        return INTERRUPTED


def spread_collections() -> None:
    """Many short collections of garbage in place of few that hold up the screen, for 30 ms each."""
    # What is imported stays: none of them has to look through it.
    gc.freeze()
    # Rows that were drawn are cycles, and live for a few pictures: in a young generation of this size most
    # end where they began.
    gc.set_threshold(10_000, 3)


async def _show(common: Common, front: Emit) -> int:
    # Heavy, and needed only here.
    from devenv.cli.wiring import context
    from devenv.engine.desk import Desk
    from devenv.model.preferences import load
    from devenv.tui.app import DevenvApp

    stack, path = load_stack(common)
    preferences = load(preferences_path())
    # Textual turns colours to grey where NO_COLOR is set; the plain theme has none to begin with.
    theme = "devenv-plain" if os.environ.pop("NO_COLOR", "") else ""
    ctx = context(Session("up", common, stack, path, front))
    desk = Desk(ctx, crash=crash_log(), writers=preferences.writers)
    paths = {
        "config": str(path or "-"),
        "preferences": str(preferences_path()),
        "state": str(state_folder(stack)),
        "logs": str(desk.archive.path),
    }
    machine = platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    app = DevenvApp(desk, preferences, architecture=architecture, paths=paths, theme=theme)
    spread_collections()

    def end() -> None:
        desk.cancel()
        app.exit()

    mind_signals(end, front)
    # The terminal is gone: what it began goes on to its end without it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.exit)
    with suppress(OSError):  # a terminal that is gone takes no last words
        await app.run_async(mouse=preferences.mouse)
    return await _afterwards(app, front)


async def _afterwards(app: DevenvApp, front: Emit) -> int:
    """What is at work goes on in lines, to its end; then where things stand, on the normal screen."""
    desk = app.desk
    if app.crash is not None:
        app.write_crash(crash_log())
        front(Notice(f"the screen failed: {app.crash!r}; please report it, with {crash_log()}", "warning"))

    def both(event: Event) -> None:
        app.take(event)  # what is said at the end is made of it
        front(event)

    desk.listen(both)
    if desk.busy:
        front(Notice(f"{app.state.action} goes on to its end; Ctrl-C cancels it"))
    code = await desk.finished()
    await desk.close()
    for text in app.summary():
        front(Notice(text))
    return 1 if app.crash is not None else code
