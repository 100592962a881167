"""Fingerprints as instances give them, read strictly: a verdict on the content hangs on each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from devenv.model.receipt import compare

_HASH = re.compile(r"[0-9a-f]{32}")
_OF_NOTHING = hashlib.blake2b(digest_size=16).hexdigest()
"""The total of a database without a table."""


def checked(raw: object) -> Mapping[str, Any]:
    """`raw` as it is, if it is a whole fingerprint; else a ValueError that says what is wrong."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{raw!r} instead of a fingerprint")
    tables, total = raw.get("tables"), raw.get("total")
    if not isinstance(total, str) or not _HASH.fullmatch(total):
        raise ValueError(f"its total is {total!r}")
    if not isinstance(tables, Mapping):
        raise ValueError(f"its tables are {tables!r}")
    for name, table in tables.items():
        if not isinstance(table, Mapping) or not _is_whole(table):
            raise ValueError(f"of its table {name} it says {table!r}")
    if bool(tables) == (total == _OF_NOTHING):
        raise ValueError(
            f"it names {len(tables)} tables, and its total is that of {'none' if tables else 'some'}"
        )
    return raw


def _is_whole(table: Mapping[str, Any]) -> bool:
    rows, content = table.get("rows"), table.get("hash")
    return type(rows) is int and rows >= 0 and isinstance(content, str) and bool(_HASH.fullmatch(content))


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Where two fingerprints differ, in words; empty where they are of the same content."""
    differing = [table.name for table in compare(before, after) if not table.same]
    if before["total"] == after["total"] and not differing:
        return ""
    return f"the fingerprints differ in {', '.join(differing) or 'their definitions'}"
