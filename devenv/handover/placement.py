"""Putting staged content in the place of what is there: the database and what has changed beside it, as one.

The record says `staged` before the first rename, and not any more after the last one: a restart in between
puts the rest in place, by the plan that was written down before it began. What was there lies aside until
nobody can want it back, so a failure can be undone, and large folders are removed when nobody waits for that.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import changes, database
from .record import sync_folder
from .settings import Settings, Writable

Step = tuple[Literal["put", "remove", "mode"], str, int, int]
"""What is done with a path (from the application's folder on): what is staged for it is put there; it is
removed; or it is a folder that gets another mode. The numbers are its mode, and the one that it has."""


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
            self.aside.rename(self.target)
        elif self.staged is not None and self.new.exists() and done:
            self.target.rename(self.staged)


class Placement:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written = settings.staging / "plan.json"
        self._database = settings.database
        self._aside = settings.state / "aside"

    def put(self) -> None:
        """Put all that is staged in its place. To be repeated after a crash, or undone after an OSError."""
        for folder in self._settings.writable:
            folder.aside.mkdir(parents=True, exist_ok=True)
        self._aside.mkdir(exist_ok=True)
        *pieces, content = self._pieces(steps := self._steps())
        if os.path.lexists(self._settings.staged):
            # A journal of the old database must not be replayed into the new one.
            for suffix in database.SIDE_FILES:
                side = Path(f"{self._database}{suffix}")
                if side.exists():
                    side.rename(self._aside / side.name)
        for kind, key, mode, _ in steps:
            if kind == "mode":
                (self._settings.root / key).chmod(mode)
        for piece in pieces:
            piece.put()
        # Last: a database in its place says that all else is in its own.
        content.put()
        for parent in {piece.target.parent for piece in [*pieces, content]}:
            if parent.is_dir():
                sync_folder(parent)

    def undo(self) -> None:
        """Everything where it was before `put`, whether that came to its end or not."""
        steps = _read(self._written) or []
        for piece in reversed(self._pieces(steps)):
            piece.undo()
        for kind, key, _, before in steps:
            if kind == "mode":
                (self._settings.root / key).chmod(before)
        for suffix in database.SIDE_FILES:
            side = self._aside / f"{self._database.name}{suffix}"
            if side.exists():
                side.rename(Path(f"{self._database}{suffix}"))
        self._written.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Remove what lies aside. What cannot be removed is in nobody's way."""
        for folder in {self._aside, *(folder.aside for folder in self._settings.writable)}:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder, ignore_errors=True)

    def _pieces(self, steps: list[Step]) -> list[_Piece]:
        settings = self._settings
        pieces = []
        for number, (kind, key, *_) in enumerate(steps):
            if kind != "mode":
                staged = changes.staged(settings, key) if kind == "put" else None
                aside = changes.folder_of(settings, key).aside / str(number)
                pieces.append(_Piece(settings.root / key, aside, staged))
        carried = _Piece(settings.carried, self._aside / settings.carried.name, settings.staged_carried)
        content = _Piece(settings.database, self._aside / settings.database.name, settings.staged)
        return [*pieces, carried, content]

    def _steps(self) -> list[Step]:
        """As they were written down; or else from what is staged and what is there, and then that is done."""
        settings = self._settings
        if (steps := _read(self._written)) is not None:
            return steps
        if (received := changes.written_down(settings)) is None:
            return []  # a database alone
        has, of_images = received.has, set(received.images)
        steps = [step for folder in settings.writable for step in _Merge(settings, folder, has).steps()]
        _save(settings.staged_carried, [key for key in has if key in of_images or self._has_image(key)])
        _save(self._written, steps)
        return steps

    def _has_image(self, key: str) -> bool:
        return os.path.lexists(changes.folder_of(self._settings, key).pristine_of(key))


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
        for name in sorted(set().union(*map(changes.entries, there))):
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
            elif _is_dir(image) and not gone and (_is_dir(staged) or not os.path.lexists(staged)):
                if _is_dir(path):
                    yield from self._mode(key, path, image)
                    yield from self.steps(f"{here}/{name}".lstrip("/"))
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

    def _mode(self, key: str, path: Path, image: Path) -> Iterator[Step]:
        has = self._has.get(key)
        wanted = has[1] if has and has[0] == "dir" else stat.S_IMODE(image.stat().st_mode)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o777 != wanted & 0o777:
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
            if _is_dir(image / name) and (_is_dir(staged / name) or not os.path.lexists(staged / name)):
                self._complete(staged / name, image / name, below)
            elif not os.path.lexists(staged / name):
                changes.copy(image / name, staged / name)


def _is_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _read(path: Path) -> list[Step] | None:
    try:
        return [tuple(step) for step in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return None


def _save(path: Path, content: object) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def _move(path: Path, to: Path) -> None:
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
