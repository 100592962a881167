"""The database's file, read or written beside SQLite, in the process that SQLite works in too.

SQLite locks with fcntl, and a process that closes *any* open file of a file loses all locks that it has on it
(POSIX; sqlite.org/howtocorrupt.html, 2.2): whoever copies would go on reading while others write. So a file
that is opened here is closed only once no connection that was made here is open.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_guard = threading.Lock()
_connections = 0
_done: list[int] = []
"""Open files that nobody needs any more."""
_CHUNK = 256 << 10
"""What a processor's cache holds twice."""


@contextmanager
def connected(uri: str, timeout: float) -> Iterator[sqlite3.Connection]:
    """A connection to the database at `uri`, which waits so many seconds for others; it begins no
    transaction by itself."""
    global _connections
    with _guard:
        _connections += 1
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
    finally:
        with _guard:
            _connections -= 1
            _close_done()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The open file of a database, to read."""
    # Nobody comes to the other end of a FIFO that lies there under such a name.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield file
    finally:
        with _guard:
            _done.append(file)
            _close_done()


def _close_done() -> None:
    if _connections == 0:
        while _done:
            os.close(_done.pop())


def level(source: int, copy: int) -> None:
    """Make `copy` the same as `source` (open files): only what differs is written.

    As fast as the disk's cache where little does. If somebody writes to `source`, it is no state of it.
    """
    size = os.fstat(source).st_size
    os.ftruncate(copy, size)
    ours, theirs = bytearray(_CHUNK), bytearray(_CHUNK)
    at = 0
    while at < size and (count := os.preadv(source, [ours], at)):
        # What lies behind the end of a short one is the same in both: that of the chunk before, or rewritten.
        if os.preadv(copy, [theirs], at) != count or ours != theirs:
            _write(copy, memoryview(ours)[:count], at)
        at += count


def are_equal(one: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    with opened(one) as first, opened(other) as second:
        at = 0
        while (chunk := os.pread(first, _CHUNK, at)) == os.pread(second, _CHUNK, at):
            if not chunk:
                return True
            at += len(chunk)
    return False


def _write(file: int, content: memoryview, at: int) -> None:
    # A disk that becomes full takes a part, and refuses the next.
    while content:
        count = os.pwrite(file, content, at)
        content, at = content[count:], at + count
