"""The database's file beside SQLite: a copy for which writers wait a moment only, and locks that stay."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devenv.handover import database, rawfile

Sql = Callable[..., list[tuple[object, ...]]]
FILL = (
    "CREATE TABLE note (id INTEGER PRIMARY KEY, text)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
    " INSERT INTO note SELECT i, hex(i) || zeroblob(500) FROM n",
)
ROLLBACK = ["DELETE", "TRUNCATE", "PERSIST"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.sqlite"


def elsewhere(path: Path, statement: str) -> str:
    """What SQLite says to it in another process, which waits for nobody."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "try:\n"
        "    connection.execute(sys.argv[2]); connection.commit()\n"
        "except sqlite3.OperationalError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, str(path), statement], stdout=subprocess.PIPE)
    return told.stdout.decode().strip()


@pytest.mark.parametrize("journal", ROLLBACK)
def test_a_writer_waits_for_what_has_changed_since_and_not_for_the_whole_copy(
    path: Path, copy: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    sql(path, f"PRAGMA journal_mode = {journal}", *FILL)
    true = rawfile.level
    said: list[str] = []

    def level(source: int, target: int) -> None:
        true(source, target)
        said.append(elsewhere(path, f"UPDATE note SET text = 'of round {len(said)}' WHERE id % 1000 = 0"))

    monkeypatch.setattr(database, "level", level)
    database.backup(path, copy)
    assert said == ["", "database is locked"]
    assert sql(copy, "SELECT DISTINCT text FROM note WHERE id % 1000 = 0") == [("of round 0",)]
    assert database.check(copy).damage == []
    assert elsewhere(path, "DELETE FROM note") == ""


def test_a_database_that_comes_into_wal_mode_while_it_is_copied_is_copied_with_its_wal(
    path: Path, copy: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(path, *FILL)
    true = rawfile.level
    kept: list[sqlite3.Connection] = []

    def level(source: int, target: int) -> None:
        true(source, target)
        other = sqlite3.connect(path, isolation_level=None)
        kept.append(other)
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE note SET text = 'in the wal'")

    monkeypatch.setattr(database, "level", level)
    database.backup(path, copy)
    for one in kept:
        one.close()
    assert sql(copy, "SELECT DISTINCT text FROM note") == [("in the wal",)]


def test_a_database_that_shrinks_while_it_is_copied_is_copied_whole(
    path: Path, copy: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(path, *FILL)
    true = rawfile.level
    rounds: list[int] = []

    def level(source: int, target: int) -> None:
        true(source, target)
        if not rounds:
            sql(path, "DELETE FROM note WHERE id > 10", "VACUUM")
        rounds.append(0)

    monkeypatch.setattr(database, "level", level)
    database.backup(path, copy)
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("journal", ROLLBACK)
def test_a_copy_under_writers_in_rollback_mode_is_of_one_moment(
    path: Path, copy: Path, sql: Sql, journal: str
) -> None:
    sql(path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE a (n, b)", "CREATE TABLE b (n, b)")
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "for number in range(1_000_000):\n"
        "    connection.execute('BEGIN IMMEDIATE')\n"
        "    connection.execute('INSERT INTO a VALUES (?, randomblob(9000))', (number,))\n"
        "    connection.execute('UPDATE a SET b = zeroblob(900) WHERE n % 7 = 0 AND n + 50 > ?', (number,))\n"
        "    connection.execute('INSERT INTO b VALUES (?, randomblob(9000))', (number,))\n"
        "    connection.execute('COMMIT')\n"
        "    print(flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        for number in range(5):
            writer.stdout.readline()
            into = copy.with_name(f"{number}")
            database.backup(path, into)
            assert database.check(into).damage == []
            ((ours, theirs),) = sql(into, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
            assert ours == theirs > 0
    finally:
        writer.kill()
        writer.communicate()


def test_what_a_killed_writer_had_begun_is_not_in_the_copy(path: Path, copy: Path, sql: Sql) -> None:
    sql(path, *FILL)
    program = (
        "import os, signal, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA cache_size = 5')\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute(\"UPDATE note SET text = 'half'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)])
    assert Path(f"{path}-journal").stat().st_size > 0
    database.backup(path, copy)
    assert sql(copy, "SELECT count(*) FROM note WHERE text = 'half'") == [(0,)]
    assert database.check(copy).damage == []


def test_reading_the_file_gives_no_lock_away(path: Path, tmp_path: Path, sql: Sql) -> None:
    sql(path, *FILL)
    with rawfile.connected(str(path.as_uri()), timeout=1) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM note").fetchone()
        assert elsewhere(path, "DELETE FROM note") == "database is locked"
        database.write_difference(path, b"", tmp_path / "difference")
        assert elsewhere(path, "DELETE FROM note") == "database is locked"
        connection.execute("ROLLBACK")
    assert elsewhere(path, "DELETE FROM note") == ""


def test_no_file_stays_open_when_no_connection_is(path: Path, copy: Path, tmp_path: Path, sql: Sql) -> None:
    sql(path, *FILL)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        database.backup(path, copy)
        database.write_difference(path, b"", tmp_path / "difference")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_copy_of_an_empty_file_is_one(path: Path, copy: Path) -> None:
    path.touch()
    database.backup(path, copy)
    assert copy.read_bytes() == b""


def test_a_copy_over_an_older_one_holds_nothing_of_it(path: Path, copy: Path, sql: Sql) -> None:
    sql(path, *FILL)
    copy.write_bytes(os.urandom(path.stat().st_size + 300_000))
    database.backup(path, copy)
    assert copy.read_bytes() == path.read_bytes()
