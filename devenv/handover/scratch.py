"""Folders for what is being made, which no kill leaves behind.

Whoever makes one holds the lock in it, which ends with its process however that ends. Whoever makes the
next one, and each gate as it starts, removes those that nobody holds. Also in the volume of snapshots, which
several instances share: such a lock is known to all processes of the machine, in whatever container they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .record import Record
from .settings import Settings

_PREFIX = ".devenv-scratch-"
_LOCK = "lock"


class Scratch:
    """A folder of its own in `parent`, until it is closed. What others left there is removed first, which can
    take a moment; `quick` leaves that to the next one."""

    def __init__(self, parent: Path, *, quick: bool = False) -> None:
        if not quick:
            sweep(parent)
        self.path, self._lock = _made(parent)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            # What cannot be removed now, the next one removes.
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)


def sweep(parent: Path) -> None:
    """Remove what processes that were killed have left in `parent`. What is not ours stays."""
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                _remove_unheld(path)


def clear(settings: Settings, record: Record) -> None:
    """Remove what an earlier life of this instance has left. For its gate alone, before it does anything."""
    for folder in (settings.state, settings.snapshots):
        if folder is not None:
            sweep(folder)
    if not record.staged:
        # What was staged can be all that there is; everything else is fetched or extracted anew.
        for writable in settings.writable:
            for folder in (writable.staged.parent, writable.aside):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def passed_on(folder: Path) -> Iterator[Path]:
    """An empty file in `folder` that whoever gets it removes; where the block fails, nobody gets it."""
    path = folder / secrets.token_hex(8)
    path.touch(0o600, exist_ok=False)
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        # Before it is held, it looks like one that was left, and may be gone again.
        with contextlib.suppress(FileNotFoundError):
            lock = _lock_of(path)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), (path / _LOCK).stat()):
                    return path, lock
            os.close(lock)


def _remove_unheld(path: Path) -> None:
    lock = _lock_of(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _lock_of(path: Path) -> int:
    return os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
