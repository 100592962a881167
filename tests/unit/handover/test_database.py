"""The database file: copied while it is used, frozen, brought up to date block by block, checked."""

from __future__ import annotations

import hashlib
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import database
from devenv.handover.database import BLOCK
from devenv.handover.fingerprint import fingerprint
from devenv.handover.problem import Problem

Sql = Callable[..., list[tuple[object, ...]]]
ROOT = Path(__file__).parents[3]
FILL = (
    "CREATE TABLE note (id INTEGER PRIMARY KEY, text)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
    " INSERT INTO note SELECT i, hex(i) || zeroblob(500) FROM n",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "folder/copy.sqlite"


@pytest.fixture(autouse=True)
def _folder(copy: Path) -> None:
    copy.parent.mkdir()


# The copy


@pytest.mark.parametrize("journal", ["DELETE", "WAL", "TRUNCATE", "PERSIST"])
def test_a_copy_has_all_that_was_committed_in_any_journal_mode(
    path: Path, copy: Path, sql: Sql, journal: str
) -> None:
    sql(path, f"PRAGMA journal_mode = {journal}", *FILL)
    database.backup(path, copy)
    assert sql(copy, "SELECT * FROM note") == sql(path, "SELECT * FROM note")


def test_a_copy_has_what_is_still_in_the_wal_and_nothing_that_is_not_committed(
    path: Path, copy: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        for statement in FILL:
            writer.execute(statement)
        writer.execute("BEGIN")
        writer.execute("INSERT INTO note VALUES (999, 'not committed')")
        database.backup(path, copy)
        writer.execute("ROLLBACK")
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("SELECT count(*), max(id) FROM note").fetchone() == (400, 400)


def test_a_copy_under_writers_is_of_one_moment(path: Path, copy: Path, sql: Sql) -> None:
    sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE a (n)", "CREATE TABLE b (n)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            for number in range(100_000):
                if stop.is_set():
                    return
                writer.execute("BEGIN IMMEDIATE")
                writer.execute("INSERT INTO a VALUES (?)", (number,))
                writer.execute("INSERT INTO b VALUES (?)", (number,))
                writer.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            into = copy.with_name(f"{number}")
            database.backup(path, into)
            ((ours, theirs),) = sql(into, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
            assert ours == theirs
    finally:
        stop.set()
        writer.join()


def test_copying_and_checking_leave_one_file_and_nothing_beside_it(path: Path, copy: Path, sql: Sql) -> None:
    sql(path, "PRAGMA journal_mode = WAL", *FILL)
    database.backup(path, copy)
    assert database.check(copy).damage == []
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("content", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_not_copied(path: Path, copy: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        database.backup(path, copy)
    assert caught.value.error == "the database cannot be read"
    assert caught.value.final
    assert not copy.exists()


def test_a_database_that_is_not_there_is_not_made(path: Path, copy: Path) -> None:
    with pytest.raises(Problem):
        database.backup(path, copy)
    assert not path.exists()
    assert not copy.exists()


# The check


def test_a_sound_database_has_no_complaints(path: Path, sql: Sql) -> None:
    sql(path, *FILL)
    checked = database.check(path)
    assert (checked.damage, checked.own_words) == ([], [])
    assert len(checked.foreign_keys) == 64


def test_damage_is_named(path: Path, sql: Sql) -> None:
    sql(path, *FILL)
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    assert database.check(path).damage != []


def test_what_is_no_database_is_a_complaint_and_no_exception(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)
    assert database.check(path) == database.Checked(["file is not a database"], "")


def test_an_index_that_lacks_a_row_is_damage(path: Path, sql: Sql) -> None:
    sql(
        path,
        *FILL,
        "CREATE INDEX by_text ON note (text)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX by_text ON note (id)' WHERE name = 'by_text'",
    )
    assert any("by_text" in line for line in database.check(path).damage)


def with_own_words(path: Path) -> None:
    """As Drupal makes one: with a collation and a function of its own code, in all places for one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_collation("NOCASE_UTF8", lambda one, other: -((one > other) - (one < other)))
        connection.create_function("slug", 1, lambda text: text[::-1], deterministic=True)
        for statement in (
            "CREATE TABLE note (text COLLATE NOCASE_UTF8, title, slug AS (slug(title)) NOT NULL,"
            " CHECK (slug(title) IS NOT NULL AND length(slug(title)) > 0))",
            "CREATE INDEX by_text ON note (text)",
            "CREATE UNIQUE INDEX by_slug ON note (slug)",
            "CREATE TABLE word (text COLLATE NOCASE_UTF8 PRIMARY KEY) WITHOUT ROWID",
        ):
            connection.execute(statement)
        rows = [(f"{number:0400}", f"t{number}") for number in range(99)]
        connection.executemany("INSERT INTO note VALUES (?, ?)", rows)
        connection.executemany("INSERT INTO word VALUES (?)", [row[:1] for row in rows])


def test_what_only_the_application_can_compute_is_no_damage(path: Path, copy: Path) -> None:
    with_own_words(path)
    checked = database.check(path)
    assert checked.damage == []
    assert sorted(checked.own_words) == ["collation NOCASE_UTF8", "function slug"]
    database.backup(path, copy)
    assert database.check(copy) == checked
    assert fingerprint(path)["own_words"] == ["collation NOCASE_UTF8", "function slug"]
    assert fingerprint(path)["total"] == fingerprint(copy)["total"]


def test_damage_beside_it_is_damage(path: Path) -> None:
    with_own_words(path)
    with path.open("r+b") as file:
        file.seek(9 * 4096)
        file.write(b"\xff" * 4096)
    assert database.check(path).damage != []


def test_a_row_beside_it_that_differs_is_seen(path: Path, copy: Path) -> None:
    with_own_words(path)
    database.backup(path, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.create_collation("NOCASE_UTF8", lambda one, other: -((one > other) - (one < other)))
        connection.create_function("slug", 1, lambda text: text[::-1], deterministic=True)
        connection.execute("UPDATE note SET title = 'other' WHERE rowid = 50")
    assert fingerprint(path)["total"] != fingerprint(copy)["total"]


KEYS = (
    "CREATE TABLE author (id INTEGER PRIMARY KEY)",
    "CREATE TABLE post (id INTEGER PRIMARY KEY, author REFERENCES author)",
    "INSERT INTO author VALUES (1)",
)


def test_violations_of_foreign_keys_are_compared_and_not_forbidden(path: Path, copy: Path, sql: Sql) -> None:
    sql(path, *KEYS, "INSERT INTO post VALUES (1, 1)")
    clean = database.check(path)
    sql(path, "INSERT INTO post VALUES (2, 99), (3, 98)")
    broken = database.check(path)
    assert clean.damage == broken.damage == []
    assert clean.foreign_keys != broken.foreign_keys
    database.backup(path, copy)
    assert database.check(copy) == broken
    sql(path, "INSERT INTO post VALUES (4, 97)")
    assert database.check(path).foreign_keys != broken.foreign_keys


def test_the_order_in_which_violations_are_found_does_not_count(path: Path, copy: Path, sql: Sql) -> None:
    sql(
        path,
        *KEYS,
        "CREATE TABLE a_post (author REFERENCES author)",
        "INSERT INTO post VALUES (1, 7), (2, 8)",
        "INSERT INTO a_post VALUES (9)",
    )
    sql(
        copy,
        "CREATE TABLE a_post (author REFERENCES author)",
        *KEYS,
        "INSERT INTO a_post VALUES (9)",
        "INSERT INTO post VALUES (2, 8), (1, 7)",
    )
    assert database.check(path) == database.check(copy)


# The freeze


def test_a_frozen_wal_database_is_one_file(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        for statement in FILL:
            writer.execute(statement)
        assert Path(f"{path}-wal").stat().st_size > 0
        # A server that was killed: the connection is never closed in order.
        os.link(path, copy)
        os.link(f"{path}-wal", f"{copy}-wal")
    alone = copy.with_name("alone.sqlite")
    database.freeze(copy)
    alone.write_bytes(copy.read_bytes())
    with closing(sqlite3.connect(alone)) as reader:
        assert reader.execute("SELECT count(*) FROM note").fetchone() == (400,)


def killed_in_a_transaction(path: Path, journal: str) -> None:
    """A process that ends in the middle of one, after it has begun to write to the file."""
    program = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        f"c.execute('PRAGMA journal_mode = {journal}')\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('PRAGMA cache_spill = 1')\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute(\"UPDATE note SET text = 'half' || hex(zeroblob(400))\")\n"
        "os._exit(137)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 137


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_the_half_done_work_of_a_killed_process_is_undone_by_the_freeze(
    path: Path, sql: Sql, journal: str
) -> None:
    sql(path, *FILL)
    before = sql(path, "SELECT * FROM note")
    killed_in_a_transaction(path, journal)
    assert any(Path(f"{path}{suffix}").exists() for suffix in database.SIDE_FILES)
    database.freeze(path)
    alone = path.with_name("alone.sqlite")
    alone.write_bytes(path.read_bytes())
    assert sql(alone, "SELECT * FROM note") == before


def test_a_frozen_file_does_not_change_by_being_read(path: Path, sql: Sql) -> None:
    sql(path, "PRAGMA journal_mode = WAL", *FILL)
    database.freeze(path)
    before = database.sha256(path)
    database.check(path)
    database.freeze(path)
    assert database.sha256(path) == before


def test_a_frozen_file_that_was_read_since_can_be_written_again(path: Path, sql: Sql) -> None:
    """What SQLite leaves beside a WAL database has the rights of its file."""
    sql(path, "PRAGMA journal_mode = WAL", *FILL)
    database.freeze(path)
    path.chmod(0o444)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM note").fetchone()
    beside = [Path(f"{path}{suffix}") for suffix in database.SIDE_FILES]
    assert any(one.exists() and one.stat().st_mode & 0o222 == 0 for one in beside)
    database.thaw(path)
    assert not any(one.exists() for one in beside)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_database_that_was_never_written_is_frozen_as_an_empty_file(path: Path) -> None:
    database.freeze(path)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_database_in_which_somebody_writes_is_not_frozen(
    path: Path, sql: Sql, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: true(*a, **{**k, "timeout": 0.05}))
    sql(path, f"PRAGMA journal_mode = {journal}", *FILL)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO note VALUES (999, 'on its way')")
        with pytest.raises(Problem) as caught:
            database.freeze(path)
        assert not caught.value.final
        writer.execute("ROLLBACK")
    database.freeze(path)


def test_a_wal_database_that_somebody_reads_from_is_not_frozen(
    path: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: true(*a, **{**k, "timeout": 0.05}))
    sql(path, "PRAGMA journal_mode = WAL", *FILL)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM note").fetchone()
        sql(path, "INSERT INTO note VALUES (999, 'later')")
        with pytest.raises(Problem, match="still in use") as caught:
            database.freeze(path)
        assert not caught.value.final


# Block by block


def transfer(frozen: Path, copy: Path, scratch: Path) -> int:
    hashes = database.block_hashes(copy)
    blocks, sha256 = database.write_difference(frozen, hashes, scratch)
    database.apply_difference(copy, scratch, frozen.stat().st_size)
    assert sha256 == hashlib.sha256(frozen.read_bytes()).hexdigest()
    assert copy.read_bytes() == frozen.read_bytes()
    return blocks


SIZES = st.one_of(st.integers(0, 5 * BLOCK), st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK]))


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None
)
@given(
    before=SIZES,
    after=SIZES,
    seed=st.integers(0, 3),
    changes=st.lists(st.tuples(st.integers(0, 5 * BLOCK), st.binary(min_size=1, max_size=9)), max_size=6),
)
def test_any_file_becomes_any_other_by_its_differing_blocks(
    tmp_path: Path, before: int, after: int, seed: int, changes: list[tuple[int, bytes]]
) -> None:
    content = bytes([seed]) * before
    changed = bytearray((content + bytes([seed]) * after)[:after])
    touched = set()
    for where, what in changes:
        if where + len(what) <= len(changed):
            if changed[where : where + len(what)] != what:
                touched |= {where // BLOCK, (where + len(what) - 1) // BLOCK}
            changed[where : where + len(what)] = what
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(content)
    new.write_bytes(changed)
    blocks = transfer(new, old, tmp_path / "difference")
    if before == after:
        assert blocks <= len(touched)


def test_equal_files_differ_in_no_block(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(
            os.urandom(7) * 30_000 if name == "a" else (tmp_path / "a").read_bytes()
        )
    assert transfer(tmp_path / "a", tmp_path / "b", tmp_path / "difference") == 0


def test_blocks_beyond_one_read_are_found_at_their_place(tmp_path: Path) -> None:
    large = bytearray(9 << 20)
    (tmp_path / "old").write_bytes(large)
    large[-1] = large[5 << 20] = 1
    (tmp_path / "new").write_bytes(large)
    assert transfer(tmp_path / "new", tmp_path / "old", tmp_path / "difference") == 2


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("change", ["INSERT", "DELETE and VACUUM", "UPDATE", "another page size"])
def test_a_copy_of_a_database_in_use_becomes_the_frozen_one(
    path: Path, copy: Path, tmp_path: Path, sql: Sql, page_size: int, change: str
) -> None:
    sql(path, f"PRAGMA page_size = {page_size}", "VACUUM", "PRAGMA journal_mode = WAL", *FILL)
    database.backup(path, copy)
    statements = {
        "INSERT": ("INSERT INTO note SELECT id + 1000, text FROM note",),
        "DELETE and VACUUM": ("DELETE FROM note WHERE id > 20", "VACUUM"),
        "UPDATE": ("UPDATE note SET text = 'x' WHERE id % 97 = 0",),
        "another page size": ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 1024", "VACUUM"),
    }
    sql(path, *statements[change])
    database.freeze(path)
    transfer(path, copy, tmp_path / "difference")
    assert database.check(copy) == database.check(path)


def test_what_the_warm_up_wrote_into_the_copy_is_taken_back(
    path: Path, copy: Path, tmp_path: Path, sql: Sql
) -> None:
    sql(path, *FILL)
    database.backup(path, copy)
    sql(copy, "PRAGMA journal_mode = WAL", "DELETE FROM note", "CREATE TABLE migrated (a)")
    database.freeze(path)
    transfer(path, copy, tmp_path / "difference")
    assert sql(copy, "SELECT count(*) FROM note") == [(400,)]


# In its place


@pytest.mark.parametrize("suffix", database.SIDE_FILES)
def test_side_files_of_the_old_database_are_gone_before_the_new_one_is_there(
    path: Path, copy: Path, sql: Sql, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(copy, *FILL)
    Path(f"{path}{suffix}").write_bytes(b"stale")
    true = Path.rename

    def rename(self: Path, target: Path) -> Path:
        assert not Path(f"{path}{suffix}").exists()
        return true(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    database.install(copy, path)
    assert sql(path, "SELECT count(*) FROM note") == [(400,)]


def test_a_stale_wal_would_else_be_replayed_into_the_new_database(path: Path, copy: Path, sql: Sql) -> None:
    """Why install() deletes: the file of another database with its WAL beside it is another content."""
    sql(path, *FILL)
    sql(copy, *FILL)
    killed_in_a_transaction(path, "DELETE")
    journal = Path(f"{path}-journal")
    assert journal.exists()
    database.install(copy, path)
    assert not journal.exists()
    assert sql(path, "SELECT count(*) FROM note WHERE text LIKE 'half%'") == [(0,)]
    assert database.check(path).damage == []


# Room


def test_too_little_room_is_told_before_anything_is_copied(tmp_path: Path) -> None:
    database.need_space(tmp_path, 0)
    with pytest.raises(Problem) as caught:
        database.need_space(tmp_path, 1 << 60)
    assert caught.value.error == "the disk of the new instance is full"
    assert str(tmp_path) in caught.value.why
    assert caught.value.final


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (OSError(5, "Input/output error"), False),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("database is locked"), False),
        (ValueError("disk is full"), False),
    ],
)
def test_a_full_disk_is_told_apart(error: BaseException, full: bool) -> None:
    assert database.is_disk_full(error) is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB, where we may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
        ).returncode
        == 0
    )
    if not made:
        pytest.skip("a file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_in_the_middle_of_a_copy_is_told_as_that(
    path: Path, small_disk: Path, sql: Sql
) -> None:
    sql(path, "CREATE TABLE t AS SELECT randomblob(5000000) AS b")
    with pytest.raises(Problem) as caught:
        database.backup(path, small_disk / "copy")
    assert caught.value.error == "the disk of the new instance is full"
    assert not (small_disk / "copy").exists()
    assert database.check(path).damage == []


def test_a_write_that_fails_in_the_middle_leaves_the_owners_file_alone(
    path: Path, tmp_path: Path, sql: Sql
) -> None:
    sql(path, *FILL)
    before = database.sha256(path)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from devenv.handover import database\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000))\n"
        "try: database.write_difference(Path(sys.argv[1]), b'', Path(sys.argv[2]))\n"
        "except OSError as error: print(error.errno)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    answer = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path / "difference")],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert answer.stdout == b"27\n"
    assert database.sha256(path) == before
