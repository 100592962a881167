"""Folders that move with the database (sessions, uploads): most of it early, the rest in the pause.

The successor says which files it has, the owner sends those that differ and names those
that are gone. A file is the same if its size and times are; one that was changed just
before it was listed is sent again, since a change within the same tick would not show.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import tarfile
import time
from pathlib import Path
from typing import IO, Any

from .archive import HEADER, REGULAR, Reader
from .problem import Problem

RACY = 1.0
"""Seconds: coarser than the tick of any file system's clock."""
IN_MEMORY = 1 << 20
MANIFEST = "manifest"
"""The last entry of an archive; all others lie below a number."""

Manifest = dict[str, list[Any]]
"""path below the folders ("0/ab/file", the folder's number first, "0" itself): [size, mtime_ns, ctime_ns,
inode]; folders and links: ["dir", mode] and ["link", target]."""


def manifest(folders: tuple[Path, ...]) -> Manifest:
    """All that is in `folders` now. A file that vanishes meanwhile is not in it."""
    listed: Manifest = {}
    newest = time.time() - RACY
    for number, folder in enumerate(folders):
        if folder.is_dir():
            listed[str(number)] = ["dir", stat.S_IMODE(folder.stat().st_mode)]
        for root, names, files in os.walk(folder):
            for name in [*names, *files]:
                path = Path(root, name)
                key = f"{number}/{path.relative_to(folder)}"
                try:
                    info = path.lstat()
                    if stat.S_ISDIR(info.st_mode):
                        listed[key] = ["dir", stat.S_IMODE(info.st_mode)]
                    elif stat.S_ISLNK(info.st_mode):
                        listed[key] = ["link", str(path.readlink())]
                    elif stat.S_ISREG(info.st_mode):
                        # A racy file gets a time that no later listing will show again.
                        racy = 0 if info.st_ctime < newest else time.time_ns()
                        times = [info.st_mtime_ns, info.st_ctime_ns + racy]
                        listed[key] = [info.st_size, *times, info.st_ino]
                except FileNotFoundError:
                    continue
    return listed


def pack(folders: tuple[Path, ...], known: Manifest, into: Path) -> None:
    """Write to `into` (tar) what the receiver of `known` lacks, and what it then has."""
    now = manifest(folders)
    with tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, value in list(now.items()):
            if known.get(key) == value:
                continue
            number, _, relative = key.partition("/")
            try:
                path = folders[int(number)]
                # The folder itself may be a link to the one that is meant.
                _add(tar, path / relative if relative else path.resolve(), key)
            except FileNotFoundError:
                del now[key]
        listed = json.dumps(now).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(listed)
        tar.addfile(info, io.BytesIO(listed))


def _add(tar: tarfile.TarFile, path: Path, key: str) -> None:
    info = tar.gettarinfo(path, arcname=key)
    if info.islnk():  # a second name of a file that was sent already
        info.type, info.size = tarfile.REGTYPE, path.lstat().st_size
    if not info.isreg():
        tar.addfile(info)
        return
    with path.open("rb") as file:
        if info.size > IN_MEMORY:
            tar.addfile(info, file)
        else:
            # A session can shrink while it is read, which would leave half an entry.
            content = file.read()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def unpack(archive: Path, staging: Path) -> Manifest:
    """Bring `staging` to the state that `archive` describes, and return that. Nothing is
    written outside `staging`, whatever the archive says."""
    staging.mkdir(parents=True, exist_ok=True)
    try:
        has = _extract(archive, staging)
    except (tarfile.TarError, ValueError, LookupError, TypeError, RecursionError, struct.error) as error:
        raise _not_whole(str(error)) from error
    if has is None:
        raise _not_whole("it ends without saying what was in the folders")
    for folder, names, files in os.walk(staging, topdown=False):
        for name in [*names, *files]:
            relative = Path(folder, name).relative_to(staging)
            if str(relative) not in has:
                remove(Path(folder, name))
    if missing := [key for key in has if not os.path.lexists(staging / key)]:
        raise _not_whole(f"{missing[0]} is missing")
    return has


def _extract(archive: Path, staging: Path) -> Manifest | None:
    root = staging.resolve()
    has: Manifest | None = None
    with archive.open("rb") as file, tarfile.open(fileobj=Reader(file), mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            behind = member.isreg() and member.offset_data + member.size > archive.stat().st_size
            if member.size < 0 or behind:
                raise tarfile.ReadError(f"{member.name!r} has another length than it says")
            if member.name == MANIFEST and (content := tar.extractfile(member)):
                has = _listed(content)
                continue
            target = staging / member.name
            plain = member.type in REGULAR and member.sparse is None
            known_kind = plain or member.isdir() or member.issym()
            if not known_kind or ".." in target.parts or not target.parent.resolve().is_relative_to(root):
                raise Problem(
                    "the owner sent something that does not belong into the travelling folders",
                    repr(member.name),
                    "nothing was taken; look at the owner's container",
                )
            if target.is_symlink() or (target.exists() and not (member.isdir() and target.is_dir())):
                remove(target)
            tar.extract(member, staging, numeric_owner=True)
            if member.isreg():
                _sync(target)
    return has


def _listed(content: IO[bytes]) -> Manifest:
    listed = json.loads(b"".join(iter(lambda: content.read(HEADER), b"")))
    if not isinstance(listed, dict):
        raise ValueError("its list of what was in the folders is none")
    return listed


def _not_whole(why: str) -> Problem:
    return Problem(
        "what came of the travelling folders is not whole", why, "nothing was taken; try again", final=False
    )


def require_place(staging: Path, folders: tuple[Path, ...]) -> None:
    """Raise a `Problem` unless `install` will be able to put each folder in its place."""
    for folder in folders:
        where = next(path for path in (folder, *folder.parents) if path.exists())
        if folder.is_mount() or where.stat().st_dev != staging.stat().st_dev:
            raise Problem(
                "a travelling folder is a mount point",
                f"{folder} cannot be replaced as a whole: it is not on the file system of {staging}",
                "mount the folder of the database as a whole, or leave it out of GATE_TRAVEL",
            )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """A file, a link, or a folder with all that is in it; nothing is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
