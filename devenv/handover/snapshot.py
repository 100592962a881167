"""A snapshot: one tar file with the database, the travelling folders, and what they are.

``snapshot.json`` {format, lineage, epoch, release, time, sha256, bytes, damage, fingerprint},
``database.sqlite`` and ``travel.tar``. A damaged database is saved as it is: then ``damage`` says
what is wrong with it, and ``fingerprint`` is null if not all of it can be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from . import database, travel
from . import mark as marks
from .fingerprint import fingerprint
from .problem import Problem
from .record import FORMAT, Record, Role, sync_folder
from .scratch import Scratch
from .settings import Settings

Description = dict[str, Any]
KEPT = 10
"""So many snapshots stay in the volume."""
_NEEDED = {"lineage", "epoch", "time", "release", "sha256", "bytes"}


class Unusable(Problem):
    """A file that is no whole snapshot."""


PassedOver = Callable[[Path, Problem], None]


def write(settings: Settings, record: Record, into: IO[bytes], still: bool = False) -> Description:
    """Write a snapshot of the current content to `into`, a file: whoever freezes the content waits for it."""
    with Taken(settings) as taken:
        description = taken.of(record, still)
        taken.pack(into)
    return description


class Taken:
    """A snapshot while it is made, in a folder beside the database, which takes room for a copy."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Scratch(settings.state)
        self._parts: list[str] = []

    def __enter__(self) -> Taken:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()

    def of(self, record: Record, still: bool = False) -> Description:
        """Copy the current content, which must not be moved meanwhile.

        `still`: nobody writes any more, so also a database that SQLite cannot open can be copied.
        """
        settings = self._settings
        scratch = self._folder.path
        copy = scratch / "database.sqlite"
        database.need_space(scratch, settings.database.stat().st_size)
        parts = ["snapshot.json", "database.sqlite", "travel.tar"]
        if record.role is Role.OWNER:
            # First: SQLite may remove those of a file that it takes for none of its own.
            sides = _side_files(settings.database, scratch) if still else []
            try:
                database.backup(settings.database, copy)
            except Problem as problem:
                if not (still and problem.final):
                    raise
                shutil.copyfile(settings.database, copy)
                parts += sides
        else:
            shutil.copyfile(settings.database, copy)
        travel.pack(settings.travel, {}, scratch / "travel.tar")
        damage, _ = database.check(copy)
        try:
            content = fingerprint(copy)
        except Problem as problem:
            content, damage = None, damage or [problem.why]
        description: Description = {
            "format": FORMAT,
            "lineage": record.lineage,
            "epoch": record.epoch,
            "release": settings.release,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sha256": database.sha256(copy),
            "bytes": copy.stat().st_size,
            "damage": damage,
            "fingerprint": content,
        }
        (scratch / "snapshot.json").write_text(json.dumps(description))
        self._parts = parts
        return description

    def pack(self, into: IO[bytes]) -> None:
        """Write what was copied. The content itself is not needed any more."""
        with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for part in self._parts:
                tar.add(self._folder.path / part, arcname=part)


def _side_files(path: Path, into: Path) -> list[str]:
    """The names of their copies, which go along for whoever mends it: nothing restores them."""
    names = []
    for suffix in database.SIDE_FILES:
        side = Path(f"{path}{suffix}")
        if side.exists():
            names.append(f"{side.name}.saved")
            shutil.copyfile(side, into / names[-1])
    return names


def save(settings: Settings, record: Record, still: bool = False) -> Description:
    """Write a snapshot into the volume; on return it is on the disk. Adds its file's name."""
    folder = settings.snapshots
    if folder is None:
        raise Problem(
            "there is no place for snapshots",
            "GATE_SNAPSHOTS names no folder",
            "mount a volume there, or write the snapshot to stdout: gate snapshot -o -",
        )
    # Two may be saved at once: by hand, and at the end of the instance.
    with Scratch(folder) as scratch:
        part = scratch / "snapshot.tar"
        with part.open("xb") as file:
            description = write(settings, record, file, still)
            file.flush()
            os.fsync(file.fileno())
        stamp = description["time"].replace("-", "").replace(":", "")
        path = folder / f"{stamp}-{record.epoch:04d}-{settings.release}.tar"
        part.rename(path)
        sync_folder(folder)
    for old in sorted(folder.glob("*.tar"))[:-KEPT]:
        if old != path:  # a clock may have gone back
            old.unlink(missing_ok=True)
    return {**description, "file": path.name}


