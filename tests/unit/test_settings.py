"""compose/.env: readable by its owner only, never half written, never losing what a person added."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.backends import settings
from devenv.backends.settings import SECRETS
from devenv.errors import DevenvError

VALUES = st.dictionaries(
    st.from_regex(r"[A-Z][A-Z_]{0,10}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9/:.-]{0,20}", fullmatch=True),
    max_size=5,
)


def test_secrets_are_made_once_and_only_the_owner_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert settings.write(path, {"PORT": "8080"})
    first = settings.read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(len(first[name]) == settings.SECRET_LENGTH for name in SECRETS)
    assert not settings.write(path, {"PORT": "8080"})
    settings.write(path, {"PORT": "9090"})
    assert settings.read(path) == {**first, "PORT": "9090"}


def test_a_value_cannot_become_a_setting_of_another_name(tmp_path: Path) -> None:
    """A secret can be one that was found in a container, or in a cluster that others use as well."""
    path = tmp_path / ".env"
    for value in ("a" * 60 + "\nPORT=1", "a\r", "a\0"):
        with pytest.raises(DevenvError, match="HANDOVER_SECRET cannot be one of the settings"):
            settings.write(path, {"HANDOVER_SECRET": value})
    assert not path.exists()


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    settings.write(path, {})
    path.chmod(0o644)
    assert settings.write(path, {})
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_person_added_stays(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nCOLOUR='green'\n")
    settings.write(path, {"PORT": "1"})
    assert settings.read(path)["COLOUR"] == "green"


EDITED = b"""# my notes: PORT=1 is not it\r
COLOUR='green # no comment' # a comment\r
export PORT = 8080   # moved for the demo\r
KEY="-----BEGIN
PORT=no port, but a line of a key
-----END"\r
PATH_OF="C:\\\\data"\r
NAME=Caf\xe9\r
\r
EMPTY=\r
LAST=here"""


def test_a_change_is_made_in_its_place_and_every_other_byte_stays(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    secrets = b"\r\nAPP_SECRET=" + b"a" * 64 + b"\r\nHANDOVER_SECRET=" + b"b" * 64 + b"\r\n"
    path.write_bytes(EDITED + secrets)
    path.chmod(0o600)
    assert settings.read(path)["KEY"] == "-----BEGIN\nPORT=no port, but a line of a key\n-----END"
    assert settings.read(path)["COLOUR"] == "green # no comment"
    assert settings.read(path)["PATH_OF"] == "C:\\data"
    assert not settings.write(path, {"PORT": "8080", "EMPTY": ""})
    assert settings.write(path, {"PORT": "9090", "EMPTY": "no more", "NEW": "1"})
    wanted = EDITED.replace(b"PORT = 8080 ", b"PORT = 9090 ").replace(b"EMPTY=", b"EMPTY='no more'")
    assert path.read_bytes() == wanted + secrets + b"NEW=1\r\n"


def test_of_a_setting_that_is_there_twice_the_one_that_counts_is_changed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=1\nPORT=2\n")
    settings.write(path, {"PORT": "3"})
    assert path.read_text().startswith("PORT=1\nPORT=3\n")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20))
def test_any_value_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    for _ in range(2):
        settings.write(path, {"VALUE": value})
        assert settings.read(path)["VALUE"] == value


def test_a_folder_that_cannot_be_written_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "compose").write_text("a file, not a folder")
    with pytest.raises(DevenvError, match="cannot be read or written") as failed:
        settings.write(tmp_path / "compose" / ".env", {})
    assert failed.value.next_step


@given(VALUES, VALUES)
def test_later_values_win_and_others_stay(tmp_path_factory: pytest.TempPathFactory, first: dict[str, str],
                                          second: dict[str, str]) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("env") / ".env"
    settings.write(path, first)
    settings.write(path, second)
    read = settings.read(path)
    for name, value in {**first, **second}.items():
        if name not in SECRETS:
            assert read[name] == value
