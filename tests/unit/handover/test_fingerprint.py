"""The fingerprint: the same for the same content, another one for any other."""

from __future__ import annotations

import itertools
import json
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover.fingerprint import ROWS_AT_ONCE, fingerprint
from devenv.handover.problem import Problem

Sql = Callable[..., list[tuple[object, ...]]]
NOTES = "CREATE TABLE note (id INTEGER PRIMARY KEY, text, size)"


def total(path: Path) -> str:
    return str(fingerprint(path)["total"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return tmp_path / "other.sqlite"


def test_it_says_what_it_is_of_and_can_be_written_as_json(path: Path, sql: Sql) -> None:
    sql(path, NOTES, "INSERT INTO note VALUES (1, 'a', x'00ff'), (2, 'b', NULL)", "CREATE TABLE empty (a)")
    it = fingerprint(path)
    assert it["format"] == 1
    assert {name: table["rows"] for name, table in it["tables"].items()} == {"empty": 0, "note": 2}
    assert json.loads(json.dumps(it)) == it


def test_the_same_again_is_the_same(path: Path, sql: Sql) -> None:
    sql(path, NOTES, "INSERT INTO note VALUES (1, 'a', 1)")
    one, again = fingerprint(path), fingerprint(path)
    assert (one["tables"], one["total"]) == (again["tables"], again["total"])


FILLED = (
    "CREATE TABLE keyed (id INTEGER PRIMARY KEY, text TEXT)",
    "CREATE TABLE plain (text TEXT, size INTEGER)",
    "CREATE INDEX plain_text ON plain (text)",
    "CREATE TABLE covered (text TEXT)",
    "CREATE INDEX covered_text ON covered (text)",
    "CREATE TABLE pairs (a TEXT, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
    " INSERT INTO keyed SELECT i, hex(i * 7919 % 1009) FROM n",
    "INSERT INTO plain SELECT text, id FROM keyed",
    "INSERT INTO covered SELECT text FROM keyed",
    "INSERT INTO pairs SELECT text, id FROM keyed",
)


@pytest.mark.parametrize(
    "change",
    [
        ("VACUUM",),
        ("PRAGMA page_size = 512", "VACUUM"),
        ("PRAGMA page_size = 65536", "VACUUM"),
        ("PRAGMA auto_vacuum = FULL", "VACUUM"),
        ("PRAGMA journal_mode = WAL",),
        ("PRAGMA user_version = 7",),
        ("CREATE INDEX another ON plain (size, text)",),
        ("CREATE INDEX another ON plain (text, size)",),
        ("DROP INDEX covered_text",),
        ("ANALYZE",),
        ("REINDEX",),
        ("DELETE FROM keyed WHERE id = 7", "INSERT INTO keyed VALUES (7, hex(7 * 7919 % 1009))"),
    ],
    ids=lambda change: " ".join(change)[:40],
)
def test_another_layout_of_the_same_content_is_the_same(
    path: Path, sql: Sql, change: tuple[str, ...]
) -> None:
    sql(path, *FILLED)
    before = total(path)
    content = path.read_bytes()
    sql(path, *change)
    assert path.read_bytes() != content or change == ("REINDEX",)
    assert total(path) == before


def test_rows_that_were_inserted_in_another_order_under_the_same_keys_are_the_same(
    path: Path, other: Path, sql: Sql
) -> None:
    sql(path, NOTES, "INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    sql(
        other,
        NOTES,
        "INSERT INTO note VALUES (3, 'c', 3)",
        "INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)",
    )
    assert total(path) == total(other)


def test_what_the_query_planner_thinks_of_an_index_does_not_count(path: Path, sql: Sql) -> None:
    """A scan of an index that has all columns gives the rows in another order."""
    sql(path, *FILLED, "ANALYZE")
    before = total(path)
    sql(path, "UPDATE sqlite_stat1 SET stat = '300 1 sz=1' WHERE idx = 'covered_text'")
    assert total(path) == before


def test_what_is_still_in_the_wal_counts(path: Path, sql: Sql) -> None:
    sql(path, NOTES, "PRAGMA journal_mode = WAL")
    before = total(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO note VALUES (1, 'a', 1)")
        assert total(path) != before


VALUES = (
    "1",
    "'1'",
    "1.0",
    "1.5",
    "x'31'",
    "NULL",
    "''",
    "x''",
    "'a'",
    "'A'",
    "'a '",
    "'a' || char(0)",
    "char(0x61, 0x301)",
    "char(0xe1)",
    "'NULL'",
    "'None'",
    "0",
    "-1",
    "9223372036854775807",
    "9.2233720368547758e18",
    "9e999",
    "-9e999",
    "1e-320",
    "CAST(x'ff' AS TEXT)",
    "CAST(x'fe' AS TEXT)",
    "x'ff'",
    "CAST(x'edb3bf' AS TEXT)",
    "char(0xfffd)",
    "char(0x1f600)",
    "'x'', 1), (2, ''y'",
)


def test_each_value_differs_from_each_other_value_by_type_and_by_content(tmp_path: Path, sql: Sql) -> None:
    seen: dict[str, str] = {}
    for number, value in enumerate(VALUES):
        path = tmp_path / f"{number}.sqlite"
        sql(path, "CREATE TABLE t (v)", f"INSERT INTO t VALUES ({value})")
        it = total(path)
        assert it not in seen, f"{value} counts as {seen.get(it)}"
        seen[it] = value


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE note SET text = 'c' WHERE id = 2",
        "UPDATE note SET id = 9 WHERE id = 2",
        "UPDATE note SET text = size, size = text",
        "INSERT INTO note VALUES (3, NULL, NULL)",
        "DELETE FROM note WHERE id = 1",
        "DELETE FROM note",
        "ALTER TABLE note RENAME TO notes",
        "ALTER TABLE note RENAME COLUMN text TO texts",
        "ALTER TABLE note ADD COLUMN more",
        "ALTER TABLE note DROP COLUMN size",
        "CREATE TABLE another (a)",
        "DROP TABLE empty",
    ],
)
def test_any_change_of_content_or_of_tables_gives_another_one(path: Path, sql: Sql, change: str) -> None:
    sql(path, NOTES, "CREATE TABLE empty (a)", "INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)")
    before = total(path)
    sql(path, change)
    assert total(path) != before


@pytest.mark.parametrize(
    "definition", ["v TEXT", "v INTEGER", "v NOT NULL", "v UNIQUE", "v DEFAULT 1", "v CHECK (v)"]
)
def test_a_table_that_is_defined_otherwise_is_another_one_though_its_rows_are_the_same(
    path: Path, other: Path, sql: Sql, definition: str
) -> None:
    sql(path, "CREATE TABLE t (v)")
    sql(other, f"CREATE TABLE t ({definition})")
    assert total(path) != total(other)


def test_the_same_row_twice_is_not_the_same_as_once(path: Path, sql: Sql) -> None:
    sql(path, "CREATE TABLE t (v)", "INSERT INTO t VALUES ('a')")
    before = total(path)
    sql(path, "INSERT INTO t VALUES ('a')")
    assert total(path) != before


def test_a_value_that_moves_to_the_neighbouring_row_or_column_is_noticed(tmp_path: Path, sql: Sql) -> None:
    totals = set()
    for number, rows in enumerate(["('ab', 'c')", "('a', 'bc')", "('a', 'b'), ('c', '')", "('abc', '')"]):
        path = tmp_path / f"{number}.sqlite"
        sql(path, "CREATE TABLE t (a, b)", f"INSERT INTO t VALUES {rows}")
        totals.add(total(path))
    assert len(totals) == 4


def test_a_row_that_moves_to_another_table_is_noticed(path: Path, other: Path, sql: Sql) -> None:
    tables = ("CREATE TABLE a (v)", "CREATE TABLE b (v)")
    sql(path, *tables, "INSERT INTO a VALUES (1)")
    sql(other, *tables, "INSERT INTO b VALUES (1)")
    assert total(path) != total(other)


@pytest.mark.parametrize("rows", [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1])
def test_each_row_counts_around_the_size_of_a_group(path: Path, sql: Sql, rows: int) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    many = f"{numbers} INSERT INTO t SELECT i FROM n"
    sql(path, "CREATE TABLE t (v)", (many, (rows,)))
    before = fingerprint(path)
    assert before["tables"]["t"]["rows"] == rows
    sql(path, ("UPDATE t SET v = 0 WHERE v = ?", (rows,)))
    assert total(path) != before["total"]


@pytest.mark.parametrize(
    "name",
    [
        'with "quotes"',
        "with space",
        "select",
        "semi;colon",
        "\u00fcml\u00e4ut",
        "it's",
        "a.b",
        "[brackets]",
        "`tick`",
        "sqliteXlooks",
        "sqlite",
    ],
)
def test_tables_of_any_name_are_read(path: Path, sql: Sql, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    sql(path, f"CREATE TABLE {quoted} (v)")
    before = total(path)
    sql(path, f"INSERT INTO {quoted} VALUES (1)")
    it = fingerprint(path)
    assert it["tables"][name]["rows"] == 1
    assert it["total"] != before


def test_the_next_number_of_an_autoincrement_counts_though_no_row_has_it(path: Path, sql: Sql) -> None:
    sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    before = fingerprint(path)
    assert "sqlite_sequence" in before["tables"]
    sql(path, "INSERT INTO t VALUES (5)", "DELETE FROM t")
    assert total(path) != before["total"]


def test_a_huge_text_and_a_huge_blob_count_to_their_last_byte(path: Path, sql: Sql) -> None:
    sql(
        path,
        "CREATE TABLE t (v)",
        ("INSERT INTO t VALUES (?)", ("x" * 3_000_000,)),
        "INSERT INTO t VALUES (zeroblob(3000000))",
    )
    before = total(path)
    sql(path, ("UPDATE t SET v = ? WHERE rowid = 1", ("x" * 2_999_999 + "y",)))
    between = total(path)
    sql(path, ("UPDATE t SET v = ? WHERE rowid = 2", (b"\0" * 2_999_999 + b"\1",)))
    assert len({before, between, total(path)}) == 3


def test_generated_columns_count_by_what_they_give(path: Path, sql: Sql) -> None:
    sql(path, "CREATE TABLE t (a, b AS (a * 2) VIRTUAL, c AS (a + 1) STORED)", "INSERT INTO t (a) VALUES (1)")
    before = total(path)
    sql(path, "UPDATE t SET a = 2")
    assert total(path) != before


def test_views_and_virtual_tables_are_not_read_and_do_not_fail(path: Path, sql: Sql) -> None:
    sql(path, "CREATE TABLE t (v)", "CREATE VIEW broken AS SELECT * FROM nowhere")
    tables = fingerprint(path)["tables"]
    assert list(tables) == ["t"]


def test_the_content_of_a_full_text_index_counts_by_its_own_tables(path: Path, sql: Sql) -> None:
    sql(path, "CREATE VIRTUAL TABLE search USING fts5 (text)")
    before = fingerprint(path)
    assert "search" not in before["tables"]
    sql(path, "INSERT INTO search VALUES ('needle')")
    assert total(path) != before["total"]


def test_a_corrupt_database_has_none(path: Path, sql: Sql) -> None:
    sql(path, *FILLED)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(Problem, match="the database cannot be read: database.sqlite: "):
        fingerprint(path)


def test_it_changes_nothing(path: Path, sql: Sql) -> None:
    sql(path, *FILLED)
    content = path.read_bytes()
    fingerprint(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_no_database_is_made_where_there_is_none(path: Path) -> None:
    with pytest.raises(Problem, match="unable to open"):
        fingerprint(path)
    assert not path.exists()


VALUE = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([0, 1, "0", "1", b"1", 1.0, "", b""]),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.binary(max_size=5),
)
ROWS = st.lists(st.tuples(VALUE, VALUE), max_size=6)
_numbers = itertools.count()


def _typed(rows: list[tuple[object, ...]]) -> Counter[tuple[tuple[str, object], ...]]:
    return Counter(tuple((type(value).__name__, repr(value)) for value in row) for row in rows)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(data=st.data(), one=ROWS)
def test_two_databases_have_the_same_exactly_when_their_rows_are_the_same(
    tmp_path: Path, data: st.DataObject, one: list[tuple[object, object]]
) -> None:
    if one and data.draw(st.booleans()):
        another = list(one)
        another[data.draw(st.integers(0, len(one) - 1))] = data.draw(st.tuples(VALUE, VALUE))
    else:
        another = data.draw(st.one_of(st.just(list(one)), ROWS))
    totals, contents = [], []
    for rows in (one, another):
        path = tmp_path / f"{next(_numbers)}.sqlite"
        keyed = list(enumerate(rows))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")
            shuffled = [(key, *row) for key, row in data.draw(st.permutations(keyed))]
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", shuffled)
            connection.commit()
            # What SQLite holds is the model: it makes NULL of NaN and 0.0 of -0.0.
            contents.append(_typed(connection.execute("SELECT * FROM t").fetchall()))
        totals.append(total(path))
    assert (totals[0] == totals[1]) == (contents[0] == contents[1])


def test_large_values_are_not_gathered_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE file (id INTEGER PRIMARY KEY, content BLOB)")
        connection.executemany(
            "INSERT INTO file (content) VALUES (?)", ((bytes(1 << 20),) for _ in range(32))
        )
    tracemalloc.start()
    try:
        fingerprint(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
