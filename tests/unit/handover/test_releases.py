"""What came with the image comes with the image; what an instance has changed since travels."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import changes
from devenv.handover.placement import Placement
from devenv.handover.settings import Settings

Tree = dict[str, bytes]
"""Files, by path from the application's folder on."""


class Release:
    """An instance of a release: the folder of its application, and what its image has there."""

    def __init__(self, folder: Path, image: Tree, writable: str = "var", leave: str = "") -> None:
        self.root = folder / "app"
        pristine = folder / "pristine"
        for top in writable.split(":"):
            (pristine / top).mkdir(parents=True)
            (self.root / top).mkdir(parents=True)
        lay(pristine, image)
        (folder / "secret").write_text("s" * 40)
        self.settings = Settings.from_env(
            {
                "GATE_ROOT": str(self.root),
                "GATE_DATABASE": str(self.root / "var/db/data.db"),
                "GATE_WRITABLE": ":".join(str(self.root / top) for top in writable.split(":")),
                "GATE_LEAVE": ":".join(str(self.root / one) for one in leave.split(":") if one),
                "GATE_PRISTINE": str(pristine),
                "GATE_SECRET_FILE": str(folder / "secret"),
            }
        )
        changes.populate(self.settings)

    def take(self, owner: Release, between: Any = None) -> changes.Manifest:
        """The content of `owner`: most of it early, and the rest once nobody writes any more."""
        mine, archive = self.settings, self.settings.state / "archive"
        mine.staging.mkdir(parents=True, exist_ok=True)
        changes.pack(owner.settings, {}, archive)
        known = changes.unpack(archive, mine).has
        if between is not None:
            between()
        changes.pack(owner.settings, known, archive, still=True)
        received = changes.unpack(archive, mine)
        assert not received.apart
        archive.unlink()
        changes.write_down(received, mine)
        Placement(mine).put()
        Placement(mine).forget()
        changes.discard(mine)
        return received.has

    @property
    def tree(self) -> Tree:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".gate" not in path.parts
        }


def lay(root: Path, tree: Tree) -> None:
    for key, content in tree.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)


@pytest.fixture
def v1(tmp_path: Path) -> Release:
    return Release(tmp_path / "1", {"var/code/a.php": b"a1", "var/code/b.php": b"b1", "var/theme.css": b"t1"})


@pytest.fixture
def v2(tmp_path: Path) -> Release:
    return Release(tmp_path / "2", {"var/code/a.php": b"a2", "var/code/c.php": b"c2", "var/theme.css": b"t2"})


def test_what_nobody_changed_is_that_of_each_release(v1: Release, v2: Release) -> None:
    assert v2.take(v1) == {}
    assert v2.tree == {"var/code/a.php": b"a2", "var/code/c.php": b"c2", "var/theme.css": b"t2"}


def test_what_an_instance_made_changed_or_removed_is_so_in_the_next_one(v1: Release, v2: Release) -> None:
    lay(v1.root, {"var/code/a.php": b"mine", "var/uploads/2026/cat.jpg": b"cat", "var/code/deep/x": b"x"})
    (v1.root / "var/theme.css").unlink()
    v2.take(v1)
    assert v2.tree == {
        "var/code/a.php": b"mine",
        "var/code/c.php": b"c2",
        "var/code/deep/x": b"x",
        "var/uploads/2026/cat.jpg": b"cat",
    }


def test_it_stays_so_when_an_upgrade_is_taken_back(v1: Release, v2: Release, tmp_path: Path) -> None:
    """Also where the release in between showed nothing of it: it had the same, or nothing to remove."""
    lay(v1.root, {"var/code/a.php": b"a2"})
    (v1.root / "var/code/b.php").unlink()
    v2.take(v1)
    again = Release(
        tmp_path / "3", {"var/code/a.php": b"a1", "var/code/b.php": b"b1", "var/theme.css": b"t1"}
    )
    again.take(v2)
    assert again.tree == {"var/code/a.php": b"a2", "var/theme.css": b"t1"}


