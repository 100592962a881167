"""Database and folders are put in place as one: by a crash at any point, too, and back again."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from devenv.handover.placement import Placement
from devenv.handover.settings import Settings
from tests.unit.handover.fakes import Crash, at_effect

OLD = {"database": b"old", "database-wal": b"journal", "uploads/old": b"1", "uploads/deep/old": b"2"}
NEW = {"database": b"new", "uploads/new": b"3"}


def stage(settings: Settings) -> None:
    folder = settings.staged_travel / "0"
    folder.mkdir(parents=True)
    settings.staged.write_bytes(b"new")
    (folder / "new").write_bytes(b"3")


def lay_old(settings: Settings) -> None:
    settings.database.write_bytes(b"old")
    Path(f"{settings.database}-wal").write_bytes(b"journal")
    (settings.travel[0] / "deep").mkdir()
    (settings.travel[0] / "old").write_bytes(b"1")
    (settings.travel[0] / "deep/old").write_bytes(b"2")


def there(settings: Settings) -> dict[str, bytes]:
    found = {
        path.name.replace(settings.database.name, "database"): path.read_bytes()
        for path in settings.database.parent.glob(f"{settings.database.name}*")
    }
    folder = settings.travel[0]
    return found | {
        f"uploads/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=[False, True], ids=["renamed", "copied"])
def copied(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A folder that comes with an image cannot be renamed."""
    if request.param:
        true = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self == settings.travel[0] and not (self / "new").exists():
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
    assert not list((settings.state / "aside").glob("*"))


def test_a_crash_at_any_effect_is_completed_by_doing_it_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    for number in range(1, 100):
        shutil.rmtree(settings.travel[0])
        settings.travel[0].mkdir()
        lay_old(settings)
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
        shutil.rmtree(settings.staging)
    raise AssertionError("it has no end")


def test_what_was_put_can_be_taken_back_whole(settings: Settings, copied: bool) -> None:
    lay_old(settings)
    stage(settings)
    Placement(settings).put()
    Placement(settings).undo()
    assert there(settings) == OLD
    assert (settings.staged.read_bytes(), (settings.staged_travel / "0/new").read_bytes()) == (b"new", b"3")


def test_where_nothing_was_nothing_is_again(settings: Settings) -> None:
    settings.travel[0].rmdir()
    stage(settings)
    Placement(settings).put()
    assert there(settings) == NEW
    Placement(settings).undo()
    assert not settings.database.exists()
    assert not settings.travel[0].exists()


def test_a_folder_of_which_nothing_was_sent_stays_as_it_is(settings: Settings) -> None:
    lay_old(settings)
    stage(settings)
    shutil.rmtree(settings.staged_travel)
    Placement(settings).put()
    assert (settings.travel[0] / "old").exists()
    Placement(settings).undo()
    assert there(settings) == OLD


def test_the_database_comes_last(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is in its place, all else is: a first start takes it for the content."""
    stage(settings)
    settings.travel[0].rmdir()
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