def newest(folder: Path | None, passed_over: PassedOver | None = None) -> Path | None:
    """The newest snapshot of the content that was served last; those that are none are passed over."""
    return next(iter(_newest_first(folder, passed_over or _nobody)), None)


def restore_newest(settings: Settings, passed_over: PassedOver) -> tuple[Path, Description] | None:
    """Put the newest whole snapshot in place; None if there is none at all.

    Raises `Problem` if there are some, and not one of them can be used: beginning anew would
    sooner or later put an empty one in the place of what may be mended.
    """
    unusable: Problem | None = None
    for path in _newest_first(settings.snapshots, passed_over):
        try:
            return path, install(path, settings.staging, settings.database, settings.travel)
        except Unusable as problem:
            passed_over(path, problem)
            unusable = problem
    if unusable is not None:
        raise unusable
    return None


def _newest_first(folder: Path | None, passed_over: PassedOver) -> list[Path]:
    if folder is None:
        return []
    described: list[tuple[Path, Description]] = []
    unusable: Problem | None = None
    for path in sorted(folder.glob("*.tar"), reverse=True):
        try:
            described.append((path, describe(path)))
        except Unusable as problem:
            passed_over(path, problem)
            unusable = problem
    found = [path for path, _ in described]
    if (last := marks.load(folder)) is not None:
        # By epoch first: the clock may have gone back.
        of_it = [
            (said["epoch"], path.name, path) for path, said in described if said["lineage"] == last.lineage
        ]
        # Content that was recovered has a lineage of its own, and may not have been saved since.
        found = [path for *_, path in sorted(of_it, reverse=True)] or found
    if not found and unusable is not None:
        raise unusable
    return found


def _nobody(path: Path, problem: Problem) -> None:
    """Is told nothing."""


def describe(path: Path) -> Description:
    """What a snapshot says of itself. Raises `Problem` if it is none."""
    try:
        with tarfile.open(path) as tar:
            first = tar.next()
            if first is None or first.name != "snapshot.json" or first.size > 16 << 20:
                raise _no_snapshot(path, "it does not begin with snapshot.json")
            content = tar.extractfile(first)
            assert content is not None
            description: Description = json.load(content)
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise _no_snapshot(path, str(error)) from error
    known = isinstance(description, dict) and isinstance(description.get("format"), int)
    if known and description["format"] > FORMAT:
        # Not passed over for an older one: an older release has been started.
        problem = _no_snapshot(path, f"its format {description['format']} is newer than this release knows")
        raise Problem(problem.error, problem.why, problem.next_step)
    if not known or not description.keys() >= _NEEDED:
        raise _no_snapshot(path, "its snapshot.json does not say what it is")
    return description


def install(path: Path, staging: Path, into: Path, folders: tuple[Path, ...]) -> Description:
    """Put the content of the snapshot at `path` in the place of the database and the folders."""
    description = describe(path)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    database.need_space(staging, description["bytes"])
    travel.require_place(staging, folders)
    copy, archive = staging / "database.sqlite", staging / "travel.tar"
    try:
        with tarfile.open(path) as tar:
            for target in (copy, archive):
                _extract(tar, target)
    except (KeyError, EOFError, tarfile.TarError) as error:
        raise _no_snapshot(path, f"it is not whole: {error}") from error
    with copy.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != description["sha256"]:
            raise _no_snapshot(path, "its database is not the one that was saved: the SHA-256 differs")
    damage, _ = database.check(copy)
    if damage and not description.get("damage"):
        raise _no_snapshot(path, f"its database is damaged: {'; '.join(damage)}")
    try:
        travel.unpack(archive, staging / "travel")
    except Problem as problem:
        raise _no_snapshot(path, f"{problem.error}: {problem.why}") from problem
    database.install(copy, into)
    travel.install(staging / "travel", folders)
    sync_folder(into.parent)
    shutil.rmtree(staging)
    return description


def _extract(tar: tarfile.TarFile, target: Path) -> None:
    content = tar.extractfile(target.name)
    if content is None:
        raise KeyError(f"no file {target.name}")
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _no_snapshot(path: Path, why: str) -> Unusable:
    return Unusable(
        "a snapshot cannot be used", f"{path.name}: {why}", "choose another one: devenv snapshot list"
    )
