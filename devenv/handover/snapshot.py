"""A snapshot: one tar file with the database, what has changed beside it, and what they are.

``snapshot.json`` {format, lineage, epoch, release, time, sequence, sha256, bytes, damage, fingerprint,
changed, left, absent, elsewhere}, ``database.sqlite`` and ``changes.tar``. A damaged database is saved as it
is: then ``damage`` says what is wrong with it, and ``fingerprint`` is null if not all of it can be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from . import archive as archives
from . import changes, database
from . import mark as marks
from .archive import Archive, Unsound
from .fingerprint import fingerprint
from .problem import Problem
from .record import Record, Role, sync_folder
from .scratch import Scratch
from .settings import Settings

Description = dict[str, Any]
FORMAT = 2
_MOST = (1 << 63) - 1
"""Of a count that is believed."""
KEPT = 10
"""So many snapshots stay in the volume."""
_ABOUT, _DATABASE, _CHANGES = "snapshot.json", "database.sqlite", "changes.tar"
_FOLDERS = "travel.tar"
"""Instead of the changes, in the first format: folders that were named, by number. The first one was that of
the sessions, unless somebody had said otherwise."""
_ABOUT_SIZE = 8 << 20
_NAMED = 3
"""So many further databases are named, where there is none under the name that was given."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


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
        parts = [_ABOUT, _DATABASE, _CHANGES]
        elsewhere: list[str] = []
        if settings.database.exists():
            database.need_space(scratch, settings.database.stat().st_size)
            parts += self._copy(copy, record, still)
        else:
            copy.touch()  # the application has made none yet: to SQLite an empty file is the same
            elsewhere = changes.databases(settings)[:_NAMED]
        changed = changes.pack(settings, {}, scratch / _CHANGES, still=still)
        left = changes.left(settings)
        damage = database.check(copy).damage
        try:
            content = fingerprint(copy)
        except Problem as problem:
            content, damage = None, damage or [problem.why]
        description: Description = {
            "format": FORMAT,
            "lineage": record.lineage,
            "epoch": record.epoch,
            "release": settings.release,
            "time": time.strftime(_TIME, time.gmtime()),
            "sequence": _next(settings.snapshots),
            "sha256": database.sha256(copy),
            "bytes": copy.stat().st_size,
            "damage": damage,
            "fingerprint": content,
            "changed": asdict(changed),
            "absent": not settings.database.exists(),
            "elsewhere": elsewhere,
            "left": {key: asdict(one) for key, one in left.items()},
        }
        (scratch / "snapshot.json").write_text(json.dumps(description))
        self._parts = parts
        return description

    def _copy(self, copy: Path, record: Record, still: bool) -> list[str]:
        """The database; the names of what goes along with one that SQLite cannot open."""
        path = self._settings.database
        if record.role is not Role.OWNER:
            shutil.copyfile(path, copy)
            return []
        # First: SQLite may remove those of a file that it takes for none of its own.
        sides = _side_files(path, self._folder.path) if still else []
        try:
            database.backup(path, copy)
        except Problem as problem:
            if not (still and problem.final):
                raise
            shutil.copyfile(path, copy)
            return sides
        return []

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
    named = _named(folder)
    for old in [path for *_, path in sorted(_in_order(folder))][:-KEPT]:
        if old != path and old.name != named:
            # Whatever lies there under such a name (a folder): the snapshot itself is saved.
            with contextlib.suppress(OSError):
                old.unlink()
    return {**description, "file": path.name}


def _next(folder: Path | None) -> int:
    """The place of a new snapshot among all of a volume: no clock tells, which may have gone back."""
    if folder is None:
        return 0
    return min(1 + max((sequence for sequence, *_ in _in_order(folder)), default=0), _MOST)


def _in_order(folder: Path) -> Iterator[tuple[int, int, str, Path]]:
    """All in the volume, each with its place; one of an earlier release has only an epoch and a name."""
    for path in folder.glob("*.tar"):
        sequence = epoch = 0
        with contextlib.suppress(Problem):
            said = describe(path)
            sequence, epoch = said.get("sequence") or 0, said["epoch"]
        yield sequence, epoch, path.name, path


def _named(folder: Path) -> str:
    """The snapshot that the next first start needs."""
    try:
        mark = marks.load(folder)
    except Problem:
        return ""
    return mark.saved if mark else ""


def newest(folder: Path | None, passed_over: PassedOver | None = None) -> Path | None:
    """The newest snapshot of the content that was served last; those that are none are passed over."""
    return next(iter(_newest_first(folder, passed_over or _nobody)), None)


