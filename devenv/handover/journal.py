"""What happened in this instance, an event a line, for whoever watches.

The file lies beside the record, so it can be read while the start of the instance is
still in its hook and the engine refuses to show its log. Each event is also a line of
the container's own log. When it is full it becomes the earlier one, of which there is
one, and a new one begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

Event = dict[str, Any]
LIMIT = 4 << 20
"""Bytes after which a new file begins: more than a day of a server that dies every 5 s."""
_CHUNK = 1 << 16


class Journal:
    """Appends to the file at `path`; `uid` is the instance's own.

    For tests of what a crash does, GATE_FAULT names a phase ("owner.moved") at which the
    process ends at once, the first time that it is reached.
    """

    def __init__(self, path: Path, uid: str, *, limit: int = LIMIT) -> None:
        self.path = path
        self.uid = uid
        self.release = os.environ.get("GATE_RELEASE", "unknown")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._limit = limit
        self._file = path.open("ab", buffering=0)
        self._whole = _ends_whole(path)
        """Whether the last line has its end; else the next event would go down with it."""
        self._lock = threading.Lock()
        self._fault = os.environ.get("GATE_FAULT")

    def write(self, side: str, phase: str, **details: Any) -> None:
        event = {"time": round(time.time(), 6), "uid": self.uid, "release": self.release}
        event |= {"side": side, "phase": phase, **details}
        words = " ".join(f"{key}={value}" for key, value in details.items() if not isinstance(value, dict))
        # What happened has happened, whether there is room to write it down or not.
        with self._lock:
            with contextlib.suppress(OSError):
                print(f"gate: {side} {phase} {words}".rstrip(), file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):
                self._append(json.dumps(event).encode() + b"\n")
        if self._fault == f"{side}.{phase}":
            mark = self.path.with_name(f"fault-{self._fault}")
            if not mark.exists():
                mark.touch()
                os._exit(137)  # a signal to oneself does nothing in PID 1

    def _append(self, line: bytes) -> None:
        if self._file.tell() >= self._limit:
            with contextlib.suppress(OSError):
                self._begin_anew()
        if not self._whole:
            line = b"\n" + line
        # A disk that becomes full can take a part of it.
        written = self._file.write(line) or 0
        if written:
            self._whole = written == len(line)

    def _begin_anew(self) -> None:
        # Where no new one can be made, this one goes on under its new name.
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(earlier(self.path))
        file = self.path.open("ab", buffering=0)
        self._file.close()
        self._file, self._whole = file, True


def earlier(path: Path) -> Path:
    """Where the events before those at `path` are, if there were so many."""
    return path.with_name(f"{path.name}.1")


def read(path: Path, *, follow: bool, poll: float) -> Iterator[Event]:
    """All events so far and, with `follow`, those to come, without end.

    What is no event is passed over: half a line, where the machine went down or the disk was full.
    """
    while not (files := _since(path, None)) and follow:
        time.sleep(poll)
    try:
        while files:
            yield from _events_of(files, path, poll if follow else None)
            files.pop(0).close()
    finally:
        for file in files:
            file.close()


def _events_of(files: list[IO[bytes]], path: Path, poll: float | None) -> Iterator[Event]:
    """Of the first of `files`, to its end; those that have begun since are added to them."""
    rest = b""
    last = False
    while not last:
        # One that is not the newest has its end; what came before the newer one began is read first.
        last = len(files) > 1
        while chunk := files[0].read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, map(_event, lines))
        if last and (event := _event(rest)):
            yield event
        if not last:
            files += _since(path, files[0])
            if len(files) == 1:
                if poll is None:
                    return
                time.sleep(poll)


def _since(path: Path, file: IO[bytes] | None) -> list[IO[bytes]]:
    """The files of the journal that began after `file`, or all of them, oldest first."""
    known = [file] if file is not None else []
    found: list[IO[bytes]] = []
    # The newer one first: one that is renamed meanwhile is found twice then, and not missed.
    for name in (path, earlier(path)):
        with contextlib.suppress(FileNotFoundError):
            one = name.open("rb", buffering=0)
            if any(os.path.sameopenfile(one.fileno(), other.fileno()) for other in [*known, *found]):
                one.close()
                break
            found.insert(0, one)
    return found


def _event(line: bytes) -> Event | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("phase"), str) else None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    return True
