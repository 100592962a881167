"""Snapshots that come out of an instance, onto this machine. Nothing in there is believed, whatever it is:
the application can have put it there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from devenv.errors import DevenvError
from devenv.tools import pipe

MOST = 256 << 30
"""Bytes of a snapshot. No SQLite file that is copied in a pause comes near it."""
RESERVE = 128 << 20
"""Bytes that stay free on this machine's disk."""
_CHUNK = 1 << 20

Copy = Callable[[IO[bytes]], None]
Unwrap = Callable[[IO[bytes], Copy], None]


def _as_it_is(source: IO[bytes], copy: Copy) -> None:
    copy(source)


async def receive(into: Path, send: pipe.Send, unwrap: Unwrap = _as_it_is) -> Mapping[str, Any]:
    """The description of the snapshot that `send` writes, in the wrapping that `unwrap` takes off.

    `into` is there whole, and on the disk, or not at all.
    """
    part = into.with_name(f"{into.name}.part")
    with _written(part) as file:

        def copy(source: IO[bytes]) -> None:
            _copy(source, file, into.parent)

        await pipe.through(send, lambda source: unwrap(source, copy))
        file.flush()
        os.fsync(file.fileno())
        description = described(part)
        part.replace(into)
    return description


@contextmanager
def _written(part: Path) -> Iterator[IO[bytes]]:
    """A new file, for nobody but us from its first byte on; it is gone afterwards, unless it was renamed."""
    try:
        # Of an earlier run that was killed.
        part.unlink(missing_ok=True)
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(made, "wb") as file:
                yield file
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DevenvError(
            "the snapshot cannot be saved on this machine",
            f"{part.parent}: {error.strerror or error}",
            "see that its disk is not full, and that the folder is yours; then try again",
        ) from error


def _copy(source: IO[bytes], file: IO[bytes], folder: Path) -> None:
    """All of it, or an error: what does not fit is never cut off."""
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        free = shutil.disk_usage(folder).free
        if size > MOST or free - len(chunk) < RESERVE:
            bound = "that a snapshot may have" if size > MOST else f"that {folder} has room for"
            raise DevenvError(
                "the snapshot is too large",
                f"after {size >> 20} MiB it was more than {bound}; {free >> 20} MiB are free",
                "nothing of it was kept; make room there, or see what the application has put into it",
            )
        file.write(chunk)


def described(path: Path) -> Mapping[str, Any]:
    """What a snapshot says of itself; proof that the whole of it came through."""
    # The very reading by which an instance will restore it; SQLite comes with it, so it is imported here.
    from devenv.handover.problem import Problem
    from devenv.handover.snapshot import describe

    try:
        return describe(path)
    except Problem as problem:
        raise DevenvError(
            "the snapshot is not whole", problem.why, "try again; see that the disk is not full"
        ) from problem
