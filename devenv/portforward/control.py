"""Starts the process that forwards, and ends it. It outlives devenv and the terminal."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from devenv.errors import DevenvError, NotFit
from devenv.portforward import claim
from devenv.portforward.journal import LOG, State, state
from devenv.portforward.target import Target
from devenv.tools import daemons, ports

PORT_TAKEN = 4
"""How it ends where somebody else listens."""
_LOOK = 0.02
_TAIL = 15
_KILLED = 2.0
"""For a process to be gone that was killed."""


async def start(folder: Path, port: int, target: Target, *, patience: float = 60.0) -> State:
    """Returns once `port` leads to the target. What runs already stays, unless it leads elsewhere.

    Where this fails or is cancelled, what it has started is ended.
    """
    if target.kubeconfig:
        target = replace(target, kubeconfig=target.kubeconfig.absolute())
    if shutil.which(target.kubectl[0]) is None:
        raise NotFit(
            f"{target.kubectl[0]} is not there", "it is not installed, or not on PATH", "run: devenv doctor"
        )
    ended: Callable[[], int | None] | None = None
    waits_for = "it has just started"
    deadline = time.monotonic() + patience
    try:
        while time.monotonic() < deadline:
            found = state(folder)
            if found is not None and (found.port, found.target) != (port, target):
                await stop(folder)
            elif found is not None and found.healthy_since is not None:
                return found
            elif found is not None:
                waits_for = found.waits_for
            elif ended is not None and (code := ended()) is not None:
                raise _failed(code, folder, port)
            elif ended is None and (held := claim.take(folder)) is not None:
                # Held from here on, so that there is never a second one about to begin.
                try:
                    argv = _argv(folder, port, target, held)
                    ended = daemons.start(argv, folder / LOG, inherited=[held])
                finally:
                    os.close(held)
            await asyncio.sleep(_LOOK)
        raise DevenvError(
            f"port {port} does not lead to {target} yet",
            f"after {patience:g} s: {waits_for}",
            f"see what the pods do: {target.by_hand('get', 'pods')}",
            daemons.tail(folder / LOG, _TAIL),
        )
    except BaseException:
        if ended is not None:
            await stop(folder)
        raise


async def stop(folder: Path, *, patience: float = 10.0) -> bool:
    """End it, and return once it is gone; whether there was one. One that does not end is killed."""
    asked, killed = 0, False
    deadline = time.monotonic() + patience
    while (pid := claim.holder(folder)) is not None:
        late = time.monotonic() > deadline
        if late and killed:
            raise DevenvError(
                f"process {pid} does not end", "it forwards the stack's port", f"end it: kill -9 {pid}"
            )
        if pid and (late or pid != asked):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked = pid
        if late:
            killed = True
            deadline = time.monotonic() + _KILLED
        await asyncio.sleep(_LOOK)
    daemons.reap()
    return bool(asked)


def _argv(folder: Path, port: int, target: Target, held: int) -> list[str]:
    return [
        sys.executable, "-m", "devenv.portforward",
        "--port", str(port),
        *(["--kubeconfig", str(target.kubeconfig)] if target.kubeconfig else []),
        "--context", target.context,
        "--namespace", target.namespace,
        "--service", target.service,
        "--state", str(folder.absolute()),
        "--claim", str(held),
        "--", *target.kubectl,
    ]  # fmt: skip


def _failed(code: int, folder: Path, port: int) -> DevenvError:
    tail = daemons.tail(folder / LOG, _TAIL)
    if code == PORT_TAKEN:
        return DevenvError(
            f"port {port} is taken",
            f"{ports.holder(port) or 'another program'} listens on it",
            "end it, or set another [stack] port in devenv.toml",
            tail,
            exit_code=NotFit.default_exit_code,
        )
    return DevenvError(
        f"port {port} cannot be forwarded",
        tail.rpartition("\n")[2] or f"the process for it ended with code {code}",
        f"see {folder / LOG}",
        tail,
    )
