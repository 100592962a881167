"""What a build sees of an application's folder, and how little it costs to look at it again."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from devenv import assets
from devenv.images import inputs
from devenv.images.context import Context

ROOT = assets.docker_context()
ARGUMENTS = {"DOCUMENT_ROOT": "."}


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def seen(folder: Path) -> set[str]:
    return {name for name, _ in Context(folder, ROOT).files()}


def hashed(app: Path) -> str:
    return inputs.digest("php-fpm", ROOT, app, ARGUMENTS)


def test_what_belongs_to_ones_own_machine_is_left_out_wherever_it_lies(tmp_path: Path) -> None:
    app = made(
        tmp_path, ".git/config", "lib/.git", ".env", ".env.local", ".env.dev.local", "auth.json",
        "index.php", "node_modules/a/b.js", "web/node_modules/c.js", "index.php~", "vendor/x/auth.json",
        "vendor/autoload.php",
    )  # fmt: skip
    assert seen(app) == {".env", "index.php", "vendor/x/auth.json", "vendor/autoload.php"}
    before = hashed(app)
    (app / ".git" / "config").write_text("token")
    assert hashed(app) == before


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("*.log", {"a", "d/a.log", "d/e/a.log", "d/e/b"}),
        ("**/*.log", {"a", "d/e/b"}),
        ("/d", {"a", "a.log"}),
        ("d/", {"a", "a.log"}),
        ("d/*\n!d/e", {"a", "a.log", "d/e/a.log", "d/e/b"}),
        ("d\n!d/e/b", {"a", "a.log", "d/e/b"}),
        ("# a\n\n  a  ", {"a.log", "d/a.log", "d/e/a.log", "d/e/b"}),
        ("d/**/b", {"a", "a.log", "d/a.log", "d/e/a.log"}),
        ("?.log", {"a", "d/a.log", "d/e/a.log", "d/e/b"}),
        ("[!a].log\n[a].*", {"a", "d/a.log", "d/e/a.log", "d/e/b"}),
        ("./d/../a", {"a.log", "d/a.log", "d/e/a.log", "d/e/b"}),
        ("*\n!a", {"a"}),
    ],
)
def test_the_users_own_rules_are_obeyed(tmp_path: Path, rules: str, left: set[str]) -> None:
    app = made(tmp_path, "a", "a.log", "d/a.log", "d/e/a.log", "d/e/b")
    (app / ".dockerignore").write_text(rules)
    assert seen(app) - {".dockerignore"} == left


def test_what_is_left_out_is_not_read(tmp_path: Path) -> None:
    app = made(tmp_path, "index.php", "dump/a")
    (app / ".dockerignore").write_text("dump\n")
    before = hashed(app)
    (app / "dump" / "a").write_text("other")
    (app / "dump" / "b").touch()
    assert hashed(app) == before
    (app / ".dockerignore").write_text("")
    assert hashed(app) != before


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    app = made(tmp_path, "index.php")
    os.mkfifo(app / "queue")
    (app / "link").symlink_to(os.fsdecode(b"\xff\xfe"))
    (app / os.fsdecode(b"caf\xe9")).touch()
    assert hashed(app) == hashed(app)
    assert {"queue", "link"} <= seen(app)


def test_a_large_file_is_not_held_in_memory_nor_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(tmp_path, "index.php")
    with (app / "dump").open("wb") as file:
        file.truncate(64 << 20)
    os.utime(app / "dump", (1, 1))
    monkeypatch.setattr(inputs, "_RACY", -60.0)
    tracemalloc.start()
    before = hashed(app)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    with monkeypatch.context() as patched:
        patched.setattr("hashlib.file_digest", None)  # nobody reads
        assert hashed(app) == before
    with (app / "dump").open("r+b") as file:
        file.write(b"x")
    os.utime(app / "dump", (1, 1))
    assert hashed(app) != before


def test_what_vanishes_while_it_is_looked_at_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(tmp_path, "index.php")
    wanted = hashed(app)
    made(app, "session")
    true = Context.files

    def files(self: Context, below: str = ".") -> object:
        for name, path in list(true(self, below)):
            if name == "session":
                path.unlink()
            yield name, path

    monkeypatch.setattr(Context, "files", files)
    assert hashed(app) == wanted
