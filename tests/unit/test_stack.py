"""devenv.toml: every value has a default, and what is wrong is named with its place and its mend."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.errors import ConfigError
from devenv.model import stack
from devenv.model.stack import Stack


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
    path.write_text('[stack]\nport = 9090\n[app]\nsource = "shop"\ntravel = ["data/uploads"]\n')
    found = stack.load(path)
    assert found.url == "http://127.0.0.1:9090"
    assert found.app.travel == ("data/uploads",)


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


def test_a_folder_above_is_searched(tmp_path: Path) -> None:
    (tmp_path / "devenv.toml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert stack.find(below) == tmp_path / "devenv.toml"


def test_the_schema_knows_every_section() -> None:
    schema = stack.schema()
    assert set(schema["properties"]) == set(Stack.model_fields)
    assert json.loads(json.dumps(schema)) == schema
