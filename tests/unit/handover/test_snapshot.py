"""Snapshots: written whole or not at all, and the newest one that is right is restored."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.handover import changes, database, snapshot
from devenv.handover import mark as marks
from devenv.handover.fingerprint import fingerprint
from devenv.handover.mark import Mark
from devenv.handover.placement import Placement
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role
from devenv.handover.settings import Settings
from devenv.handover.snapshot import FORMAT

Sql = Callable[..., list[tuple[object, ...]]]
OWNER = Record(uid="u1", role=Role.OWNER, lineage="line", epoch=3, served=True)


@pytest.fixture
def content(settings: Settings, sql: Sql) -> Settings:
    sql(
        settings.database,
        "CREATE TABLE note (text)",
        "INSERT INTO note VALUES ('one')",
        "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
        " SELECT i, hex(i * 7919) || zeroblob(300) AS b FROM n",
    )
    (settings.writable[0].path / "uploads" / "file").write_bytes(b"upload")
    return settings


@pytest.fixture
def folder(content: Settings) -> Path:
    assert content.snapshots is not None
    return content.snapshots


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time of the next snapshot; each takes a second."""
    now = [1_700_000_000.0]
    true = time.gmtime

    def gmtime(seconds: float | None = None) -> time.struct_time:
        now[0] += 1
        return true(now[0] if seconds is None else seconds)

    monkeypatch.setattr(snapshot.time, "gmtime", gmtime)
    return now


def saved(settings: Settings, record: Record = OWNER) -> Path:
    """By an owner that has served before."""
    assert settings.snapshots is not None
    sign(settings.snapshots, record)
    return settings.snapshots / str(snapshot.save(settings, record)["file"])


def sign(folder: Path, record: Record) -> None:
    marks.save(folder, Mark(record.uid, "host", "v1", record.lineage, record.epoch))


def install(settings: Settings, path: Path) -> snapshot.Description:
    described = snapshot.stage(path, settings)
    Placement(settings).put()
    Placement(settings).forget()
    return described


def test_a_snapshot_says_what_it_is_and_lies_where_it_says(content: Settings, folder: Path) -> None:
    described = snapshot.save(content, OWNER)
    path = folder / described["file"]
    assert path.name.endswith("-0003-v1.tar")
    read = snapshot.describe(path)
    assert read == {key: value for key, value in described.items() if key != "file"}
    assert (read["format"], read["lineage"], read["epoch"], read["release"]) == (FORMAT, "line", 3, "v1")
    assert read["fingerprint"]["total"] == fingerprint(content.database)["total"]


def test_what_is_saved_is_what_is_restored(content: Settings, sql: Sql) -> None:
    path = saved(content)
    before = fingerprint(content.database)["total"]
    sql(content.database, "DELETE FROM note", "DROP TABLE filler")
    (content.writable[0].path / "uploads" / "file").write_bytes(b"changed")
    (content.writable[0].path / "uploads" / "later").touch()
    install(content, path)
    assert fingerprint(content.database)["total"] == before
    assert {file.name: file.read_bytes() for file in (content.writable[0].path / "uploads").iterdir()} == {
        "file": b"upload"
    }


def test_side_files_of_the_replaced_database_are_not_replayed_into_the_restored_one(
    content: Settings,
) -> None:
    path = saved(content)
    for suffix in database.SIDE_FILES:
        Path(f"{content.database}{suffix}").write_bytes(b"stale")
    install(content, path)
    assert not any(Path(f"{content.database}{suffix}").exists() for suffix in database.SIDE_FILES)


def test_a_snapshot_while_it_is_written_to_is_of_one_moment(content: Settings, sql: Sql) -> None:
    sql(content.database, "PRAGMA journal_mode = WAL", "INSERT INTO note VALUES ('two')")
    path = saved(content)
    install(content, path)
    assert sql(content.database, "SELECT count(*) FROM note") == [(2,)]


