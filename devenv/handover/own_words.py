"""Words of SQL that an application has made itself: collations and functions that live in its own code.

A database that uses some is whole, and can be read, but not all of it can be checked from outside.
"""

from __future__ import annotations

import re
import sqlite3

_UNKNOWN = re.compile(r"(?:no such|unknown) (collation sequence|function): ([^()]+)")
_COLLATE = re.compile(r"""\bCOLLATE\s+(?:"([^"]+)"|`([^`]+)`|\[([^\]]+)\]|'([^']+)'|(\w+))""", re.IGNORECASE)
_MOST = 200
"""So many different ones nobody has."""


class OwnWords:
    """Of one connection. Where a statement fails for one of them, a stand-in is put in its place."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.found: list[str] = []
        """Such as `function slug`, in the order in which they were met."""

    def learn_collations(self) -> None:
        """Where one is missing, SQLite may not name it, but find no way to read a table."""
        known = {name.upper() for _, name in self._connection.execute("PRAGMA collation_list")}
        for (sql,) in self._connection.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%collate%'"):
            for found in _COLLATE.finditer(sql):
                name = next(filter(None, found.groups()))
                if name.upper() not in known:
                    self._stand_in(f"no such collation sequence: {name}")

    def execute(self, statement: str) -> sqlite3.Cursor:
        """As a connection does. A function of the application's gives NULL, a collation compares bytes."""
        while True:
            try:
                return self._connection.execute(statement)
            except sqlite3.OperationalError as error:
                if not self._stand_in(str(error)):
                    raise

    def _stand_in(self, error: str) -> bool:
        found = _UNKNOWN.search(error)
        if found is None or len(self.found) >= _MOST:
            return False
        kind, name = found[1].removesuffix(" sequence"), found[2]
        if f"{kind} {name}" in self.found:
            return False
        self.found.append(f"{kind} {name}")
        if kind == "collation":
            self._connection.create_collation(name, _by_bytes)
        else:
            self._connection.create_function(name, -1, _null, deterministic=True)
        return True


def _by_bytes(one: str, other: str) -> int:
    return (one > other) - (one < other)


def _null(*_: object) -> None:
    return None