def test_who_takes_it_back_has_nothing_left_of_what_it_had(v1: Release, v2: Release) -> None:
    lay(v1.root, {"var/uploads/old": b"old", "var/code/a.php": b"old"})
    v2.take(v1)
    (v2.root / "var/uploads/old").unlink()
    (v2.root / "var/code/a.php").write_bytes(b"a2")
    lay(v2.root, {"var/uploads/new": b"new"})
    v1.take(v2)
    assert v1.tree == {
        "var/code/a.php": b"a2",
        "var/code/b.php": b"b1",
        "var/theme.css": b"t1",
        "var/uploads/new": b"new",
    }


def test_what_changes_between_the_two_looks_is_there_too(v1: Release, v2: Release) -> None:
    lay(v1.root, {"var/uploads/one": b"one", "var/uploads/two": b"two"})

    def meanwhile() -> None:
        lay(v1.root, {"var/uploads/one": b"eno", "var/uploads/three": b"three"})
        (v1.root / "var/uploads/two").unlink()

    v2.take(v1, meanwhile)
    assert {key: content for key, content in v2.tree.items() if "uploads" in key} == {
        "var/uploads/one": b"eno",
        "var/uploads/three": b"three",
    }


def test_folders_and_files_that_change_places_do_so_there_too(v1: Release, v2: Release) -> None:
    shutil.rmtree(v1.root / "var/code")
    lay(v1.root, {"var/code": b"a file now"})
    (v1.root / "var/theme.css").unlink()
    lay(v1.root, {"var/theme.css/dark": b"a folder now"})
    v2.take(v1)
    assert v2.tree == {"var/code": b"a file now", "var/theme.css/dark": b"a folder now"}


def test_several_folders_travel_and_each_is_put_in_place_by_itself(tmp_path: Path) -> None:
    image = {"public/uploads/.gitkeep": b"", "public/uploads/logo.png": b"logo"}
    old = Release(tmp_path / "1", image, "var:public/uploads")
    new = Release(tmp_path / "2", image, "var:public/uploads")
    lay(old.root, {"public/uploads/cat.jpg": b"cat", "var/queue/1": b"job"})
    new.take(old)
    assert new.tree == old.tree
    assert not (new.root / "public/uploads/.gate/incoming").exists()


def test_a_folder_that_the_new_release_does_not_write_to_is_no_place_for_content(tmp_path: Path) -> None:
    old = Release(tmp_path / "1", {}, "var:public/uploads")
    new = Release(tmp_path / "2", {})
    lay(old.root, {"public/uploads/cat.jpg": b"cat"})
    with pytest.raises(changes.Problem, match=r"no place: 'public/uploads/cat.jpg'"):
        new.take(old)


def test_what_is_left_stays_where_it_is_on_both_sides(tmp_path: Path) -> None:
    image = {"var/cache/.gitkeep": b""}
    old = Release(tmp_path / "1", image, leave="var/cache:var/tmp")
    new = Release(tmp_path / "2", image, leave="var/cache:var/tmp")
    lay(old.root, {"var/cache/page": b"old", "var/tmp/x": b"123"})
    lay(new.root, {"var/cache/page": b"warm"})
    assert changes.left(old.settings) == {
        "var/cache": changes.Counted(2, 3),
        "var/tmp": changes.Counted(1, 3),
    }
    new.take(old)
    assert new.tree == {"var/cache/.gitkeep": b"", "var/cache/page": b"warm"}
    assert (new.root / "var/tmp").is_dir()  # the application may take it for granted


