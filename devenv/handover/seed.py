"""The content of a first start, as a build finds it: whoever made it may have left it open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from . import database
from .problem import Problem
from .rawfile import connected

_SQLITE = b"SQLite format 3\0"
_LFS = b"version https://git-lfs"


def take(source: Path, into: Path) -> bool:
    """Make `source`, a copy that nobody else uses, the seed at `into`; False if there is none.

    What its last program had not brought into the file yet (a WAL), or had not taken back (a hot journal),
    SQLite brings in order. Raises `Problem` for what is no whole database.
    """
    if not source.is_file():
        return False
    _require_database(source)
    # An index of the WAL that other processes had in common: SQLite makes it anew.
    Path(f"{source}-shm").unlink(missing_ok=True)
    source.chmod(0o600)
    try:
        with connected(f"{source.absolute().as_uri()}?mode=rw", timeout=5) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.DatabaseError as error:
        raise _unfit(source, str(error)) from error
    if damage := database.check(source).damage:
        raise _unfit(source, "; ".join(damage))
    into.parent.mkdir(parents=True, exist_ok=True)
    source.replace(into)
    for suffix in database.SIDE_FILES:
        Path(f"{source}{suffix}").unlink(missing_ok=True)
    into.chmod(0o644)
    return True


def _require_database(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if head == _LFS:
        raise Problem(
            "the seed is no database", f"{path} is a pointer of Git LFS to one", "fetch it: git lfs pull"
        )
    if head and not head.startswith(_SQLITE):
        raise Problem(
            "the seed is no database",
            f"{path} is no file of SQLite 3",
            "put the database there, or remove the file: then the application makes one",
        )


def _unfit(path: Path, why: str) -> Problem:
    return Problem(
        "the seed cannot be used",
        f"{path}: {why}",
        "if a program has it open, end that one and build again; or make a copy of it: sqlite3 FILE '.backup"
        " COPY'; or remove it: then the application makes a database",
    )
