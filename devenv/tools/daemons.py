"""Programs that go on when devenv ends."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

_started: list[subprocess.Popen[bytes]] = []
"""Kept: a handle that goes while its program runs is told as a mistake."""


def start(argv: Sequence[str], log: Path, *, inherited: Sequence[int] = ()) -> Callable[[], int | None]:
    """Start one in a session of its own, its output into `log`; the log before is kept as the only other.

    It gets the open files `inherited`. Returns what tells its exit code, None as long as it runs.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
    _started.append(process)
    return process.poll


def reap() -> None:
    """Let go of those that have ended since."""
    _started[:] = [process for process in _started if process.poll() is None]


def tail(log: Path, lines: int) -> str:
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).rstrip()
    except OSError:
        return ""
