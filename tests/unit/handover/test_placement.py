"""The database and what has changed beside it are put in place as one: in spite of crashes, and back."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from devenv.handover import changes
from devenv.handover.changes import GONE, Received
from devenv.handover.placement import Placement
from devenv.handover.settings import Settings
from tests.unit.handover.fakes import Crash, at_effect

IMAGE = {"code/a": b"image", "code/b": b"image", "code/moded/c": b"image"}
OLD = {
    "database": b"old", "database-wal": b"journal", "uploads/old": b"1", "uploads/deep/old": b"2",
    "code/a": b"changed", "code/moded/c": b"image", "code/only-old": b"4", "code/b": b"image",
}  # fmt: skip
NEW = {
    "database": b"new", "uploads/new": b"3", "code/a": b"image", "code/new": b"5", "code/moded/c": b"image",
}  # fmt: skip
"""A folder of the image of which one file goes and one comes, and one that no image has."""


def uploads(settings: Settings) -> Path:
    return settings.writable[0].path / "uploads"


def pristine(settings: Settings) -> None:
    lay(settings.writable[0].pristine, IMAGE)


def lay(folder: Path, tree: dict[str, bytes]) -> None:
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def stage(settings: Settings) -> None:
    pristine(settings)
    staged = settings.writable[0].staged
    lay(staged, {"uploads/new": b"3", "code/new": b"5"})
    (staged / "code/moded").mkdir()
    settings.staged.write_bytes(b"new")
    has = {"data/uploads": ["dir", 0o755], "data/uploads/new": [1, 0, 0, 0], "data/code/new": [1, 0, 0, 0]}
    has |= {"data/code/b": GONE, "data/code/moded": ["dir", 0o700]}
    changes.write_down(Received(has, ["data/code/b"], []), settings)


def lay_old(settings: Settings) -> None:
    for path in settings.writable[0].path.iterdir():
        if not settings.writable[0].holds_own(path):
            changes.remove(path)
    lay(
        settings.writable[0].path,
        {name: content for name, content in OLD.items() if not name.startswith("database")},
    )
    settings.database.write_bytes(b"old")
    Path(f"{settings.database}-wal").write_bytes(b"journal")


def there(settings: Settings) -> dict[str, bytes]:
    folder = settings.writable[0]
    return {
        str(path.relative_to(folder.path)).replace(settings.database.name, "database"): path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and not path.is_relative_to(folder.own)
    }


def mode(settings: Settings) -> int:
    return (settings.writable[0].path / "code/moded").stat().st_mode & 0o777


@pytest.fixture(params=[False, True], ids=["renamed", "copied"])
def copied(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A folder that comes with an image cannot be renamed."""
    if request.param:
        true = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self == uploads(settings) and not (self / "new").exists():
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return true(self, target)

        monkeypatch.setattr(Path, "rename", rename)
    return bool(request.param)


def test_what_is_staged_replaces_what_was_there(settings: Settings, copied: bool) -> None:
    lay_old(settings)
    stage(settings)
    Placement(settings).put()
    Placement(settings).forget()
    assert there(settings) == NEW
    assert mode(settings) == 0o700
    assert not list((settings.state / "aside").glob("*"))


def test_a_crash_at_any_effect_is_completed_by_doing_it_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    for number in range(1, 200):
        lay_old(settings)
        changes.discard(settings)
        stage(settings)
        with at_effect(number, Crash(), monkeypatch) as count:
            try:
                Placement(settings).put()
            except Crash:
                pass
            else:
                assert count[0] > 5
                return
        Placement(settings).put()
        assert there(settings) == NEW, f"after a crash at effect {number}"
        Placement(settings).forget()
    raise AssertionError("it has no end")


def test_a_disk_that_fails_at_any_effect_leaves_all_as_it_was(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    lay_old(settings)
    for number in range(1, 100):
        stage(settings)
        with at_effect(number, OSError(errno.EIO, "Input/output error"), monkeypatch) as count:
            try:
                Placement(settings).put()
            except OSError:
                pass
            else:
                assert count[0] > 5
                return
        Placement(settings).undo()
        assert there(settings) == OLD, f"after a failure at effect {number}"
        assert mode(settings) == 0o755
        shutil.rmtree(settings.staging)
    raise AssertionError("it has no end")


def test_what_was_put_can_be_taken_back_whole(settings: Settings, copied: bool) -> None:
    lay_old(settings)
    stage(settings)
    Placement(settings).put()
    Placement(settings).undo()
    assert there(settings) == OLD
    assert (settings.staged.read_bytes(), (settings.writable[0].staged / "uploads/new").read_bytes()) == (
        b"new",
        b"3",
    )


def test_where_nothing_was_nothing_is_again(settings: Settings) -> None:
    uploads(settings).rmdir()
    stage(settings)
    Placement(settings).put()
    assert there(settings) == NEW
    Placement(settings).undo()
    assert there(settings) == {}


def test_what_lies_beside_a_database_that_comes_alone_stays_as_it_is(settings: Settings) -> None:
    lay_old(settings)
    settings.staging.mkdir()
    settings.staged.write_bytes(b"new")
    Placement(settings).put()
    beside = {name: content for name, content in OLD.items() if not name.startswith("database")}
    assert there(settings) == {**beside, "database": b"new"}
    Placement(settings).undo()
    assert there(settings) == OLD


def test_the_database_comes_last(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is in its place, all else is: a first start takes it for the content."""
    stage(settings)
    uploads(settings).rmdir()
    true, seen = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        seen.append(self)
        return true(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    Placement(settings).put()
    assert seen[-1] == settings.staged


def test_a_file_that_another_user_put_into_a_folder_does_not_keep_it_from_being_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker exec -u root` leaves such files, which the gate cannot remove; it need not, to rename."""
    lay_old(settings)
    stage(settings)

    def refuse(*_: object, **options: object) -> None:
        if not options.get("ignore_errors"):
            raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        Placement(settings).put()
        Placement(settings).forget()
    assert there(settings) == NEW


def test_what_is_another_users_aside_keeps_nothing_else_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker exec -u root` leaves such files: gigabytes beside them are removed all the same."""
    lay(settings.writable[0].aside, {"x/0/large": b"large", "x/1": b"more"})

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(changes, "remove", refuse)
    Placement(settings).forget()
    assert not settings.writable[0].aside.exists()
