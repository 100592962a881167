"""Programs that use the database from a shell (PHP's CLI) hold a shared lock while they do.

docker/php-fpm/cli-prepend.php takes it for each of them. Whoever freezes the database takes it
exclusively: the programs at work finish first, those that come later wait, then look at the role.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .problem import Problem

NAME = "shell.lock"
_LOOK = 0.01
ENDS = 0.5
"""Seconds in which a program ends that is told to."""


class ShellLock:
    def __init__(self, state: Path) -> None:
        self._file = (state / NAME).open("a")
        self._held = False

    def acquire(self, timeout: float) -> None:
        """Shut all others out. Raises `Problem` if one is not done within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._held:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._held = True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Problem(
                        "a program in the instance uses the database",
                        f"one that was started from a shell there has not ended for {timeout:g} s",
                        "end it, or wait for it, then try again",
                        final=False,
                    ) from None
                time.sleep(_LOOK)

    def take(self, timeout: float) -> bool:
        """At the end of an instance: shut all others out, and end who is not done within `timeout` seconds.

        The engine ends them anyway, at a moment when what they wrote is in no snapshot any more.
        """
        for number, patience in ((0, timeout), (signal.SIGTERM, ENDS), (signal.SIGKILL, ENDS)):
            for pid in self._holders():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            with contextlib.suppress(Problem):
                self.acquire(patience)
                return True
        return False

    def _holders(self) -> list[int]:
        """Other processes that have the lock's file open, as far as they are ours to see."""
        ours = os.fstat(self._file.fileno())
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                opened = [fd.stat() for fd in (folder / "fd").iterdir()]
                if any((one.st_dev, one.st_ino) == (ours.st_dev, ours.st_ino) for one in opened):
                    found.append(int(folder.name))
        return [pid for pid in found if pid != os.getpid()]

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._held = False


@contextmanager
def shared(state: Path) -> Iterator[None]:
    """Nobody freezes the database meanwhile."""
    with (state / NAME).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