def test_one_can_be_written_to_a_pipe(content: Settings) -> None:
    class Pipe(io.RawIOBase):
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.written += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

        def seek(self, *_: object) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    snapshot.write(content, OWNER, pipe)  # type: ignore[arg-type]
    with tarfile.open(fileobj=io.BytesIO(pipe.written)) as tar:
        assert tar.getnames() == ["snapshot.json", "database.sqlite", "changes.tar"]


def test_one_of_a_moved_instance_is_of_what_it_handed_over(content: Settings, sql: Sql) -> None:
    content.database.chmod(0o444)
    path = saved(content, OWNER.evolve(role=Role.MOVED))
    assert snapshot.describe(path)["sha256"] == database.sha256(content.database)


def test_nothing_is_saved_where_there_is_no_place_for_it(content: Settings) -> None:
    with pytest.raises(Problem, match="there is no place for snapshots"):
        snapshot.save(replace(content, snapshots=None), OWNER)


def test_scratch_files_do_not_stay(content: Settings, folder: Path) -> None:
    saved(content)
    assert sorted(path.name.rpartition(".")[2] for path in folder.iterdir()) == ["json", "tar"]
    assert list(content.state.iterdir()) == []


def test_a_crash_while_it_is_written_leaves_no_snapshot(
    content: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(content)
    before = sorted(folder.glob("*.tar"))

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        snapshot.save(replace(content, release="v2"), OWNER)
    assert sorted(folder.glob("*.tar")) == before
    assert snapshot.newest(folder) == before[0]


def test_a_killed_save_leaves_nothing_that_looks_like_a_snapshot(content: Settings, folder: Path) -> None:
    (folder / ".part-killed").write_bytes(b"half")
    assert snapshot.newest(folder) is None


def test_two_that_are_saved_at_once_are_both_whole(content: Settings, folder: Path) -> None:
    """By hand, and at the end of the same instance."""
    errors: list[BaseException] = []

    def save(release: str) -> None:
        try:
            snapshot.save(replace(content, release=release), OWNER)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(f"r{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    paths = sorted(folder.glob("*.tar"))
    assert len(paths) == 4
    for path in paths:
        install(content, path)


# Which one is the newest


def test_of_none_the_newest_is_none(folder: Path) -> None:
    assert snapshot.newest(None) is None
    assert snapshot.newest(folder) is None


def test_the_newest_is_the_one_that_was_saved_last(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    saved(content)
    saved(content, OWNER.evolve(epoch=4))
    last = saved(content, OWNER.evolve(epoch=5))
    assert snapshot.newest(folder) == last


def test_it_is_of_the_content_that_was_served_last(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    """What was replaced by a restored snapshot does not come back."""
    saved(content, OWNER.evolve(epoch=9))
    restored = saved(content, OWNER.evolve(lineage="new", epoch=1))
    other = saved(content, OWNER.evolve(lineage="other"))
    sign(folder, OWNER.evolve(lineage="new", epoch=1))
    assert snapshot.newest(folder) == restored
    (folder / marks.NAME).unlink()
    assert snapshot.newest(folder) == other


def test_content_that_was_recovered_and_not_saved_since_goes_back_to_what_there_is(
    content: Settings, folder: Path
) -> None:
    """Its lineage begins when a person gives its owner up: with the snapshot of another one."""
    last = saved(content)
    sign(folder, OWNER.evolve(lineage="recovered"))
    assert snapshot.newest(folder) == last


def test_a_clock_that_goes_back_brings_no_older_content_back(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    saved(content, OWNER.evolve(epoch=3))
    clock[0] -= 86_400
    later = saved(content, OWNER.evolve(epoch=4))
    assert snapshot.newest(folder) == later


def test_a_clock_that_goes_back_within_one_life_brings_no_older_content_back(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    """An owner that goes on has one epoch: after a restart, and after a restore."""
    saved(content)
    clock[0] -= 86_400
    later = saved(content)
    assert snapshot.newest(folder) == later
    found = snapshot.stage_last(content, lambda path, problem: None, forsaken=True)
    assert found is not None
    assert found[0] == later


def test_a_clock_that_went_back_does_not_have_the_latest_pruned(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    early = [saved(content) for _ in range(snapshot.KEPT)]
    clock[0] -= 86_400
    late = [saved(content) for _ in range(3)]
    assert set(folder.glob("*.tar")) == {*early[3:], *late}


def test_only_the_last_few_are_kept(content: Settings, folder: Path, clock: list[float]) -> None:
    paths = [saved(content, OWNER.evolve(epoch=number)) for number in range(1, snapshot.KEPT + 3)]
    assert sorted(folder.glob("*.tar")) == sorted(paths[-snapshot.KEPT :])


def test_the_one_that_was_just_saved_is_kept_whatever_the_clock_says(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    for number in range(1, snapshot.KEPT + 1):
        saved(content, OWNER.evolve(epoch=number))
    clock[0] -= 86_400
    last = saved(content, OWNER.evolve(epoch=99))
    assert last.exists()
    assert snapshot.newest(folder) == last


# Damage


def damage(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def test_a_newest_one_that_is_no_snapshot_is_passed_over_and_that_is_said(
    content: Settings, folder: Path, clock: list[float]
) -> None:
    right = saved(content)
    broken = saved(content, OWNER.evolve(epoch=4))
    broken.write_bytes(b"")
    said: list[str] = []
    assert (
        snapshot.newest(folder, lambda path, problem: said.append(f"{path.name}: {problem.error}")) == right
    )
    assert said == [f"{broken.name}: a snapshot cannot be used"]


def test_if_none_can_be_used_it_is_not_said_that_there_is_none(content: Settings, folder: Path) -> None:
    """A new and empty database would begin, and be saved over the last one that may be mended."""
    saved(content).write_bytes(b"")
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        snapshot.newest(folder)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_the_next_one_is_restored_if_the_newest_is_not_whole(
    content: Settings, folder: Path, clock: list[float], sql: Sql, share: float
) -> None:
    right = saved(content)
    sql(content.database, "INSERT INTO note VALUES ('two')")
    broken = saved(content, OWNER.evolve(epoch=4))
    damage(broken, share)
    said: list[str] = []
    found = snapshot.stage_last(content, lambda path, problem: said.append(path.name), forsaken=True)
    assert found is not None
    assert (found[0], found[1]["epoch"], said) == (right, 3, [broken.name])
    assert sql(content.staged, "SELECT count(*) FROM note") == [(1,)]


def test_if_no_body_is_whole_nothing_is_begun(content: Settings, folder: Path) -> None:
    damage(saved(content), 0.5)
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        snapshot.stage_last(content, lambda path, problem: None)


def test_a_full_disk_is_no_reason_to_take_an_older_one(
    content: Settings, folder: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(content)
    saved(content, OWNER.evolve(epoch=4))

    def full(*_: object) -> None:
        raise database.disk_full(content.state, "no room")

    monkeypatch.setattr(database, "need_space", full)
    with pytest.raises(Problem, match="the disk of the new instance is full"):
        snapshot.stage_last(content, lambda path, problem: None)


def test_where_there_is_none_nothing_is_restored(content: Settings) -> None:
    assert snapshot.stage_last(content, lambda path, problem: None) is None
    assert snapshot.stage_last(replace(content, snapshots=None), lambda path, problem: None) is None


def test_one_of_a_newer_release_is_not_passed_over_for_an_older_one(
    content: Settings, folder: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(content)
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "FORMAT", FORMAT + 1)
        saved(content, OWNER.evolve(epoch=4))
    with pytest.raises(Problem, match="newer than this release knows"):
        snapshot.newest(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8])
def test_one_that_was_cut_is_refused_and_nothing_is_changed(
    content: Settings, sql: Sql, share: float
) -> None:
    path = saved(content)
    damage(path, share)
    sql(content.database, "INSERT INTO note VALUES ('two')")
    with pytest.raises(Problem) as caught:
        install(content, path)
    assert caught.value.error == "a snapshot cannot be used"
    assert path.name in caught.value.why
    assert sql(content.database, "SELECT count(*) FROM note") == [(2,)]
    assert (content.writable[0].path / "uploads" / "file").exists()


def offset_of(path: Path, name: str) -> int:
    with tarfile.open(path) as tar:
        return tar.getmember(name).offset_data


@pytest.mark.parametrize(
    ("part", "where"),
    [("database.sqlite", 5000), ("changes.tar", 512 * 2 + 148), ("changes.tar", 148), ("snapshot.json", 0)],
)
def test_one_with_a_wrong_byte_is_refused_and_nothing_is_changed(
    content: Settings, sql: Sql, part: str, where: int
) -> None:
    path = saved(content)
    raw = bytearray(path.read_bytes())
    raw[offset_of(path, part) + where] ^= 0x15
    path.write_bytes(raw)
    sql(content.database, "INSERT INTO note VALUES ('two')")
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        install(content, path)
    assert sql(content.database, "SELECT count(*) FROM note") == [(2,)]
    assert (content.writable[0].path / "uploads" / "file").exists()


def tar_of(path: Path, **parts: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_an_application_that_has_made_no_database_yet_is_saved_with_what_lies_beside(
    content: Settings,
) -> None:
    content.database.rename(content.database.with_name("other.db"))
    path = saved(content)
    assert snapshot.describe(path)["elsewhere"] == ["data/other.db"]
    (content.writable[0].path / "uploads" / "file").unlink()
    described = install(content, path)
    assert (described["bytes"], described["damage"], described["fingerprint"]["tables"]) == (0, [], {})
    assert (content.writable[0].path / "uploads" / "file").read_bytes() == b"upload"
    database.forget_empty(content.database)
    assert not content.database.exists()


def test_a_database_that_somebody_has_removed_is_missed(content: Settings, clock: list[float]) -> None:
    """It was there when it was saved before: that nothing is there is no last word."""
    path = saved(content)
    content.database.unlink()
    last = snapshot.save(content, OWNER)
    assert content.snapshots is not None
    marks.save(content.snapshots, Mark(OWNER.uid, "host", "v1", OWNER.lineage, OWNER.epoch, last["file"]))
    with pytest.raises(Problem, match=f"had no database at its end.*{path.name}"):
        snapshot.stage_last(content, lambda path, problem: None)


def test_after_one_in_which_nobody_wrote_anything_it_begins_anew(content: Settings) -> None:
    """There may be a seed by now."""
    content.database.unlink()
    assert content.snapshots is not None
    for name, begins in (("uploads/file", True), ("uploads", False)):
        last = snapshot.save(content, OWNER)
        marks.save(content.snapshots, Mark(OWNER.uid, "host", "v1", OWNER.lineage, OWNER.epoch, last["file"]))
        assert (snapshot.stage_last(content, lambda path, problem: None) is not None) is begins
        changes.remove(content.writable[0].path / name)


def test_one_that_is_not_empty_is_kept_and_so_is_one_with_a_journal(content: Settings) -> None:
    database.forget_empty(content.database)
    assert content.database.stat().st_size
    content.database.write_bytes(b"")
    wal = Path(f"{content.database}-wal")
    wal.touch()
    database.forget_empty(content.database)
    assert content.database.exists()
    wal.unlink()
    database.forget_empty(content.database)
    assert not content.database.exists()


def of_first_format(settings: Settings, *members: tuple[str, bytes | None]) -> Path:
    """As earlier devenvs wrote it: folders by number, a file with None."""
    path = saved(settings)
    description = {**snapshot.describe(path), "format": 1}
    del description["changed"], description["left"]
    folders = io.BytesIO()
    with tarfile.open(fileobj=folders, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = (tarfile.REGTYPE, 0o600) if data is not None else (tarfile.DIRTYPE, 0o700)
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return tar_of(
        path.with_name("old.tar"),
        snapshot_json=json.dumps(description).encode(),
        database_sqlite=settings.database.read_bytes(),
        travel_tar=folders.getvalue(),
    )


def test_one_that_an_earlier_devenv_has_saved_is_restored_with_its_sessions(content: Settings) -> None:
    path = of_first_format(content, ("0", None), ("0/sess_abc", b"user"), ("manifest", b"{}"))
    before = fingerprint(content.database)["total"]
    install(content, path)
    assert fingerprint(content.database)["total"] == before
    sessions = content.database.parent / "sessions"
    assert (sessions / "sess_abc").read_bytes() == b"user"
    assert sessions.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["0/cat.jpg", "1/sess_abc", "0/sess_/../../x"])
def test_folders_of_an_earlier_devenv_that_nobody_can_name_are_for_a_person(
    content: Settings, name: str
) -> None:
    with pytest.raises(Problem, match="cannot be used"):
        install(content, of_first_format(content, ("0", None), (name, b"user")))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"other_json": b"{}"},
        {"snapshot_json": b"no json"},
        {"snapshot_json": b"[]"},
        {"snapshot_json": b"{}"},
        {"snapshot_json": b'{"format": 1}'},
        {"snapshot_json": json.dumps({"format": FORMAT + 1}).encode()},
    ],
)
def test_what_is_no_snapshot_is_refused(content: Settings, tmp_path: Path, parts: dict[str, bytes]) -> None:
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        snapshot.describe(tar_of(tmp_path / "some.tar", **parts))


def test_one_whose_database_was_damaged_before_it_was_saved_is_refused(
    content: Settings, folder: Path
) -> None:
    """The SHA-256 is right; the content was not, when it was copied."""
    raw = bytearray(content.database.read_bytes())
    raw[8192 + 8 : 8192 + 40] = b"\xff" * 32
    path = saved(content, OWNER)
    description = snapshot.describe(path)
    with tarfile.open(path) as tar:
        travelling = tar.extractfile("changes.tar")
        assert travelling is not None
        rest = travelling.read()
    copy = content.state / "damaged"
    copy.write_bytes(raw)
    description["sha256"] = database.sha256(copy)
    copy.unlink()
    forged = tar_of(
        folder / "forged.tar",
        snapshot_json=json.dumps(description).encode(),
        database_sqlite=bytes(raw),
        changes_tar=rest,
    )
    with pytest.raises(Problem, match="its database is damaged"):
        install(content, forged)


def spoil(path: Path, where: int) -> bytes:
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * 64)
    return path.read_bytes()


def test_a_damaged_database_is_saved_as_it_is_and_that_is_said(content: Settings, folder: Path) -> None:
    """The data never gives way: what can be read of it by other means must not end with the container."""
    raw = spoil(content.database, 4096 * 2)
    path = saved(content)
    said = snapshot.describe(path)
    assert said["fingerprint"] is None
    assert said["damage"]
    content.database.unlink()
    install(content, path)
    # SQLite's own copy differs in a counter on the first page.
    assert content.database.read_bytes()[4096:] == raw[4096:]


def test_what_is_no_database_any_more_is_saved_with_its_side_files_when_nobody_writes(
    content: Settings, folder: Path
) -> None:
    raw = spoil(content.database, 0)
    Path(f"{content.database}-wal").write_bytes(b"the last writes")
    path = folder / str(snapshot.save(content, OWNER, still=True)["file"])
    with pytest.raises(Problem, match="the database cannot be read"):
        snapshot.save(content, OWNER)
    assert snapshot.describe(path)["fingerprint"] is None
    with tarfile.open(path) as tar:
        wal = tar.extractfile("database.sqlite-wal.saved")
        assert wal is not None
        assert wal.read() == b"the last writes"
    content.database.unlink()
    install(content, path)
    assert content.database.read_bytes() == raw


def test_nothing_is_changed_where_a_folder_cannot_be_replaced(
    content: Settings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(content)
    sql(content.database, "INSERT INTO note VALUES ('two')")
    monkeypatch.setattr(Path, "is_mount", lambda self: self == content.writable[0].path / "uploads")
    with pytest.raises(Problem, match="something is mounted in a writable folder"):
        install(content, path)
    assert sql(content.database, "SELECT count(*) FROM note") == [(2,)]
    assert (content.writable[0].path / "uploads" / "file").exists()


def test_a_file_that_is_not_there_is_a_problem(content: Settings, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        install(content, tmp_path / "none.tar")
