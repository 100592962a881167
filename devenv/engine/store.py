"""The state folder of one stack: its lock, its receipts, its snapshots."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from devenv.backends.protocol import RESTORE
from devenv.errors import DevenvError
from devenv.model import receipt as receipts
from devenv.model.receipt import Receipt
from devenv.tools import scratch

_PATIENCE, _PAUSE = 0.05, 0.005
"""Who only looks holds the lock too, for less than a millisecond: an action waits so many seconds for it. No
longer, as the screen waits as well."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
KEPT = 10
"""So many automatic snapshots stay, of each place and reason."""
KEPT_RECEIPTS = 200
MANUAL, FORK = "saved", "fork"
"""Reasons for which all stay: a person asked for it; what is in it exists nowhere else."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot on this machine."""

    path: Path
    reason: str
    release: str
    time: float
    bytes: int
    place: str = ""
    """Where the content was, as `Stack.place`; empty in a name of an earlier devenv, which had none."""


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._receipts = folder / "receipts"
        self._snapshots = folder / "snapshots"

    def cluster(self, place: str) -> Path:
        """What is known of a cluster that the stack is on: how to reach it, its settings, its port."""
        return self.folder / place

    @contextmanager
    def locked(self, action: str) -> Iterator[None]:
        """One action at a time on a stack, over all processes. The lock ends with its holder."""
        path = self.folder / "lock"
        with self._writes():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
        with file:
            if not _taken(file):
                raise DevenvError(
                    "another devenv is at work on this stack",
                    file.read().strip() or "it has just started",
                    "wait until it is done, or end it with Ctrl-C where it runs",
                )
            # Who holds it is only a word to others: a full disk must not stop the `down` that frees it.
            with suppress(OSError):
                words = f"`devenv {action}`, process {os.getpid()}, since {time.strftime('%H:%M:%S')}\n"
                os.truncate(file.fileno(), 0)
                os.write(file.fileno(), words.encode())
            self._clear()
            try:
                yield
            finally:
                # Nobody shall be told of it as if it were at work still.
                with suppress(OSError):
                    os.truncate(file.fileno(), 0)

    def _clear(self) -> None:
        """What an action before was killed at. Whoever has the lock is the only one who writes here."""
        for pattern in ("*/*.tar.part", "receipts/*.part"):
            for left in self.folder.glob(pattern):
                with suppress(OSError):
                    left.unlink()
        scratch.clear()

    @contextmanager
    def _writes(self) -> Iterator[None]:
        """What the disk refuses is told with the folder that it is about, and what to do."""
        try:
            yield
        except OSError as error:
            raise unusable(self.folder, error) from error

    def at_work(self) -> str:
        """The action that holds the lock now, in words; empty when nobody does."""
        with self._writes(), suppress(FileNotFoundError), (self.folder / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip()
        return ""

    def save_receipt(self, receipt: Receipt) -> Path:
        """Write it to a file of its own; the newest one sorts last."""
        releases = (_in_a_name(one.release) for one in (receipt.old, receipt.new))
        path = self._receipts / f"{'-'.join((_stamp(receipt.time), *releases))}.json"
        part = path.with_suffix(".part")
        with self._writes():
            self._receipts.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps(receipt.as_json(), indent=1) + "\n")
            part.replace(path)
            for old in sorted(self._receipts.glob("*.json"))[:-KEPT_RECEIPTS]:
                old.unlink(missing_ok=True)
        return path

    def receipts(self) -> list[tuple[Path, Receipt]]:
        """Oldest first. A file that is no receipt, or that is not ours to read, is passed over."""
        found = []
        for path in sorted(self._receipts.glob("*.json")):
            try:
                found.append((path, receipts.from_json(json.loads(path.read_text()))))
            except (ValueError, TypeError, RecursionError, OSError):
                continue
        return found

    def unreadable_receipt(self) -> Path | None:
        """The newest receipt, where it is none that can be read."""
        newest = max(self._receipts.glob("*.json"), default=None)
        read = self.receipts()
        return newest if newest and (not read or read[-1][0] < newest) else None

    def previous_release(self, current: str) -> str | None:
        """The release that ran before the current one."""
        for _, receipt in reversed(self.receipts()):
            if receipt.new.release == current and receipt.old.release != current:
                return receipt.old.release
        return None

    def lineage(self, place: str) -> str:
        """Of the database that was there at the last look; empty where none is known."""
        try:
            return (self.folder / f"lineage-{place}").read_text().strip()
        except (OSError, ValueError):
            return ""

    def keep_lineage(self, place: str, lineage: str) -> None:
        """From now on this is the one that is known, or none with an empty one."""
        # It only serves to warn: a full disk must not stop the `down` that frees it.
        with suppress(OSError):
            if lineage != self.lineage(place):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                (self.folder / f"lineage-{place}").write_text(f"{lineage}\n")

    def new_snapshot(self, place: str, reason: str, release: str) -> Path:
        """Where a snapshot goes that is about to be taken. The release may be an instance's own word."""
        with self._writes():
            self._snapshots.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._snapshots / f"{_stamp(time.time())}_{reason}@{place}_{_in_a_name(release)}.tar"

    def snapshots(self) -> list[Saved]:
        """Oldest first."""
        found = []
        for path in sorted(self._snapshots.glob("*_*_*.tar")):
            _, of, release = path.stem.split("_", 2)
            reason, _, place = of.partition("@")
            # Another devenv may be pruning.
            with suppress(OSError):
                about = path.stat()
                found.append(Saved(path, reason, release, about.st_mtime, about.st_size, place))
        return found

    def prune(self) -> None:
        """Remove the oldest automatic snapshots beyond those that are kept.

        One that a start waits to begin with is never among them, wherever that is.
        """
        try:
            awaited = self._awaited()
        except OSError:
            # It may name any of them.
            return
        groups: dict[tuple[str, str], list[Path]] = {}
        for saved in self.snapshots():
            groups.setdefault((saved.place, saved.reason), []).append(saved.path)
        for (_, reason), paths in groups.items():
            for path in paths[:-KEPT] if reason not in (MANUAL, FORK) else ():
                if not any(path.name in text for text in awaited):
                    with self._writes():
                        path.unlink(missing_ok=True)

    def _awaited(self) -> list[str]:
        """What places say that they begin with at their next start."""
        said = []
        for path in self.folder.glob(f"*/{RESTORE}"):
            # It may just have been restored.
            with suppress(FileNotFoundError):
                said.append(os.fsdecode(path.read_bytes()))
        return said


def unusable(folder: Path, error: OSError) -> DevenvError:
    """That the disk refused something in the state folder; most often one `sudo devenv` took it away."""
    full = error.errno in _FULL
    return DevenvError(
        f"{folder} cannot be used",
        f"it holds what devenv keeps of the stack, and {error.filename or 'the disk'} says: "
        f"{error.strerror or error}",
        "free some space on its disk"
        if full
        else f"make it yours: sudo chown -R $USER {folder}; or set XDG_STATE_HOME to another folder",
    )


def _taken(file: IO[str]) -> bool:
    """Whether the lock is ours now."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True


def _stamp(moment: float) -> str:
    """Sorts by time, to the microsecond, so that no two collide."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(moment)) + f".{int(moment * 1e6) % 1_000_000:06d}"


def _in_a_name(release: str) -> str:
    """It is what an instance says, and an instance may say `../../x`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", release)[:100]
