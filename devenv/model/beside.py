"""What lies beside the database and belongs to the content: what came along, and what stayed behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from devenv.model.instance import is_count
from devenv.model.words import name, size


@dataclass(frozen=True, slots=True)
class Counted:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Left:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")
    path: str
    """An entry of `[app] leave`."""
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Beside:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")
    changed: Counted
    """What an instance has made or changed in the writable folders."""
    left: tuple[Left, ...]
    """What stays behind."""


def beside(changed: object, left: object) -> Beside | None:
    """As a gate or a snapshot tells it; None where it tells nothing that makes sense."""
    counted = _counted(changed)
    if counted is None or not isinstance(left, Mapping):
        return None
    stayed = ((str(key), _counted(value)) for key, value in left.items())
    return Beside(counted, tuple(Left(key, one.files, one.bytes) for key, one in stayed if one))


def _counted(said: object) -> Counted | None:
    if not isinstance(said, Mapping):
        return None
    if not all(is_count(said.get(one)) for one in ("files", "bytes")):
        return None
    return Counted(said["files"], said["bytes"])


def in_words(found: Beside | None) -> str:
    """For the end of a line: "12 files beside it (3.1 MB); stays behind: var/cache (120 files, 2.0 MB)"."""
    if found is None:
        return ""
    words = []
    if found.changed.files:
        words.append(f"{_files(found.changed.files)} beside it ({size(found.changed.bytes)})")
    if found.left:
        stayed = (f"{name(one.path)} ({_files(one.files)}, {size(one.bytes)})" for one in found.left)
        words.append(f"stays behind: {', '.join(stayed)}")
    return "; ".join(words)


def of_snapshot(said: Mapping[str, Any]) -> Beside | None:
    return beside(said.get("changed"), said.get("left"))


def missed(said: Mapping[str, Any], database: str) -> str:
    """What a snapshot tells of databases, where there is none under the name that devenv.toml has."""
    found = said.get("elsewhere")
    if said.get("bytes") or not isinstance(found, list) or not found:
        return ""
    return (
        f"there is no {name(database)} yet, but {', '.join(name(str(one)) for one in found)} came into being:"
        " [app] database of devenv.toml names the main one"
    )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
