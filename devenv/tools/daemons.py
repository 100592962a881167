"""Programs that go on when devenv ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

LIMIT = 8 << 20
"""Bytes of a log with a bound, and of the part before that is kept."""
_LOOK = 60.0
_BOUND = """
while sleep "$3" && [ -e "/proc/$1" ]; do
    [ "$(wc -c <"$2")" -gt "$4" ] || continue
    tail -c "$4" "$2" >"$2.1"
    : >"$2"
done
"""
"""Ends with the process whose log it is. That appends to the file, so it goes on at the new end."""
_started: list[subprocess.Popen[bytes]] = []
"""Kept: a handle that goes while its program runs is told as a mistake."""


def start(argv: Sequence[str], log: Path, *, inherited: Sequence[int] = ()) -> Callable[[], int | None]:
    """Start one in a session of its own, its output into `log`; the log before is kept as the only other.

    It gets the open files `inherited`. Returns what tells its exit code, None as long as it runs.
    """
    return _start(argv, log, inherited).poll


def start_bounded(
    argv: Sequence[str], log: Path, *, limit: int = LIMIT, look: float = _LOOK
) -> Callable[[], int | None]:
    """The same for one that does not bound its log itself: another process looks at it every `look` seconds.

    Not a pipe between the two: whoever reads it could be ended, and the program with it.
    """
    process = _start(argv, log, ())
    guard = subprocess.Popen(
        ["sh", "-c", _BOUND, "sh", str(process.pid), str(log.absolute()), str(look), str(limit)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _started.append(guard)

    def ended() -> int | None:
        if process.poll() is not None and guard.poll() is None:
            # It would find out by itself, but only then.
            os.killpg(guard.pid, signal.SIGKILL)
            guard.wait()
        return process.poll()

    return ended


def _start(argv: Sequence[str], log: Path, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
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
    return process


def reap() -> None:
    """Let go of those that have ended since."""
    _started[:] = [process for process in _started if process.poll() is None]


def tail(log: Path, lines: int) -> str:
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).rstrip()
    except OSError:
        return ""
