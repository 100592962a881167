"""Putting staged content in the place of what is there: database and travelling folders, as one.

The record says `staged` before the first rename, and not any more after the last one: a restart in between
puts the rest in place. What was there lies aside until nobody can want it back, so a failure can be undone,
and large folders are removed when nobody waits for that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import database
from .record import sync_folder
from .settings import Settings
from .travel import remove


@dataclass(frozen=True, slots=True)
class _Piece:
    staged: Path
    target: Path
    aside: Path

    @property
    def new(self) -> Path:
        """A marker beside what is aside: there was nothing in the place."""
        return self.aside.with_name(f"{self.aside.name}.new")

    def put(self) -> None:
        if not os.path.lexists(self.staged):
            return  # it is there already, or nothing was sent for it
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(self.target):
            if not os.path.lexists(self.aside):
                self.new.touch()
        elif os.path.lexists(self.aside):
            remove(self.target)  # what a crash left of it: all of it is aside
        else:
            _move(self.target, self.aside)
        self.staged.rename(self.target)

    def undo(self) -> None:
        done = not os.path.lexists(self.staged)
        if os.path.lexists(self.aside):
            if done:
                self.target.rename(self.staged)
            elif self.target.is_dir():
                # It could not be removed whole: fill in again what is missing.
                shutil.copytree(self.aside, self.target, symlinks=True, dirs_exist_ok=True)
                return
            self.aside.rename(self.target)
        elif self.new.exists() and done:
            self.target.rename(self.staged)


class Placement:
    def __init__(self, settings: Settings) -> None:
        self._folder = settings.aside
        folders = [
            _Piece(settings.staged_travel / str(number), folder, self._folder / str(number))
            for number, folder in enumerate(settings.travel)
        ]
        content = _Piece(settings.staged, settings.database, self._folder / settings.database.name)
        # Last: a database in its place says that the folders are in theirs.
        self._pieces = [*folders, content]
        self._database = settings.database

    def put(self) -> None:
        """Put all that is staged in its place. To be repeated after a crash, or undone after an OSError."""
        self._folder.mkdir(exist_ok=True)
        if os.path.lexists(self._pieces[-1].staged):
            # A journal of the old database must not be replayed into the new one.
            for suffix in database.SIDE_FILES:
                side = Path(f"{self._database}{suffix}")
                if side.exists():
                    side.rename(self._folder / side.name)
        for piece in self._pieces:
            piece.put()
        for parent in {piece.target.parent for piece in self._pieces if piece.target.parent.is_dir()}:
            sync_folder(parent)

    def undo(self) -> None:
        """Everything where it was before `put`, whether that came to its end or not."""
        for piece in reversed(self._pieces):
            piece.undo()
        for suffix in database.SIDE_FILES:
            side = self._folder / f"{self._database.name}{suffix}"
            if side.exists():
                side.rename(Path(f"{self._database}{suffix}"))
        self.forget()

    def forget(self) -> None:
        """Remove what lies aside. What cannot be removed is in nobody's way."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder, ignore_errors=True)


def _move(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except OSError as error:
        # A folder that comes with the image cannot be renamed (overlayfs), only copied up.
        if error.errno != errno.EXDEV:
            raise
        part = to.with_name(f"{to.name}.part")
        remove(part)
        shutil.copytree(path, part, symlinks=True)
        part.rename(to)
        remove(path)
