"""What an instance is told by its environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.handover.deadlines import Deadlines
from devenv.handover.problem import Problem
from devenv.handover.settings import Settings


def test_an_empty_environment_gives_what_the_image_expects() -> None:
    settings = Settings.from_env({"GATE_SNAPSHOTS": "/nonexistent"})
    assert settings.database == Path("/app/data/database.sqlite")
    [folder] = settings.writable
    assert (folder.key, folder.path, folder.own) == ("data", Path("/app/data"), Path("/app/data/.gate"))
    assert settings.leave == ()
    assert settings.seed == Path("/app/seed/database.sqlite")
    assert settings.state == Path("/app/data/.gate")
    assert settings.staging == Path("/app/data/.gate/incoming")
    assert settings.secret_file == Path("/run/secrets/handover")
    assert (settings.listen, settings.control) == (("0.0.0.0", 9000), ("0.0.0.0", 9010))
    assert settings.peers == ("php-fpm",)
    assert settings.control_name is None
    assert settings.deadlines == Deadlines()


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_RELEASE", "v7")
    assert Settings.from_env().release == "v7"


def test_the_record_lies_beside_the_database_in_the_one_writable_folder_wherever_that_is() -> None:
    settings = Settings.from_env({"GATE_DATABASE": "/srv/db/site.sqlite"})
    assert settings.state == Path("/srv/db/.gate")
    assert [folder.path for folder in settings.writable] == [Path("/srv/db")]


def test_lists_are_split_and_their_empty_parts_are_nothing() -> None:
    env = {"GATE_WRITABLE": "/app/data::/app/web/files:", "GATE_LEAVE": "/app/data/cache:"}
    settings = Settings.from_env({**env, "GATE_PEERS": "php-fpm , 10.0.0.7"})
    assert [folder.key for folder in settings.writable] == ["data", "web/files"]
    assert settings.leave == ("data/cache",)
    assert settings.peers == ("php-fpm", "10.0.0.7")


def test_nothing_is_seeded_where_that_is_said() -> None:
    settings = Settings.from_env({"GATE_SEED": "", "GATE_CONTROL_NAME": ""})
    assert (settings.seed, settings.control_name) == (None, None)


def test_snapshots_have_a_place_only_where_a_folder_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Settings.from_env({"GATE_SNAPSHOTS": str(tmp_path)}).snapshots == tmp_path
    assert Settings.from_env({"GATE_SNAPSHOTS": str(tmp_path / "none")}).snapshots is None
    assert Settings.from_env({"GATE_SNAPSHOTS": str(tmp_path / "file")}).snapshots is None
    assert Settings.from_env({"GATE_SNAPSHOTS": ""}).snapshots is None


def test_addresses_and_deadlines_are_read() -> None:
    settings = Settings.from_env({"GATE_LISTEN": "127.0.0.5:19000", "GATE_DEADLINE_LEASE": "7.5"})
    assert settings.listen == ("127.0.0.5", 19000)
    assert settings.deadlines.lease == 7.5


@pytest.mark.parametrize(("text", "only"), [(None, False), ("", False), ("all", False), ("neighbours", True)])
def test_all_may_connect_unless_neighbours_alone_are_named(text: str | None, only: bool) -> None:
    env = {} if text is None else {"GATE_CLIENTS": text}
    assert Settings.from_env(env).neighbours_only is only


def test_a_word_for_who_may_connect_that_is_not_known_is_no_start() -> None:
    with pytest.raises(Problem, match="'neighbors'") as caught:
        Settings.from_env({"GATE_CLIENTS": "neighbors"})
    assert "neighbours" in caught.value.next_step


def _with_secret(tmp_path: Path, content: bytes | None) -> Settings:
    path = tmp_path / "handover"
    if content is not None:
        path.write_bytes(content)
    return Settings.from_env({"GATE_SECRET_FILE": str(path)})


def test_the_secret_is_read_without_the_line_end_that_editors_add(tmp_path: Path) -> None:
    assert _with_secret(tmp_path, b"k" * 32 + b"\n").secret() == b"k" * 32


def test_a_missing_secret_says_where_it_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        _with_secret(tmp_path, None).secret()
    assert caught.value.error == "the hand-over has no secret"
    assert str(tmp_path / "handover") in caught.value.why
    assert "HANDOVER_SECRET" in caught.value.next_step
    assert caught.value.final


@pytest.mark.parametrize("content", [b"", b"\n", b"swordfish", b"k" * 31, b" " * 40])
def test_a_short_secret_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Problem) as caught:
        _with_secret(tmp_path, content).secret()
    assert caught.value.error == "the secret of the hand-over is too short"
    assert "swordfish" not in str(caught.value.as_json())


@pytest.mark.parametrize("name", ["GATE_WRITABLE", "GATE_LEAVE"])
@pytest.mark.parametrize("path", ["/app", "/", "/srv/data"])
def test_what_is_not_the_applications_is_not_written_to(name: str, path: str) -> None:
    with pytest.raises(Problem, match="not the application's"):
        Settings.from_env({name: path})


def test_the_database_lies_in_a_folder_that_can_be_written_to() -> None:
    with pytest.raises(Problem, match="no writable folder: it is /app/data/database.sqlite"):
        Settings.from_env({"GATE_WRITABLE": "/app/uploads"})


def test_a_file_is_no_writable_folder(tmp_path: Path) -> None:
    (tmp_path / "settings.json").touch()
    with pytest.raises(Problem, match="a writable folder is a file"):
        Settings.from_env({"GATE_ROOT": str(tmp_path), "GATE_WRITABLE": str(tmp_path / "settings.json")})