def stage_last(
    settings: Settings, passed_over: PassedOver, *, forsaken: bool = False
) -> tuple[Path, Description] | None:
    """Stage the snapshot that a new instance begins with; None if there is none at all.

    Where the last owner has signed, that is the one that it named as having all of its content, and no
    other; unless a person has `forsaken` it. Else it is the newest whole one. Raises `Problem` where the
    named one, or all of several, cannot be used: beginning with less is a person's decision.
    """
    mark = None if forsaken else marks.load(settings.snapshots)
    if mark is not None:
        if mark.saved == marks.NOTHING:
            _require_none(settings.snapshots, mark)
            return None
        if mark.saved:
            return _stage_named(settings, mark)
    unusable: Problem | None = None
    for path in _newest_first(settings.snapshots, passed_over):
        try:
            return path, stage(path, settings)
        except Unusable as problem:
            passed_over(path, problem)
            unusable = problem
    if unusable is not None:
        raise unusable
    return None


def _stage_named(settings: Settings, mark: marks.Mark) -> tuple[Path, Description] | None:
    assert settings.snapshots is not None
    path = settings.snapshots / mark.saved
    try:
        if path.name != mark.saved:
            raise _no_snapshot(path, "that is no name of a file beside the signature")
        description = stage(path, settings)
        if description["lineage"] != mark.lineage:
            raise _no_snapshot(path, "it is of another database")
    except Unusable as problem:
        raise _a_persons_decision(
            f"{mark} saved all of its content as {mark.saved}, and that one cannot be used: {problem.why}"
        ) from problem
    if not description["bytes"]:
        _require_none(settings.snapshots, mark)
        if (changed := description.get("changed")) and not changed["files"]:
            # Nobody has written anything: the next one begins as the first did, perhaps with a seed by now.
            changes.discard(settings)
            tell_absent(settings, absent=False)
            return None
    return path, description


def _require_none(folder: Path | None, mark: marks.Mark) -> None:
    """Its database was not there at its end: so it never was, or somebody has removed it."""
    described = ((path, describe(path)) for path in _newest_first(folder, _nobody))
    found = [path for path, said in described if said["lineage"] == mark.lineage and said["bytes"]]
    if found:
        raise _a_persons_decision(
            f"{mark} had no database at its end, though it had one when it was saved as {found[0].name}"
        )


def _a_persons_decision(why: str) -> Problem:
    return Problem(
        "the last content cannot be restored",
        why,
        "put the file back, or mend it; to begin with the newest snapshot that can be used:"
        f" devenv recover --from {socket.gethostname()} (by hand: gate recover, in it)",
    )


def _newest_first(folder: Path | None, passed_over: PassedOver) -> list[Path]:
    if folder is None:
        return []
    described: list[tuple[Path, Description]] = []
    unusable: Problem | None = None
    for *_, path in sorted(_in_order(folder), reverse=True):
        try:
            described.append((path, describe(path)))
        except Unusable as problem:
            passed_over(path, problem)
            unusable = problem
    found = [path for path, _ in described]
    last = None
    with contextlib.suppress(Problem):  # what cannot be read says nothing, and a person has been asked
        last = marks.load(folder)
    if last is not None:
        # Content that was recovered has a lineage of its own, and may not have been saved since.
        found = [path for path, said in described if said["lineage"] == last.lineage] or found
    if not found and unusable is not None:
        raise unusable
    return found


def _nobody(path: Path, problem: Problem) -> None:
    """Is told nothing."""