def test_another_database_arrives_with_what_its_wal_has(v1: Release, v2: Release) -> None:
    (v1.root / "var/users/ann").mkdir(parents=True)
    path = v1.root / "var/users/ann/db.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE feed (url)")

        def meanwhile() -> None:
            connection.execute("INSERT INTO feed VALUES ('https://example.org')")
            # A worker that was killed leaves its WAL.
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{path}{suffix}.killed")
            connection.close()
            for suffix in ("", "-wal"):
                Path(f"{path}{suffix}.killed").rename(f"{path}{suffix}")

        v2.take(v1, meanwhile)
    with closing(sqlite3.connect(v2.root / "var/users/ann/db.sqlite")) as connection:
        assert connection.execute("SELECT url FROM feed").fetchall() == [("https://example.org",)]
    assert [key for key in v2.tree if "ann" in key] == ["var/users/ann/db.sqlite"]


def test_one_that_is_written_to_meanwhile_arrives_whole_each_time(v1: Release, v2: Release) -> None:
    path = v1.root / "var/other.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        archive = v1.settings.state / "archive"
        for number in range(5):
            connection.execute("INSERT INTO t VALUES (zeroblob(20000))")
            changes.pack(v1.settings, {}, archive)
            changes.unpack(archive, v2.settings)
            staged = changes.staged(v2.settings, "var/other.db")
            with closing(sqlite3.connect(f"file:{staged}?immutable=1", uri=True)) as copy:
                assert copy.execute("SELECT count(*) FROM t").fetchone() == (number + 1,)


def test_a_file_that_only_looks_like_the_journal_of_another_is_a_file(v1: Release, v2: Release) -> None:
    lay(v1.root, {"var/notes": b"", "var/notes-journal": b"my own words", "var/x": b"x", "var/x-wal": b"y"})
    v2.take(v1)
    assert {"var/notes-journal", "var/x-wal", "var/notes"} <= set(v2.tree)


def test_a_database_that_is_damaged_arrives_as_it_is(v1: Release, v2: Release) -> None:
    """It was so before; keeping everybody from an upgrade mends nothing."""
    damaged = b"SQLite format 3\0" + b"\xff" * 5000
    lay(v1.root, {"var/old.db": damaged})
    v2.take(v1)
    assert v2.tree["var/old.db"] == damaged


@pytest.mark.parametrize("own", ["var/db/data.db", "var/db/data.db-wal"])
def test_the_database_itself_goes_its_own_way(v1: Release, v2: Release, own: str) -> None:
    lay(v1.root, {own: b"the owner's", "var/db/beside": b"beside"})
    lay(v2.root, {own: b"ours"})
    v2.take(v1)
    assert (v2.root / own).read_bytes() == b"ours"
    assert (v2.root / "var/db/beside").read_bytes() == b"beside"


def test_a_volume_that_hides_what_the_image_has_begins_with_it(tmp_path: Path) -> None:
    instance = Release(tmp_path / "1", {"var/code/a.php": b"a", "var/empty/.keep": b""})
    (instance.settings.writable[0].pristine / "var").mkdir(exist_ok=True)
    assert instance.tree == {"var/code/a.php": b"a", "var/empty/.keep": b""}
    (instance.root / "var/code/a.php").unlink()
    changes.populate(instance.settings)
    assert "var/code/a.php" not in instance.tree  # it was removed since: a restart brings nothing back


def test_a_change_that_keeps_size_and_time_is_one_all_the_same(v1: Release, v2: Release) -> None:
    path = v1.root / "var/code/a.php"
    times = path.stat()
    path.write_bytes(b"xx")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    v2.take(v1)
    assert v2.tree["var/code/a.php"] == b"xx"


