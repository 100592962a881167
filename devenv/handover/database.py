"""The database file: copied while in use, frozen, compared block by block, checked."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sqlite3
import struct
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .own_words import OwnWords
from .problem import Problem
from .rawfile import connected, level, opened

BLOCK = 32 << 10
"""The unit of comparison. Small enough that scattered changes move little, large enough
that 200 MB are some 6,000 hashes."""
_DIGEST = 16
_HEADER = struct.Struct(">I")
_READ = 4 << 20
SIDE_FILES = ("-wal", "-shm", "-journal")
_SEEMING = re.compile(r"row not in PRIMARY KEY order|NULL value in|non-\w+ value in|\w+ value in")
"""What stand-ins for an application's own words make SQLite complain of."""


def backup(database: Path, into: Path) -> None:
    """A consistent copy of a database in use, at `into`.

    In WAL mode SQLite copies it and keeps nobody waiting; all pages in one step, since with small ones a
    steady writer makes it start over and over. In the others a writer waits for whoever reads: so most is
    copied as it comes, and only what differs then is brought up to date under SQLite's lock.
    """
    try:
        with connected(_uri(database, "rw"), timeout=30) as source:
            if _journal(source) == "wal" or not _copied(source, database, into):
                with closing(sqlite3.connect(into)) as target:
                    source.backup(target, pages=-1)
    except sqlite3.DatabaseError as error:
        into.unlink(missing_ok=True)
        raise unreadable(database, error) from error
    except OSError as error:
        into.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full(into.parent, str(error)) from error
        raise


def _copied(connection: sqlite3.Connection, database: Path, into: Path) -> bool:
    """False if the database has come into WAL mode meanwhile: then its file alone is not all of it."""
    with opened(database) as source, into.open("wb+") as target:
        level(source, target.fileno())
        connection.execute("BEGIN")
        # It locks as it reads: nobody has half of a change in the file, and a crashed writer's is taken back.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            if still := _journal(connection) != "wal":
                level(source, target.fileno())
        finally:
            connection.execute("ROLLBACK")
        if not still:
            target.truncate(0)
    return still


def _journal(connection: sqlite3.Connection) -> str:
    """The journal mode, in lower case. Reads the database for it."""
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def freeze(database: Path) -> None:
    """Bring all committed content into the one main file, with no server at work.

    Recovers a hot journal of a process that was killed, and empties a WAL. Where there is no
    file yet, an empty one is the same to SQLite.
    """
    database.touch()
    try:
        with connected(_uri(database, "rw"), timeout=5) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise Problem(
                    "the database is still in use",
                    f"a program other than the server holds {database}",
                    "end it (a shell, a cron job), then try again",
                    final=False,
                )
            # Nobody but us has it now: an exclusive lock can be had at once.
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        raise unreadable(database, error) from error


def is_damage(error: BaseException | None) -> bool:
    """Of the file itself, which no second try mends."""
    return isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def forget_empty(database: Path) -> None:
    """An empty file is none: an application may look whether there is one, and make its tables if not.

    For a file that nobody has open.
    """
    sides = [Path(f"{database}{suffix}") for suffix in SIDE_FILES]
    with suppress(FileNotFoundError):
        if database.stat().st_size == 0 and not any(side.exists() for side in sides):
            database.unlink()


def thaw(database: Path) -> None:
    """Let a file that was frozen and handed over be written again."""
    for suffix in SIDE_FILES:
        # Of readers since: they hold nothing, and are as read-only as the file was.
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    database.chmod(0o644)


@dataclass(frozen=True, slots=True)
class Checked:
    """What SQLite says of a whole database. Equal for two copies of the same."""

    damage: list[str]
    foreign_keys: str
    """A hash of their violations, which are compared with the owner's, not forbidden: an application may
    live with them."""
    own_words: list[str] = field(default_factory=list, compare=False)
    """The application's own collations and functions: what they decide (the order in an index, a CHECK) is
    not checked."""


