"""The mark: who has the content. It lies beside the snapshots, where it outlives every instance.

An owner signs there before it serves anybody, and with its end it names the snapshot that has all
of it. So a new instance that finds nobody knows whether somebody is only missing for a moment, and an
owner that was away knows whether another one has gone on without it. Discovery cannot tell either: an
engine's names list nobody who does not run.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .problem import Problem
from .record import FORMAT, Record, sync_folder
from .scratch import Scratch

NAME = "owner.json"
LAPSED = "owner-lapsed.json"
"""What was signed last, where that is not true any more and could not be written anew."""
NOTHING = "nothing"
"""In the place of a snapshot's name, by earlier releases: the application never wrote anything."""


@dataclass(frozen=True, slots=True)
class Mark:
    uid: str
    host: str
    """What the engine knows it by: docker's short id."""
    release: str
    lineage: str
    epoch: int
    saved: str = ""
    """The snapshot that holds all of the content; none while it serves, and if it was killed."""
    format: int = FORMAT

    def supersedes(self, record: Record) -> bool:
        """Whether another instance has served since the one of `record` did."""
        earlier = self.lineage == record.lineage and self.epoch < record.epoch
        return self.uid != record.uid and not earlier and self.signature != record.begun_after

    @property
    def signature(self) -> str:
        """Whose word it is, and of which content."""
        return f"{self.uid} {self.lineage} {self.epoch}"

    def __str__(self) -> str:
        return f"{self.host} ({self.release}, epoch {self.epoch})"


def load(folder: Path | None) -> Mark | None:
    """The mark in `folder`; None if nobody has served yet. A damaged one is a `Problem`."""
    if folder is None:
        return None
    if (mark := _read(folder / NAME)) is not None:
        return mark
    lapsed = _read(folder / LAPSED)
    return lapsed and replace(lapsed, saved="")


def _read(path: Path) -> Mark | None:
    try:
        mark = Mark(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    words = (mark.uid, mark.host, mark.release, mark.lineage, mark.saved)
    if type(mark.epoch) is not int or not all(isinstance(word, str) for word in words):
        raise _unreadable(path, "it does not say what it should")
    return mark


def _unreadable(path: Path, why: str) -> Problem:
    return Problem(
        "who has the content cannot be read",
        f"{path}: {why}",
        "start the instance that has it; if it is gone for good: gate recover, in a new one",
        final=False,
    )


def save(folder: Path, mark: Mark) -> None:
    """Replace the mark; on return it is on the disk."""
    # Requests can be waiting for it.
    with Scratch(folder, quick=True) as scratch:
        part = scratch / NAME
        with part.open("w") as file:
            json.dump(asdict(mark), file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / NAME)
        (folder / LAPSED).unlink(missing_ok=True)
        sync_folder(folder)


def lapse(folder: Path) -> None:
    """What is signed is not true any more. On a full disk a file can still get another name."""
    with contextlib.suppress(FileNotFoundError):
        (folder / NAME).rename(folder / LAPSED)
