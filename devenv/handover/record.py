"""The record of an instance: who it is in the life of a database.

It lies beside the database, in storage that lives exactly as long, and is on the disk
before anyone is told of a change. A restarted instance goes on from it.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from .problem import Problem

FORMAT = 1


class Role(StrEnum):
    FRESH = "fresh"
    """Has no database yet."""
    INCOMING = "incoming"
    """Fetches one; `token` names the attempt at its owner."""
    OWNER = "owner"
    MOVED = "moved"
    """Handed its database to `successor`; relays to it."""


@dataclass(frozen=True, slots=True)
class Successor:
    uid: str
    address: str
    """Where it accepts FastCGI, as ``host:port``."""
    control: str
    """Where its gate answers, as ``host:port``."""
    token: str
    """Of the attempt that took the database."""


@dataclass(frozen=True, slots=True)
class Record:
    uid: str = field(default_factory=lambda: secrets.token_hex(8))
    role: Role = Role.FRESH
    lineage: str = ""
    """The birth of the database, which its copies share."""
    epoch: int = 0
    """How many owners the database has had, this one included."""
    token: str = ""
    """Incoming: of our own attempt to take the database."""
    staged: bool = False
    """The staging folder is complete and verified; what is left is to put it in place."""
    predecessor: str = ""
    """The control address of the owner that the token was, or is, used with."""
    predecessor_uid: str = ""
    """Who that is: addresses change hands when an engine starts anew."""
    served: bool = False
    """Owner: somebody may have read from it or written to it."""
    restored: dict[str, Any] | None = None
    """The snapshot that the content began with: its file's name and its time."""
    discard: bool = False
    """Fresh: the database on the disk was begun after another instance's, and goes."""
    begun_after: str = ""
    """The signature that lay beside the snapshots when this instance began without a predecessor, or was
    recovered: that one does not supersede it."""
    host: str = ""
    """Where it was written: another host has a copy of the disk, and is another instance."""
    copied: bool = False
    """It is such a copy, and has not seen yet that nobody serves what it is one of."""
    successor: Successor | None = None
    """Moved: who has the database. Incoming again, to take it back: who still has it."""
    sha256: str = ""
    """Of the database as it was handed over, by us or to us."""
    format: int = FORMAT

    def evolve(self, **changes: Any) -> Record:
        return replace(self, **changes)


def load(path: Path) -> Record | None:
    """The record at `path`, or None where there is none. A damaged one is a `Problem`."""
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    try:
        if raw["format"] > FORMAT:
            raise _unreadable(path, f"its format {raw['format']} is newer than this release knows")
        successor = raw.pop("successor")
        return Record(
            **{**raw, "role": Role(raw["role"])},
            successor=Successor(**successor) if successor else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, repr(error)) from error


def _unreadable(path: Path, why: str) -> Problem:
    return Problem(
        "the record of this instance cannot be read",
        f"{path}: {why}",
        "the database beside it is untouched: save it, then remove this instance",
    )


def save(path: Path, record: Record) -> None:
    """Replace the record at `path`; on return it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within `folder` last."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
