from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devenv.handover.journal import Journal
from devenv.handover.settings import Settings
from devenv.handover.shell import ShellLock

SECRET = "s" * 20 + "0123456789abcdef"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an instance whose files lie in `tmp_path`, all folders made."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    for name in ("data/.gate", "data/uploads", "snapshots"):
        (tmp_path / name).mkdir(parents=True)
    return Settings.from_env(
        {
            "GATE_RELEASE": "v1",
            "GATE_DATABASE": str(tmp_path / "data/database.sqlite"),
            "GATE_SEED": "",
            "GATE_PRISTINE": str(tmp_path / "pristine"),
            "GATE_SNAPSHOTS": str(tmp_path / "snapshots"),
            "GATE_SECRET_FILE": str(secret),
            "GATE_LISTEN": "127.0.0.1:0",
            "GATE_CONTROL": "127.0.0.1:0",
        }
    )


@pytest.fixture
def sql() -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Run statements in a database file, each a string or (string, parameters); rows of the last."""

    def run(path: Path, *statements: str | tuple[str, tuple[object, ...]]) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                text, parameters = (statement, ()) if isinstance(statement, str) else statement
                rows = connection.execute(text, parameters).fetchall()
        return rows

    return run  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _closed_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Journals and locks are open as long as their process; here that is as long as a test."""
    made: list[Journal | ShellLock] = []
    for kind in (Journal, ShellLock):

        def remember(
            self: Journal | ShellLock,
            *arguments: object,
            true: Callable[..., None] = kind.__init__,
            **options: object,
        ) -> None:
            true(self, *arguments, **options)
            made.append(self)

        monkeypatch.setattr(kind, "__init__", remember)
    yield
    for one in made:
        with contextlib.suppress(OSError):  # a full disk stays full
            one._file.close()
