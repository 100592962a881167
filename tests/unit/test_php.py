"""What composer.json wants of PHP, before a build finds out."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.images import php


@pytest.mark.parametrize(
    "constraint",
    [
        "*", "8.*", "8.2.*", "8.2", "^8", "^8.0", "^8.1.3", "^8.2", "^8.2.10", "~8.1", "~8.2.3", ">=7.4",
        ">=8.2",
        ">8.1", "<8.3", "<=8.2", "<9", ">=8.1 <8.4", ">=8.1,<8.4", ">=8.1, <8.4", "^7.4 || ^8.0", "^7.4|^8.2",
        "7.4 - 8.2", "8.0 - 8", "!=8.2.3", "v8.2", "^8.1@dev", ">= 8.1", "8.2.5", "=8.2.5", "==8.2.5",
    ],
)  # fmt: skip
def test_ours_will_do(constraint: str) -> None:
    assert php.meets(constraint)


@pytest.mark.parametrize(
    "constraint",
    [
        "^8.3", "^7.4", "^9", "~8.1.3", "~8.3", ">=8.3", ">8.3", "<8.2", "<=8.1", "8.1.*", "8.3.*", "7.*",
        "8.4",
        ">=8.3 <9", ">=8.0 <8.2", "^7.4 || ^8.3", "7.2 - 8.1", "5.6", "=8.1.5", "^8.3@dev",
    ],
)  # fmt: skip
def test_ours_will_not_do(constraint: str) -> None:
    assert not php.meets(constraint)


@pytest.mark.parametrize("constraint", ["", "dev-main", "latest", ">=eight", "^8.3 and more"])
def test_what_is_not_understood_is_for_composer_to_say(constraint: str) -> None:
    assert php.meets(constraint)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"require": 7}', '{"require": {"php": 8}}', "\xff"])
def test_a_file_that_says_nothing_wants_nothing(tmp_path: Path, text: str) -> None:
    assert php.wanted(tmp_path) == ""
    (tmp_path / "composer.json").write_text(text)
    assert php.wanted(tmp_path) == ""


def test_what_is_wanted_is_read(tmp_path: Path) -> None:
    (tmp_path / "composer.json").write_text('{"require": {"php": "^8.3"}}')
    assert php.wanted(tmp_path) == "^8.3"
