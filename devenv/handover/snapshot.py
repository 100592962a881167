"""A snapshot: one tar file with the database, the travelling folders, and what they are.

``snapshot.json`` {format, lineage, epoch, release, time, sha256, bytes, fingerprint},
``database.sqlite`` and ``travel.tar``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from . import database, travel
from .fingerprint import fingerprint
from .problem import Problem
from .record import FORMAT, Record, Role, sync_folder
from .settings import Settings

Description = dict[str, Any]
KEPT = 10
"""So many snapshots stay in the volume."""
_LINEAGE = "lineage"


def write(settings: Settings, record: Record, into: IO[bytes]) -> Description:
    """Write a snapshot of the current content to `into`. Takes room for a copy beside the database."""
    with tempfile.TemporaryDirectory(dir=settings.state) as name:
        scratch = Path(name)
        copy = scratch / "database.sqlite"
        database.need_space(scratch, settings.database.stat().st_size)
        if record.role is Role.OWNER:
            database.backup(settings.database, copy)
        else:
            shutil.copyfile(settings.database, copy)
        travel.pack(settings.travel, {}, scratch / "travel.tar")
        description: Description = {
            "format": FORMAT,
            "lineage": record.lineage,
            "epoch": record.epoch,
            "release": settings.release,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sha256": database.sha256(copy),
            "bytes": copy.stat().st_size,
            "fingerprint": fingerprint(copy),
        }
        (scratch / "snapshot.json").write_text(json.dumps(description))
        with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for part in ("snapshot.json", "database.sqlite", "travel.tar"):
                tar.add(scratch / part, arcname=part)
    return description


def save(settings: Settings, record: Record) -> Description:
    """Write a snapshot into the volume; on return it is on the disk. Adds its file's name."""
    folder = settings.snapshots
    if folder is None:
        raise Problem(
            "there is no place for snapshots",
            "GATE_SNAPSHOTS names no folder",
            "mount a volume there, or write the snapshot to stdout: gate snapshot -o -",
        )
    part = folder / f".part-{record.uid}"
    try:
        with part.open("wb") as file:
            description = write(settings, record, file)
            file.flush()
            os.fsync(file.fileno())
        stamp = description["time"].replace("-", "").replace(":", "")
        path = folder / f"{stamp}-{record.epoch:04d}-{settings.release}.tar"
        part.rename(path)
        lineage = folder / f"{_LINEAGE}.part"
        lineage.write_text(record.lineage)
        lineage.rename(folder / _LINEAGE)
        sync_folder(folder)
    finally:
        part.unlink(missing_ok=True)
    for old in sorted(folder.glob("*.tar"))[:-KEPT]:
        old.unlink()
    return {**description, "file": path.name}


def newest(folder: Path | None) -> Path | None:
    """The newest snapshot of the lineage that was saved last, if any is whole."""
    if folder is None:
        return None
    lineage = folder / _LINEAGE
    wanted = lineage.read_text() if lineage.exists() else None
    for path in sorted(folder.glob("*.tar"), reverse=True):
        if wanted in (None, describe(path)["lineage"]):
            return path
    return None


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
    except (OSError, tarfile.TarError, ValueError) as error:
        raise _no_snapshot(path, str(error)) from error
    if description.get("format", 0) > FORMAT:
        raise _no_snapshot(path, f"its format {description['format']} is newer than this release knows")
    return description


def install(path: Path, staging: Path, into: Path, folders: tuple[Path, ...]) -> Description:
    """Put the content of the snapshot at `path` in the place of the database and the folders."""
    description = describe(path)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    database.need_space(staging, description["bytes"])
    copy, archive = staging / "database.sqlite", staging / "travel.tar"
    try:
        with tarfile.open(path) as tar:
            for target in (copy, archive):
                _extract(tar, target)
    except (KeyError, tarfile.TarError) as error:
        raise _no_snapshot(path, f"it is not whole: {error}") from error
    with copy.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != description["sha256"]:
            raise _no_snapshot(path, "its database is not the one that was saved: the SHA-256 differs")
    damage, _ = database.check(copy)
    if damage:
        raise _no_snapshot(path, f"its database is damaged: {'; '.join(damage)}")
    travel.unpack(archive, staging / "travel")
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


def _no_snapshot(path: Path, why: str) -> Problem:
    return Problem(
        "a snapshot cannot be used", f"{path.name}: {why}", "choose another one: devenv snapshot list"
    )
