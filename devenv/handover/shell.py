"""Programs that use the database from a shell (PHP's CLI) hold a shared lock while they do.

docker/php-fpm/cli-prepend.php takes it for each of them. Whoever freezes the database takes it
exclusively: the programs at work finish first, those that come later wait, then look at the role.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .problem import Problem

NAME = "shell.lock"
_LOOK = 0.01


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

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._held = False


@contextmanager
def shared(state: Path) -> Iterator[None]:
    """Nobody freezes the database meanwhile."""
    with (state / NAME).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
