"""A database that a build finds, as somebody's editor or dev server has left it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from devenv.handover import seed
from devenv.handover.problem import Problem

ROWS = 1500


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "app.db"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "seed" / "database.sqlite"


def copied(live: Path, to: Path) -> None:
    """As `cp -a` of a folder that a program is at work in."""
    for path in live.parent.iterdir():
        shutil.copy2(path, to.parent / path.name.replace(live.name, to.name))


def rows(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])


def test_rows_that_are_in_the_wal_alone_are_in_the_seed(source: Path, into: Path, tmp_path: Path) -> None:
    live = tmp_path / "live" / "app.db"
    live.parent.mkdir()
    with closing(sqlite3.connect(live, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("CREATE TABLE note (text)")
        writer.executemany("INSERT INTO note VALUES (?)", [(str(number),) for number in range(ROWS)])
        copied(live, source)
    assert Path(f"{source}-wal").stat().st_size > source.stat().st_size
    assert seed.take(source, into)
    assert rows(into) == ROWS
    assert list(source.parent.iterdir()) == []


def test_a_change_that_was_not_committed_is_taken_back(source: Path, into: Path, tmp_path: Path) -> None:
    live = tmp_path / "live" / "app.db"
    live.parent.mkdir()
    with closing(sqlite3.connect(live, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE note (text)")
        writer.executemany("INSERT INTO note VALUES (?)", [(f"{number:0900}",) for number in range(ROWS)])
        writer.execute("PRAGMA cache_size = 5")  # so that much of it is in the file before its end
        writer.execute("BEGIN")
        writer.execute("UPDATE note SET text = 'x' || text")
        writer.execute("DELETE FROM note WHERE rowid % 2")
        copied(live, source)
        writer.execute("ROLLBACK")
    assert Path(f"{source}-journal").stat().st_size > 512
    assert seed.take(source, into)
    assert rows(into) == ROWS
    assert list(source.parent.iterdir()) == []


def test_what_lies_in_its_place_already_is_looked_at_as_well(into: Path) -> None:
    into.parent.mkdir()
    with closing(sqlite3.connect(into)) as connection:
        connection.execute("CREATE TABLE note (text)")
    assert seed.take(into, into)
    assert rows(into) == 0


def test_none_is_none_and_an_empty_file_is_an_empty_database(source: Path, into: Path) -> None:
    assert not seed.take(source, into)
    assert not into.exists()
    source.touch()
    assert seed.take(source, into)
    assert into.stat().st_size == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"<?php // not a database", "no file of SQLite 3"),
        (b"SQLite format 2\0" + bytes(2000), "no file of SQLite 3"),
        (b"SQLite format 3\0" + b"\xff" * 2000, "cannot be used"),
    ],
)
def test_what_is_no_database_is_refused_with_what_it_is(
    source: Path, into: Path, content: bytes, words: str
) -> None:
    source.write_bytes(content)
    with pytest.raises(Problem) as wrong:
        seed.take(source, into)
    assert words in f"{wrong.value} {wrong.value.next_step}"
    assert not into.exists()


def test_a_damaged_one_is_refused(source: Path, into: Path) -> None:
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE note (text)")
        connection.executemany("INSERT INTO note VALUES (?)", [(f"{number:0900}",) for number in range(99)])
    with source.open("r+b") as file:
        file.seek(9 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(Problem, match="cannot be used"):
        seed.take(source, into)


def test_a_build_is_told_what_is_wrong(source: Path, into: Path) -> None:
    source.write_text("no database")
    argv = [sys.executable, "-m", "devenv.handover", "seed", str(source), str(into)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"] == "the seed is no database"