def check(database: Path) -> Checked:
    """`database` is a copy that nobody uses: so nothing is made beside it."""
    with closing(sqlite3.connect(f"{_uri(database, 'ro')}&immutable=1", uri=True)) as connection:
        words = OwnWords(connection)
        try:
            words.learn_collations()
            rows = words.execute("PRAGMA integrity_check(20)").fetchall()
            if words.found:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                rows = words.execute("PRAGMA quick_check(1000)").fetchall()
                rows = [row for row in rows if not _SEEMING.match(row[0])]
            damage = [str(row[0]) for row in rows if row[0] != "ok"][:20]
            violations = words.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            return Checked([str(error)], "")
    keys = hashlib.sha256(ascii(sorted(map(ascii, violations))).encode()).hexdigest()
    return Checked(damage, keys, words.found)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def block_hashes(path: Path) -> bytes:
    """The hashes of all blocks, one after the other."""
    hashes = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(_READ):
            for start in range(0, len(chunk), BLOCK):
                block = chunk[start : start + BLOCK]
                hashes += hashlib.blake2b(block, digest_size=_DIGEST).digest()
    return bytes(hashes)


def write_difference(path: Path, known: bytes, into: Path) -> tuple[int, str]:
    """Write to `into` the blocks of `path` whose hashes are not those in `known`.

    One pass; returns the number of blocks written and the SHA-256 of all of `path`.
    """
    whole = hashlib.sha256()
    index = differing = 0
    with opened(path) as source, open(source, "rb", closefd=False) as file, into.open("wb") as target:
        while chunk := file.read(_READ):
            whole.update(chunk)
            for start in range(0, len(chunk), BLOCK):
                block = chunk[start : start + BLOCK]
                digest = hashlib.blake2b(block, digest_size=_DIGEST).digest()
                if digest != known[index * _DIGEST : (index + 1) * _DIGEST]:
                    target.write(_HEADER.pack(index))
                    target.write(block)
                    differing += 1
                index += 1
    return differing, whole.hexdigest()


def apply_difference(path: Path, difference: Path, size: int) -> None:
    """Make `path` the file of `size` bytes that `write_difference` was given, and sync it."""
    with path.open("r+b") as target, difference.open("rb") as source:
        target.truncate(size)
        while header := source.read(_HEADER.size):
            (index,) = _HEADER.unpack(header)
            target.seek(index * BLOCK)
            target.write(source.read(min(BLOCK, size - index * BLOCK)))
        target.flush()
        os.fsync(target.fileno())


def install(staged: Path, database: Path) -> None:
    """Put `staged` in the place of `database`. A journal of the old one must not be
    replayed into the new one, so it goes first."""
    for suffix in SIDE_FILES:
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    staged.rename(database)


def need_space(folder: Path, size: int) -> None:
    """Raise a `Problem` unless `folder` has room for `size` bytes and what SQLite adds."""
    free = shutil.disk_usage(folder).free
    wanted = size + (16 << 20)
    if free < wanted:
        raise disk_full(folder, f"{wanted >> 20} MiB are needed, {free >> 20} MiB are free")


def disk_full(folder: Path, why: str) -> Problem:
    return Problem(
        "the disk of the new instance is full",
        f"{folder}: {why}",
        "make room (docker system df shows what takes it), then try again",
    )


def is_disk_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "disk is full" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _uri(database: Path, mode: str) -> str:
    return f"{database.absolute().as_uri()}?mode={mode}"


def unreadable(database: Path, error: sqlite3.DatabaseError) -> Problem:
    """Why SQLite refuses `database`: a full disk, another program at work, damage."""
    if is_disk_full(error):
        return disk_full(database.parent, str(error))
    busy = "locked" in str(error)
    return Problem(
        "the database is busy" if busy else "the database cannot be read",
        f"{database}: {error}",
        "wait for the program that holds it, then try again"
        if busy
        else "save it as it is (devenv snapshot save), then restore an earlier one (devenv snapshot list,"
        " devenv snapshot restore NAME), or repair the copy with sqlite3 .recover",
        final=not busy,
    )