PATHS = ("a", "b", "d/a", "d/b", "e/f/a", "e/f/b")
TREES = st.dictionaries(
    st.sampled_from([f"var/{path}" for path in PATHS]), st.sampled_from([b"1", b"22", b"x"])
)
EDITS = st.dictionaries(
    st.sampled_from([f"var/{path}" for path in PATHS]),
    st.one_of(st.none(), st.sampled_from([b"1", b"22", b"y"])),
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(first=TREES, second=TREES, edits=EDITS, more=EDITS)
def test_whatever_the_releases_have_and_whatever_is_changed(
    first: Tree, second: Tree, edits: dict[str, bytes | None], more: dict[str, bytes | None]
) -> None:
    """There, and back again: an image's file is that of the release, unless somebody has changed it."""
    with tempfile.TemporaryDirectory() as folder:
        v1, v2 = Release(Path(folder, "1"), first), Release(Path(folder, "2"), second)
        touched = edit(v1, edits)
        v2.take(v1)
        assert v2.tree == {**{k: v for k, v in second.items() if k not in touched}, **present(touched)}
        touched |= edit(v2, more)
        back = Release(Path(folder, "3"), first)
        back.take(v2)
        assert back.tree == {**{k: v for k, v in first.items() if k not in touched}, **present(touched)}


def edit(release: Release, edits: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """What of it has changed something."""
    touched: dict[str, bytes | None] = {}
    for key, content in edits.items():
        path = release.root / key
        before = path.read_bytes() if path.exists() else None
        if content == before:
            continue
        touched[key] = content
        if content is None:
            path.unlink()
        else:
            lay(release.root, {key: content})
    return touched


def present(touched: dict[str, bytes | None]) -> Tree:
    return {key: content for key, content in touched.items() if content is not None}


# What was found by looking for it


def test_a_folder_that_went_with_its_files_brings_none_back_when_it_is_made_anew(
    v1: Release, v2: Release, tmp_path: Path
) -> None:
    shutil.rmtree(v1.root / "var/code")
    v2.take(v1)
    assert v2.tree == {"var/theme.css": b"t2"}
    lay(v2.root, {"var/code/mine": b"mine"})
    again = Release(
        tmp_path / "3", {"var/code/a.php": b"a1", "var/code/b.php": b"b1", "var/theme.css": b"t1"}
    )
    again.take(v2)
    assert again.tree == {"var/code/mine": b"mine", "var/theme.css": b"t1"}


def test_an_empty_folder_in_the_place_of_a_file_of_the_same_mode_is_a_change(
    v1: Release, v2: Release
) -> None:
    for release in (v1, v2):
        (release.settings.writable[0].pristine / "theme.css").chmod(0o755)
        (release.root / "var/theme.css").chmod(0o755)
    (v1.root / "var/theme.css").unlink()
    (v1.root / "var/theme.css").mkdir(mode=0o755)
    v2.take(v1)
    assert (v2.root / "var/theme.css").is_dir()


def test_what_was_removed_where_a_release_writes_nothing_is_remembered_for_one_that_does(
    tmp_path: Path,
) -> None:
    image = {"web/up/.keep": b"", "web/up/logo.png": b"logo"}
    old = Release(tmp_path / "1", image, "var:web/up")
    (old.root / "web/up/.keep").unlink()
    between = Release(tmp_path / "2", {})
    lay(between.root, image)
    between.take(old)
    assert "web/up/.keep" in between.tree  # of an image that nobody changes
    after = Release(tmp_path / "3", {})
    after.take(between)
    back = Release(tmp_path / "4", image, "var:web/up")
    back.take(after)
    assert set(back.tree) == {"web/up/logo.png"}


@pytest.mark.parametrize("still", [False, True])
def test_each_of_several_databases_arrives_with_its_wal_whatever_its_pages(
    v1: Release, v2: Release, still: bool
) -> None:
    connections = []
    for number, size in enumerate((4096, 1024, 65536)):
        connection = sqlite3.connect(v1.root / f"var/{number}.db", isolation_level=None)
        connections.append(connection)
        for statement in (f"PRAGMA page_size = {size}", "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"):
            connection.execute(statement)
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    archive = v1.settings.state / "archive"
    if still:
        for connection in connections:
            connection.close()
    changes.pack(v1.settings, {}, archive, still=still)
    changes.unpack(archive, v2.settings)
    for number in range(3):
        staged = changes.staged(v2.settings, f"var/{number}.db")
        with closing(sqlite3.connect(f"file:{staged}?immutable=1", uri=True)) as copy:
            assert copy.execute("SELECT x FROM t").fetchall() == [(number,)]
    for connection in connections:
        connection.close()


def test_what_an_earlier_placement_could_not_remove_is_not_taken_for_what_a_later_one_put_aside(
    v1: Release, v2: Release
) -> None:
    lay(v1.root, {"var/uploads/new": b"new"})
    lay(v2.root, {"var/uploads/live": b"live"})
    for name in ("0", "1", "2"):
        lay(v2.settings.writable[0].aside, {f"{name}/of-another-user": b"old"})
    mine, archive = v2.settings, v2.settings.state / "archive"
    mine.staging.mkdir(parents=True, exist_ok=True)
    changes.pack(v1.settings, {}, archive)
    changes.write_down(changes.unpack(archive, mine), mine)
    before = v2.tree
    Placement(mine).put()
    assert "var/uploads/live" not in v2.tree
    Placement(mine).undo()
    assert v2.tree == before


def test_what_a_kill_left_half_copied_is_not_put_in_place(v1: Release, v2: Release) -> None:
    """A file of the image that is to be as it was: its copy had begun, and the plan was not written down."""
    lay(v2.root, {"var/theme.css": b"changed here"})
    mine, archive = v2.settings, v2.settings.state / "archive"
    mine.staging.mkdir(parents=True, exist_ok=True)
    changes.pack(v1.settings, {}, archive)
    changes.write_down(changes.unpack(archive, mine), mine)
    lay(mine.writable[0].staged, {"theme.css": b"t"})
    Placement(mine).put()
    assert v2.tree["var/theme.css"] == b"t2"


def test_an_instance_that_was_killed_as_it_began_has_all_of_its_image(tmp_path: Path) -> None:
    instance = Release(tmp_path / "1", {"var/code/a.php": b"a" * 5000})
    instance.settings.populated.unlink()
    (instance.root / "var/code/a.php").unlink()
    lay(instance.settings.writable[0].own, {"part": b"aa"})
    changes.populate(instance.settings)
    assert instance.tree == {"var/code/a.php": b"a" * 5000}


def test_the_folder_of_a_file_is_not_listed_for_each_file_in_it(
    v1: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(v1.root, {f"var/uploads/{number}": b"x" for number in range(100)})
    calls = []
    true = changes.entries
    monkeypatch.setattr(changes, "entries", lambda *a, **k: calls.append(a) or true(*a, **k))
    changes.pack(v1.settings, {}, v1.settings.state / "archive")
    assert len(calls) < 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_folders_that_nobody_may_write_to_travel_and_are_replaced(tmp_path: Path) -> None:
    """As the one whom it concerns: to root no folder is closed."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgid(33)
            os.setuid(33)
            _closed_folders(tmp_path)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _closed_folders(folder: Path) -> None:
    image = {"var/sites/default/settings": b"image"}
    made = []
    for number in range(3):
        release = Release(folder / str(number), image)
        (release.settings.writable[0].pristine / "sites/default").chmod(0o555)
        (release.root / "var/sites/default").chmod(0o555)
        made.append(release)
    first, second, third = made
    lay(first.root, {"var/closed/file": b"mine"})
    (first.root / "var/closed/empty").mkdir(mode=0o555)
    (first.root / "var/closed").chmod(0o555)
    (first.root / "var/sites/default").chmod(0o755)
    lay(first.root, {"var/sites/default/settings": b"changed", "var/sites/default/more": b"more"})
    (first.root / "var/sites/default").chmod(0o555)
    for old, new in ((first, second), (second, third), (third, second)):
        new.take(old)
        assert new.tree == first.tree
        for closed in ("var/closed", "var/closed/empty", "var/sites/default"):
            assert (new.root / closed).stat().st_mode & 0o777 == 0o555, closed
