"""What a database holds, in a form that two sides can compare.

Per table the number of rows and a hash of their content in row order, and one hash over
all tables with their definitions. It depends on content alone: a copy, a VACUUM or
another page size gives the same. devenv computes it with this same code.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from .database import unreadable
from .own_words import OwnWords
from .record import FORMAT

Fingerprint = dict[str, Any]
"""{"format": 1, "tables": {name: {"rows": int, "hash": hex}}, "total": hex, "seconds": float,
"own_words": [what was read without the application's code for it]}"""

# Part of the format: a table's hash runs over its rows in groups of this many.
LARGE = 4096
"""Of a value in a row, in bytes or characters."""
ROWS_AT_ONCE = 1000


def fingerprint(database: Path) -> Fingerprint:
    """Read `database`, which nobody changes meanwhile. A `Problem` if not all of it can be read."""
    try:
        return _read(database)
    except sqlite3.DatabaseError as error:
        # By its name alone: it is a copy in a folder that is gone by now.
        raise unreadable(Path(database.name), error) from error


def _read(database: Path) -> Fingerprint:
    started = time.monotonic()
    tables: dict[str, dict[str, Any]] = {}
    total = hashlib.blake2b(digest_size=16)
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        # Bytes that are not UTF-8 can stand in a TEXT column; they count as they are.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.row_factory = _short
        connection.execute("BEGIN")
        words = OwnWords(connection)
        words.learn_collations()
        names = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
            " AND (name NOT LIKE 'sqlite~_%' ESCAPE '~' OR name = 'sqlite_sequence')"
            " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall()
        for name, sql in names:
            tables[name] = _table(words, name)
            total.update(ascii((name, sql, tables[name]["rows"], tables[name]["hash"])).encode())
    return {
        "format": FORMAT,
        "tables": tables,
        "total": total.hexdigest(),
        "own_words": words.found,
        "seconds": round(time.monotonic() - started, 4),
    }


def _short(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with the hashes of its large values: many rows of those do not fit into memory."""
    if any(isinstance(value, bytes | str) and len(value) > LARGE for value in row):
        return tuple(
            (type(value).__name__, len(value), _digest(value))
            if isinstance(value, bytes | str) and len(value) > LARGE
            else value
            for value in row
        )
    return row


def _digest(value: bytes | str) -> str:
    content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _table(words: OwnWords, name: str) -> dict[str, Any]:
    """A column that the application's own code computes as it is read is the same as if it were NULL."""
    quoted = '"' + name.replace('"', '""') + '"'
    # By the table itself: an index that has all columns would give another order.
    cursor = words.execute(f"SELECT * FROM {quoted} NOT INDEXED")  # noqa: S608 - a name cannot be bound
    content = hashlib.blake2b(digest_size=16)
    content.update(ascii([column[0] for column in cursor.description]).encode())
    rows = 0
    while group := cursor.fetchmany(ROWS_AT_ONCE):
        # ascii(), not repr(): what counts as printable differs between Python releases.
        content.update(ascii(group).encode())
        rows += len(group)
    return {"rows": rows, "hash": content.hexdigest()}
