"""How one likes the terminal interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.errors import ConfigError
from devenv.model.preferences import Preferences, load


def test_no_file_is_a_valid_one(tmp_path: Path) -> None:
    assert load(tmp_path / "tui.toml") == Preferences()


def test_values_of_the_file_count(tmp_path: Path) -> None:
    (tmp_path / "tui.toml").write_text('theme = "devenv-light"\nmotion = false\n[keys]\nupgrade = "f5"\n')
    read = load(tmp_path / "tui.toml")
    assert (read.theme, read.motion, read.keys) == ("devenv-light", False, {"upgrade": "f5"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('thme = "x"', "the nearest is theme"),
        ('quit = "now"', "quit"),
        ('[keys]\nupgade = "f5"', "the nearest is upgrade"),
        ('[keys]\nupgrade = "v"', "would be the key of upgrade and of verify"),
        ("writers = 0", "writers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "tui.toml").write_text(text)
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path / "tui.toml")
    assert words in wrong.value.why