def describe(path: Path) -> Description:
    """What a snapshot says of itself, which nobody vouches for: it lies where the application can write.

    Raises `Problem` if it is none.
    """
    with _opened(path) as (_, description):
        return description


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Archive, Description]]:
    """The archive, with all of its parts, and what it says of itself. Raises `Problem` for what is none."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(archives.opened(path))
            description = _described(path, archive)
            parts = archive.members()
        except (Unsound, OSError) as error:
            raise _no_snapshot(path, str(error)) from error
        if missing := [name for name in (_DATABASE, _beside(description)) if name not in parts]:
            raise _no_snapshot(path, f"it is not whole: {missing[0]} is not in it")
        if parts[_DATABASE].size != description["bytes"]:
            raise _no_snapshot(path, "it is not whole: its database is not as large as it says")
        yield archive, description


def _beside(description: Description) -> str:
    """The part with what lies beside the database."""
    return _CHANGES if description["format"] > 1 else _FOLDERS


def _described(path: Path, archive: Archive) -> Description:
    first = archive.first
    if first is None or first.name != _ABOUT or first.size > _ABOUT_SIZE:
        raise _no_snapshot(path, f"it does not begin with {_ABOUT}")
    try:
        description = json.loads(archive.read(first))
    except archives.STUMBLES as error:
        raise _no_snapshot(path, f"its {_ABOUT} cannot be read: {str(error)[:200]}") from error
    if not isinstance(description, dict) or not _is_count(description.get("format")):
        raise _no_snapshot(path, f"its {_ABOUT} does not say what it is")
    if description["format"] > FORMAT:
        # Not passed over for an older one: an older release has been started.
        problem = _no_snapshot(path, f"its format {description['format']} is newer than this release knows")
        raise Problem(problem.error, problem.why, problem.next_step)
    said = dict.fromkeys(_SAID) | description
    if wrong := [name for name, right in _SAID.items() if not right(said[name])]:
        raise _no_snapshot(path, f"its {_ABOUT} does not say what it is: {wrong[0]}")
    return cast(Description, description)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 200 and value.isprintable()


def _is_time(value: object) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return time.strptime(cast(str, value), _TIME).tm_year >= 1970
    return False


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def _is_damage(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _is_counted(value: object) -> bool:
    return isinstance(value, dict) and all(_is_count(value.get(name)) for name in ("files", "bytes"))


def _is_all_counted(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_counted, value.values()))


_SAID: dict[str, Callable[[object], bool]] = {
    "lineage": _is_word,
    "epoch": _is_count,
    "release": _is_word,
    "time": _is_time,
    "sha256": _is_sha256,
    "bytes": _is_count,
    "sequence": lambda value: value is None or _is_count(value),
    "damage": _is_damage,
    "changed": lambda value: value is None or _is_counted(value),
    "absent": lambda value: value is None or isinstance(value, bool),
    "elsewhere": lambda value: value is None or (isinstance(value, list) and all(map(_is_word, value))),
    "left": lambda value: value is None or _is_all_counted(value),
    "fingerprint": lambda value: value is None or isinstance(value, dict),
}
"""What a snapshot says of itself, and whether it is of the right kind; null where it says nothing."""


def stage(path: Path, settings: Settings) -> Description:
    """Unpack the snapshot at `path` into the staging folder, on the disk and checked: see `Placement`."""
    staging = settings.staging
    copy = settings.staged
    with _opened(path) as (source, description):
        changes.discard(settings)
        staging.mkdir(parents=True)
        parts = source.members()
        archive = staging / _beside(description)
        # What has changed is unpacked beside its archive.
        database.need_space(staging, parts[_DATABASE].size + 2 * parts[archive.name].size)
        changes.require_place(settings)
        try:
            for target in (copy, archive):
                _extract(source, target)
        except Unsound as error:
            raise _no_snapshot(path, f"it is not whole: {error}") from error
    with copy.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != description["sha256"]:
            raise _no_snapshot(path, "its database is not the one that was saved: the SHA-256 differs")
    damage = database.check(copy).damage
    if damage and not description.get("damage"):
        raise _no_snapshot(path, f"its database is damaged: {'; '.join(damage)}")
    try:
        if description["format"] == 1:
            archive = _of_first_format(archive, settings)
        received = changes.unpack(archive, settings)
    except changes.NoPlace:
        raise  # its folders are named otherwise now: no reason to take an older one
    except Problem as problem:
        raise _no_snapshot(path, f"{problem.error}: {problem.why}") from problem
    archive.unlink()
    if received.apart:
        raise _no_snapshot(path, f"{received.apart[0]} is not in it")
    changes.write_down(received, settings)
    tell_absent(settings, absent=bool(description.get("absent")))
    return description


def tell_absent(settings: Settings, *, absent: bool) -> None:
    """Write down whether the database that is staged is an empty file in the place of none."""
    if absent:
        settings.absent.touch()
    else:
        settings.absent.unlink(missing_ok=True)


def _of_first_format(folders: Path, settings: Settings) -> Path:
    """The same as changes. Raises `Problem` for folders whose names nobody has written down."""
    home = next(one for one in settings.writable if settings.database.is_relative_to(one.path))
    sessions = home.key_of(settings.database.parent / "sessions")
    into = folders.with_name(_CHANGES)
    try:
        _rename_members(folders, into, sessions)
    except archives.STUMBLES as error:
        raise Problem("what lay beside its database is not whole", str(error), "") from error
    folders.unlink()
    return into


def _rename_members(folders: Path, into: Path, sessions: str) -> None:
    has: changes.Manifest = {}
    with (
        folders.open("rb") as file,
        tarfile.open(fileobj=archives.Reader(file), mode="r:") as old,  # type: ignore[call-overload]
        tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            number, _, name = member.name.partition("/")
            if member.name == changes.MANIFEST:
                continue
            if number != "0" or (name and not name.startswith("sess_")):
                raise Problem(
                    "it has folders that it does not name",
                    f"an earlier devenv saved {member.name!r}",
                    f"take them out by hand: tar -x {_FOLDERS}",
                )
            member.name = f"{sessions}/{name}" if name else sessions
            has[member.name] = ["dir", member.mode & 0o7777] if member.isdir() else [member.size, 0, 0, 0]
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
        changes.add_manifest(new, changes.Received(has, [], []))


def _extract(source: Archive, target: Path) -> None:
    with target.open("wb") as file:
        source.copy(source.members()[target.name], file)
        file.flush()
        os.fsync(file.fileno())


def _no_snapshot(path: Path, why: str) -> Unusable:
    return Unusable(
        "a snapshot cannot be used", f"{path.name}: {why}", "choose another one: devenv snapshot list"
    )
