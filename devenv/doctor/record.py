"""What devenv has changed of this machine, so that it can be put back: kept where only root writes.

Each change stands here before it is made. What is under way stands apart (`pending`): who finds it knows
that its maker did not come to an end.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devenv.errors import DevenvError

PLACE = Path("/var/lib/devenv/machine.json")
VERSION = 1

_FILES = re.compile(r"/etc/apt/(sources\.list\.d|preferences\.d|apt\.conf\.d)/[A-Za-z0-9._-]+")
"""All that devenv writes, so all that it takes back, whatever the record says."""
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?")
_EMULATOR = re.compile(r"qemu-[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Before:
    """A file as it was."""

    content: bytes | None
    """None: there was none."""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Written:
    before: Before
    after: str
    """SHA-256 of what devenv has written: who changes it since keeps it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The engine was started by devenv, not before this moment."""

    boot: str
    ticks: int
    """Of the kernel's clock, in the unit of /proc/PID/stat."""
    managed: bool
    """By the service manager."""


@dataclass(frozen=True, slots=True)
class Record:
    files: Mapping[str, Written] = field(default_factory=dict)
    """By path; as they were before devenv came."""
    packages: tuple[str, ...] = ()
    """That were not there before."""
    pending: Mapping[str, Before] = field(default_factory=dict)
    """Files as they were before the installation that is under way."""
    engine: Started | None = None
    emulators: tuple[str, ...] = ()
    mounted: str = ""
    """The boot in which devenv has mounted binfmt_misc; empty: it has not."""

    @property
    def empty(self) -> bool:
        return self == Record()

    def with_packages(self, names: Iterable[str]) -> Record:
        return replace(self, packages=tuple(sorted({*self.packages, *names})))

    def done(self, written: Mapping[str, bytes]) -> Record:
        """The installation has come to its end. `written`: the files that it has put, as they are."""
        files = dict(self.files)
        for path, before in self.pending.items():
            if path in written:
                first = files[path].before if path in files else before
                files[path] = Written(first, digest(written[path]))
            else:
                # One of devenv's own that is not needed any more.
                files.pop(path, None)
        return replace(self, files=files, pending={})


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(place: Path = PLACE, owner: int = 0) -> Record:
    """What is recorded; nothing where there is no record.

    Raises DevenvError for one that somebody else than `owner` can have written, or that is none.
    """
    try:
        with place.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_uid != owner or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _unusable(place, "others than root can write to it")
            return read(file.read().decode())
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(place, f"{type(error).__name__}: {error}") from error


def read(text: str) -> Record:
    """Raises ValueError, KeyError, TypeError or AttributeError where this is no record."""
    raw = json.loads(text)
    if raw["version"] != VERSION:
        raise ValueError(f"its version is {raw['version']}, this devenv knows {VERSION}")
    engine = raw["engine"]
    found = Record(
        {path: Written(_before(one["before"]), str(one["after"])) for path, one in raw["files"].items()},
        tuple(str(name) for name in raw["packages"]),
        {path: _before(one) for path, one in raw["pending"].items()},
        Started(str(engine["boot"]), int(engine["ticks"]), bool(engine["managed"])) if engine else None,
        tuple(str(name) for name in raw["emulators"]),
        str(raw["mounted"]),
    )
    for known, values in (
        (_FILES, [*found.files, *found.pending]),
        (_PACKAGE, found.packages),
        (_EMULATOR, found.emulators),
    ):
        if strange := [value for value in values if not known.fullmatch(value)]:
            raise ValueError(f"devenv does not write {strange[0]!r}")
    return found


def text(record: Record) -> str:
    raw = {
        "version": VERSION,
        "files": {
            path: {"before": _raw(one.before), "after": one.after} for path, one in record.files.items()
        },
        "packages": record.packages,
        "pending": {path: _raw(one) for path, one in record.pending.items()},
        "engine": None
        if record.engine is None
        else {
            "boot": record.engine.boot,
            "ticks": record.engine.ticks,
            "managed": record.engine.managed,
        },
        "emulators": record.emulators,
        "mounted": record.mounted,
    }
    return json.dumps(raw, indent=2) + "\n"


def _raw(before: Before) -> dict[str, Any]:
    content = before.content
    return {
        "content": None if content is None else base64.b64encode(content).decode(),
        "mode": f"{before.mode:o}",
    }


def _before(raw: Mapping[str, Any]) -> Before:
    content, mode = raw["content"], int(raw["mode"], 8)
    if not 0 <= mode <= 0o777:
        raise ValueError(f"a file has no mode {mode:o}")
    return Before(None if content is None else base64.b64decode(content, validate=True), mode)


def _unusable(place: Path, why: str) -> DevenvError:
    return DevenvError(
        "the record of what devenv has changed of this machine cannot be used",
        f"{place}: {why}",
        "look at it; without it devenv changes nothing more, and takes nothing back",
    )
