"""Who serves a state folder: one process, which holds the lock on its pid file for as long as it lives.

A pid file alone would prove nothing, its number may be another program's by now; a lock ends with its holder.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

_NAME = "portforward.pid"
_PATIENCE, _PAUSE = 0.05, 0.005
"""Who only looks holds the lock too, for less than a millisecond."""


def take(folder: Path) -> int | None:
    """The open file that holds it until it is closed, also in a process that inherits it; None where
    somebody holds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _PATIENCE
    while not _locked(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            os.close(file)
            return None
        time.sleep(_PAUSE)
    # The number of one that was killed must not count as that of the next.
    os.truncate(file, 0)
    return file


def sign(file: int) -> None:
    """This process holds it, to its end: who waits for the lock knows by it that the process is gone."""
    os.write(file, f"{os.getpid()}\n".encode())


def holder(folder: Path) -> int | None:
    """The process that holds it, 0 where it has only just begun to; None where nobody does."""
    with suppress(FileNotFoundError), (folder / _NAME).open() as file:
        if not _locked(file.fileno(), fcntl.LOCK_SH):
            text = file.read().strip()
            return int(text) if text.isdecimal() else 0
    return None


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
