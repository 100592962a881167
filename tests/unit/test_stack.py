"""devenv.toml: every value has a default, and what is wrong is named with its place and its mend."""

from __future__ import annotations

import json
import os
import pwd
import string
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.cli.session import trusted
from devenv.errors import ConfigError
from devenv.model import stack
from devenv.model.app import AppSection
from devenv.model.stack import Stack

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")


def keys() -> list[tuple[str, str]]:
    fields = Stack.model_fields
    return [
        (section, key)
        for section, field in fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def test_no_file_is_a_valid_configuration() -> None:
    assert stack.load(None) == stack.parse("") == Stack()


def test_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "devenv.toml"
    path.write_text('[stack]\nport = 9090\n[app]\nsource = "shop"\nwritable = ["data"]\n')
    found = stack.load(path)
    assert found.url == "http://127.0.0.1:9090"
    assert found.app.writable == ("data",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stack]\nprot = 1\n", ["line 2", "stack.prot", "nearest is stack.port"]),
        ("[stak]\nport = 1\n", ["line 1", "nearest is stack"]),
        ("[stack]\nport = 'eighty'\n", ["line 2", "stack.port", "integer"]),
        ("[stack]\nport = 99999\n", ["stack.port", "65535"]),
        ("[stack]\nname = 'Ö'\n", ["stack.name"]),
        ("[probe.login]\npgae = '/'\n", ["nearest is probe.login.page"]),
        ("[stack\n", ["not TOML", "line 1"]),
    ],
)
def test_what_is_wrong_is_named(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as wrong:
        stack.parse(text)
    said = str(wrong.value)
    assert all(word in said for word in words), said
    assert wrong.value.next_step
    assert wrong.value.exit_code == 2


@given(st.sampled_from(keys()), st.data())
def test_a_key_with_one_letter_wrong_names_the_right_one(key: tuple[str, str], data: st.DataObject) -> None:
    section, right = key
    place = data.draw(st.integers(0, len(right) - 1))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    wrong = right[:place] + letter + right[place + 1 :]
    if (section, wrong) in keys():
        return
    with pytest.raises(ConfigError) as found:
        stack.parse(f"[{section}]\n{wrong} = 1\n")
    assert "is not a known key" in str(found.value)
    if len(right) > 4:
        assert f"{section}.{right}" in str(found.value)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(stack.parse(text), Stack)


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """A folder in a folder of the one that has a devenv.toml."""
    (tmp_path / "devenv.toml").touch()
    (folder := tmp_path / "a" / "b").mkdir(parents=True)
    return folder


ME = os.geteuid()
OTHER = ME + 4242


def test_a_folder_above_is_searched(below: Path, tmp_path: Path) -> None:
    assert stack.find(below, {ME, 0}) == tmp_path / "devenv.toml"


def test_what_lies_above_ones_home_is_not_looked_at(below: Path, tmp_path: Path) -> None:
    assert stack.find(below, {ME, 0}, home=below.parent) is None
    assert stack.find(below, {ME, 0}, home=tmp_path) == tmp_path / "devenv.toml"


def test_what_another_user_has_put_there_is_not_obeyed(below: Path, tmp_path: Path) -> None:
    """As anybody can in /tmp, for all who work somewhere below it."""
    with pytest.raises(ConfigError) as refused:
        stack.find(below, {OTHER})
    assert str(tmp_path / "devenv.toml") in refused.value.what
    assert f"belongs to {pwd.getpwuid(ME).pw_name}" in refused.value.what
    assert f"--config {tmp_path / 'devenv.toml'}" in refused.value.next_step
    assert refused.value.exit_code == 2


@root
@pytest.mark.parametrize("what", ["devenv.toml", "."])
def test_neither_the_file_nor_its_folder_may_be_anothers(below: Path, tmp_path: Path, what: str) -> None:
    os.chown(tmp_path / what, OTHER, -1)
    with pytest.raises(ConfigError, match=f"belongs to user {OTHER}"):
        stack.find(below, {ME})
    assert stack.find(below, {ME, OTHER}) == tmp_path / "devenv.toml"


@root
@pytest.mark.parametrize("link", [True, False])
def test_neither_a_link_nor_what_it_leads_to_may_be_anothers(below: Path, tmp_path: Path, link: bool) -> None:
    """Whoever makes a link to a file of mine decides which folder its paths are relative to."""
    (tmp_path / "devenv.toml").rename(tmp_path / "mine.toml")
    (tmp_path / "devenv.toml").symlink_to("mine.toml")
    os.chown(tmp_path / "devenv.toml", OTHER if link else ME, -1, follow_symlinks=False)
    os.chown(tmp_path / "mine.toml", ME if link else OTHER, -1)
    with pytest.raises(ConfigError, match=f"belongs to user {OTHER}"):
        stack.find(below, {ME})


def test_what_is_no_file_is_passed_over(below: Path, tmp_path: Path) -> None:
    os.mkfifo(below / "devenv.toml")
    (below.parent / "devenv.toml").mkdir()
    assert stack.find(below, {ME, 0}) == tmp_path / "devenv.toml"


def test_root_obeys_who_calls_it_by_sudo_and_nobody_else_does() -> None:
    wrote = Path(stack.__file__).stat().st_uid
    assert trusted({}, 0) == {0, wrote}
    assert trusted({"SUDO_UID": "1000"}, 0) == {0, wrote, 1000}
    assert trusted({"SUDO_UID": "1000"}, 1001) == {0, wrote, 1001}
    assert trusted({"SUDO_UID": "-1"}, 0) == trusted({"SUDO_UID": ""}, 0) == {0, wrote}


def test_the_schema_knows_every_section() -> None:
    schema = stack.schema()
    assert set(schema["properties"]) == set(Stack.model_fields)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ('document_root = "/public"', ["document_root", "absolute"]),
        ('document_root = "../public"', ["document_root", "leads out"]),
        ('database = "/x"', ["database", "absolute"]),
        ('database = "../x/y.db"', ["database", "leads out"]),
        ('database = ""', ["database", "no path"]),
        ('database = "da:ta/x.db"', ["database", "no path"]),
        ('database = "db.sqlite"', ["database", "data/db.sqlite"]),
        ('database = "./db.sqlite"', ["database", "data/db.sqlite"]),
        ('database = "public/db.sqlite"', ["database", "document root"]),
        ('document_root = "web/public"\ndatabase = "web/db.sqlite"', ["database", "document root"]),
        ('database = "seed/db.sqlite"', ["database", "devenv's own"]),
        ('travel = ["data/uploads"]', ["travel", "writable", "remove it"]),
        ('writable = ["."]', ["writable", "all of the application"]),
        ('writable = ["uploads"]', ["writable", "holds the database", "add 'data'"]),
        ('writable = ["/app/data"]', ["writable", "absolute"]),
        ('writable = ["data", "../x"]', ["writable", "leads out"]),
        ('writable = ["data", "public"]', ["writable", "document root"]),
        ('writable = ["data", "seed"]', ["writable", "devenv's own"]),
        ('writable = ["data", "x/.gate"]', ["writable", "devenv's own"]),
        ('writable = ["data", "data/b"]', ["writable", "in one another"]),
        ('writable = ["data", "data/"]', ["writable", "in one another"]),
        ('leave = ["cache"]', ["leave", "in no writable folder"]),
        ('leave = ["data"]', ["leave", "in no writable folder"]),
        ('writable = ["var"]\ndatabase = "var/db/x.db"\nleave = ["var/db"]', ["leave", "the database"]),
        ('warmup = "healthz"', ["warmup", "begins with /"]),
        ('warmup = "/a b"', ["warmup", "no path of the site"]),
    ],
)
def test_paths_that_do_not_fit_an_application_are_refused_when_they_are_read(
    app: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as wrong:
        stack.parse(f"[app]\n{app}\n")
    assert all(word in wrong.value.why for word in words), wrong.value.why


@pytest.mark.parametrize("database", ["var/data.db", "wp-content/database/.ht.sqlite", "data/x.sqlite"])
def test_the_folder_of_the_database_is_written_to_unless_more_is_said(database: str) -> None:
    found = stack.parse(f'[app]\ndatabase = "{database}"\ndocument_root = "."\n').app
    assert found.writable == (str(PurePosixPath(database).parent),)


def test_what_frameworks_make_anew_is_left_unless_something_else_is_said() -> None:
    symfony = '[app]\ndatabase = "var/data.db"\nwritable = ["var", "public/uploads"]\n'
    assert stack.parse(symfony).app.leave == ("var/cache", "var/log")
    assert stack.parse(f"{symfony}leave = []\n").app.leave == ()
    assert stack.parse("").app.leave == ()


def test_paths_are_taken_in_their_shortest_form() -> None:
    app = stack.parse('[app]\ndocument_root = "./web/"\nwritable = ["data//"]\n').app
    assert (app.document_root, app.writable) == ("web", ("data",))


PATH = st.one_of(
    st.text(max_size=20), st.sampled_from(["data", "data/x", "public", "a/b", "./a", "a/../b", "."])
)


@given(PATH, PATH, PATH, PATH, PATH)
def test_whatever_is_accepted_stays_in_the_application_and_apart(
    root: str, database: str, writable: str, leave: str, warmup: str
) -> None:
    given = {"document_root": root, "database": database, "writable": [writable], "leave": [leave]}
    with suppress(ValueError):
        app = AppSection(**given, warmup=warmup)  # type: ignore[arg-type]
        [folder] = map(PurePosixPath, app.writable)
        assert folder.parts
        assert PurePosixPath(app.database).parent.is_relative_to(folder)
        assert not PurePosixPath(app.document_root).is_relative_to(folder)
        assert all(PurePosixPath(one).is_relative_to(folder) for one in app.leave)
        assert not {"..", "/"} & {*folder.parts, *PurePosixPath(app.document_root).parts}
