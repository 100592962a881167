"""Reading a tar file that anybody may have written, as nothing but what it must be.

Plain, uncompressed, of a few members, each of them a regular file that lies in it whole. tarfile finds
where they lie; it is given headers alone, and only so many of them: one that is made for that keeps it
busy for ever otherwise, or has it fetch gigabytes into memory.
"""

from __future__ import annotations

import os
import stat
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HEADER = 64 << 10
"""Bytes that tarfile may want at once: of a header, or of what is copied."""
_HEADERS = 1 << 20
"""Bytes of all headers."""
_MEMBERS = 16
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
STUMBLES = (
    OSError, EOFError, tarfile.TarError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError,
    struct.error,
)  # fmt: skip
"""What tarfile and json raise of what was made to trip them, and the disk of what cannot be read."""


class Unsound(Exception):
    """Says in words what is wrong with an archive."""


class Reader:
    """What tarfile gets to read an archive from: never more than `HEADER` at once, nor than `budget` in all.

    A header may claim any length for itself, and a negative one as well.
    """

    def __init__(self, file: IO[bytes], budget: int | None = None) -> None:
        self._file = file
        self._budget = budget
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError("a header in it has no sensible length")
        if self._budget is not None:
            self._budget -= size
            if self._budget < 0:
                raise tarfile.ReadError("it has more headers than any of its kind")
        return self._file.read(size)


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    size: int
    offset: int
    """Of its content, in the archive."""


class Archive:
    """Made by `opened`. Whatever is read of it after that is read from where the headers say it lies."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._members = _members(file)
        self._found: dict[str, Member] = {}
        self.first = next(self._members, None)
        """Without a look at those behind it: only this one tells whether we know their kind."""

    def members(self) -> dict[str, Member]:
        """All of them, by name. Raises `Unsound` unless each is what it must be."""
        if not self._found and self.first is not None:
            found = {self.first.name: self.first}
            for member in self._members:
                if member.name in found:
                    raise Unsound(f"{member.name!r} is in it twice")
                found[member.name] = member
            self._found = found
        return self._found

    def read(self, member: Member) -> bytes:
        self._file.seek(member.offset)
        return self._file.read(member.size)

    def copy(self, member: Member, into: IO[bytes]) -> None:
        """Raises `Unsound` where it has become shorter since it was looked at."""
        self._file.seek(member.offset)
        left = member.size
        while left:
            chunk = self._file.read(min(left, 1 << 20))
            if not chunk:
                raise Unsound(f"{member.name} is not whole")
            into.write(chunk)
            left -= len(chunk)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive at `path`, which is open within. Raises `Unsound` for what is none, and OSError."""
    # Nobody comes to the other end of a FIFO that lies there under such a name.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unsound("it is no regular file")
        yield Archive(file)


def _members(file: IO[bytes]) -> Iterator[Member]:
    end = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=Reader(file, _HEADERS), mode="r:") as tar:  # type: ignore[call-overload]
            for _ in range(_MEMBERS):
                if (found := tar.next()) is None:
                    return
                if found.type not in REGULAR or found.sparse is not None:
                    raise Unsound(f"{found.name!r} in it is no regular file")
                if found.size < 0 or found.offset_data + found.size > end:
                    raise Unsound(f"{found.name!r} in it is not whole")
                yield Member(found.name, found.size, found.offset_data)
    except STUMBLES as error:
        raise Unsound(str(error) or type(error).__name__) from error
    raise Unsound(f"it has more than {_MEMBERS} members")
