"""Putting staged content in the place of what is there: the database and what has changed beside it, as one.

The record says `staged` before the first rename, and not any more after the last one: a restart in between
puts the rest in place, by the plan that was written down before it began. What was there lies aside until
nobody can want it back, so a failure can be undone, and large folders are removed when nobody waits for that.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from . import changes, database
from .changes import is_dir
from .record import sync_folder
from .settings import Settings, Writable

Step = tuple[Literal["put", "remove", "open", "mode"], str, int, int]
"""What is done with a path (from the application's folder on): what is staged for it is put there; it is
removed; or it is a folder that gets another mode, at first so that it can be written to, or at last. The
numbers are its mode, and the one that it has."""


_OWNERS = stat.S_IRWXU
"""Without these nobody of us can work in a folder."""


@dataclass(frozen=True, slots=True)
class Plan:
    aside: str
    """A folder of this placement alone: what an earlier one could not remove is not taken for its own."""
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class _Piece:
    target: Path
    aside: Path
    staged: Path | None
    """None: what is there goes, and nothing comes."""

    @property
    def new(self) -> Path:
        """A marker beside what is aside: there was nothing in the place."""
        return self.aside.with_name(f"{self.aside.name}.new")

    def put(self) -> None:
        if self.staged is not None and not os.path.lexists(self.staged):
            return  # it is there already, or nothing was sent for it
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(self.target):
            if self.staged is not None and not os.path.lexists(self.aside):
                self.new.touch()
        elif os.path.lexists(self.aside):
            changes.remove(self.target)  # what a crash left of it: all of it is aside
        else:
            _move(self.target, self.aside)
        if self.staged is not None:
            self.staged.rename(self.target)

    def undo(self) -> None:
        done = self.staged is not None and not os.path.lexists(self.staged)
        if os.path.lexists(self.aside):
            if done and self.staged is not None:
                self.target.rename(self.staged)
            elif self.target.is_dir():
                # It could not be removed whole: fill in again what is missing.
                shutil.copytree(self.aside, self.target, symlinks=True, dirs_exist_ok=True)
                return
            _move(self.aside, self.target)
        elif self.staged is not None and self.new.exists() and done:
            self.target.rename(self.staged)


class Placement:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written = settings.staging / "plan.json"
        self._database = settings.database

    def put(self) -> None:
        """Put all that is staged in its place. To be repeated after a crash, or undone after an OSError."""
        plan = _read(self._written) or self._plan()
        aside = self._aside(plan)
        for folder in {aside, *(one.aside / plan.aside for one in self._settings.writable)}:
            folder.mkdir(parents=True, exist_ok=True)
        *pieces, content = self._pieces(plan)
        if os.path.lexists(self._settings.staged):
            # A journal of the old database must not be replayed into the new one.
            for suffix in database.SIDE_FILES:
                side = Path(f"{self._database}{suffix}")
                if side.exists():
                    side.rename(aside / side.name)
        self._chmod(plan, "open")
        for piece in pieces:
            piece.put()
        self._chmod(plan, "mode")
        # Last: a database in its place says that all else is in its own.
        content.put()
        for parent in {piece.target.parent for piece in [*pieces, content]}:
            if parent.is_dir():
                sync_folder(parent)

    def undo(self) -> None:
        """Everything where it was before `put`, whether that came to its end or not."""
        if (plan := _read(self._written)) is not None:
            aside = self._aside(plan)
            # What is to be renamed in a folder that nobody may write to.
            for kind, key, mode, _ in plan.steps:
                if kind == "mode" and is_dir(path := self._settings.root / key):
                    path.chmod(mode | _OWNERS)
            for piece in reversed(self._pieces(plan)):
                piece.undo()
            for kind, key, _, before in plan.steps:
                if kind == "open" and is_dir(path := self._settings.root / key):
                    path.chmod(before)
            for suffix in database.SIDE_FILES:
                side = aside / f"{self._database.name}{suffix}"
                if side.exists():
                    side.rename(Path(f"{self._database}{suffix}"))
            self._written.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Remove what lies aside. What cannot be removed is in nobody's way."""
        for folder in {self._settings.state / "aside", *(one.aside for one in self._settings.writable)}:
            try:
                changes.remove(folder)
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)  # all but what is another user's

    def _chmod(self, plan: Plan, which: str) -> None:
        for kind, key, mode, _ in plan.steps:
            if kind == which and is_dir(path := self._settings.root / key):
                path.chmod(mode)

    def _aside(self, plan: Plan) -> Path:
        return self._settings.state / "aside" / plan.aside

    def _pieces(self, plan: Plan) -> list[_Piece]:
        settings = self._settings
        pieces = []
        for number, (kind, key, *_) in enumerate(plan.steps):
            if kind in ("put", "remove"):
                staged = changes.staged(settings, key) if kind == "put" else None
                aside = changes.folder_of(settings, key).aside / plan.aside / str(number)
                pieces.append(_Piece(settings.root / key, aside, staged))
        aside = self._aside(plan)
        carried = _Piece(settings.carried, aside / settings.carried.name, settings.staged_carried)
        content = _Piece(settings.database, aside / settings.database.name, settings.staged)
        return [*pieces, carried, content]

    def _plan(self) -> Plan:
        """From what is staged and what is there; it is written down, and then that is done."""
        settings = self._settings
        steps: list[Step] = []
        if (received := changes.written_down(settings)) is not None:
            has, images = received.has, _Images(settings, set(received.images))
            # Of a plan that a kill has cut off before it was written down.
            changes.remove_others(settings, has)
            for folder in settings.writable:
                steps += _Merge(settings, folder, has).steps()
            # Each folder after what it holds: then it may be closed to whoever writes.
            for key in sorted(has, reverse=True):
                if has[key][0] == "dir" and has[key][1] & _OWNERS != _OWNERS:
                    steps.append(("mode", key, has[key][1], 0))
            _save(settings.staged_carried, [key for key in has if key in images])
        # Without changes: a database alone.
        plan = Plan(secrets.token_hex(8), steps)
        settings.staging.mkdir(exist_ok=True)
        _save(self._written, asdict(plan))
        return plan


class _Images:
    """Which paths an image has had, this one or one before it."""

    def __init__(self, settings: Settings, earlier: set[str]) -> None:
        self._settings = settings
        self._earlier = earlier
        self._known: dict[str, set[str]] = {}

    def __contains__(self, key: str) -> bool:
        if key in self._earlier:
            return True
        above, _, name = key.rpartition("/")
        if above not in self._known:
            path = changes.folder_of(self._settings, key).pristine_of(key)
            self._known[above] = changes.entries(path.parent)
        return name in self._known[above]


class _Merge:
    """What makes a folder that of the image, with the changes that are staged for it."""

    def __init__(self, settings: Settings, folder: Writable, has: changes.Manifest) -> None:
        self._settings = settings
        self._folder = folder
        self._has = has

    def steps(self, here: str = "") -> Iterator[Step]:
        """In the folder `here` below ours, which is one of the image; what is in others goes as a whole."""
        folder = self._folder
        there = folder.path / here, folder.pristine / here, folder.staged / here
        names = (
            changes.entries(there[0], follow=not here) | changes.entries(there[1]) | changes.entries(there[2])
        )
        for name in sorted(names):
            path, image, staged = (top / name for top in there)
            key = folder.key_of(path)
            if folder.is_own(path):
                continue
            gone = self._has.get(key) == changes.GONE
            if key in self._settings.leave:
                if os.path.lexists(staged) and not os.path.lexists(path):
                    yield "put", key, 0, 0
            elif folder.holds_own(path):
                yield from self.steps(f"{here}/{name}".lstrip("/"))
            elif is_dir(image) and not gone and (is_dir(staged) or not os.path.lexists(staged)):
                if is_dir(path):
                    yield from self._below(key, path, image, f"{here}/{name}".lstrip("/"))
                else:
                    self._complete(staged, image, key)
                    yield "put", key, 0, 0
            elif os.path.lexists(staged):
                yield "put", key, 0, 0
            elif os.path.lexists(image) and not gone:
                if not os.path.lexists(path) or not changes.is_images(self._settings, path, image):
                    staged.parent.mkdir(parents=True, exist_ok=True)
                    changes.copy(image, staged)
                    yield "put", key, 0, 0
            elif os.path.lexists(path):
                yield "remove", key, 0, 0

    def _below(self, key: str, path: Path, image: Path, here: str) -> Iterator[Step]:
        """In a folder that stays; it gets its mode when all is in it."""
        has = self._has.get(key)
        wanted = has[1] if has and has[0] == "dir" else stat.S_IMODE(image.stat().st_mode)
        mode = stat.S_IMODE(path.stat().st_mode)
        if changed := mode & 0o777 != wanted & 0o777 or mode & _OWNERS != _OWNERS:
            yield "open", key, mode | _OWNERS, mode
        yield from self.steps(here)
        if changed:
            yield "mode", key, wanted, mode

    def _complete(self, staged: Path, image: Path, key: str) -> None:
        """Have all of a folder staged: what the image has in it too."""
        if not staged.exists():
            staged.parent.mkdir(parents=True, exist_ok=True)
            changes.copy(image, staged)
        for name in changes.entries(image):
            below = f"{key}/{name}"
            if self._has.get(below) == changes.GONE:
                continue
            if is_dir(image / name) and (is_dir(staged / name) or not os.path.lexists(staged / name)):
                self._complete(staged / name, image / name, below)
            elif not os.path.lexists(staged / name):
                changes.copy(image / name, staged / name)


def _read(path: Path) -> Plan | None:
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return Plan(said["aside"], [tuple(step) for step in said["steps"]])


def _save(path: Path, content: object) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def _move(path: Path, to: Path) -> None:
    """To another folder of the same file system."""
    mode = path.lstat().st_mode
    if closed := stat.S_ISDIR(mode) and mode & _OWNERS != _OWNERS:
        path.chmod(stat.S_IMODE(mode) | _OWNERS)  # its entry for what is above it changes
    try:
        path.rename(to)
    except OSError as error:
        # A folder that comes with the image cannot be renamed (overlayfs), only copied up.
        if error.errno != errno.EXDEV:
            raise
        part = to.with_name(f"{to.name}.part")
        changes.remove(part)
        shutil.copytree(path, part, symlinks=True)
        part.rename(to)
        changes.remove(path)
    if closed:
        to.chmod(stat.S_IMODE(mode))
