"""An application's folder beside what devenv.toml says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.errors import ConfigError
from devenv.images.source import require_fit
from devenv.model.app import AppSection


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.php").touch()
    return tmp_path


def test_an_ordinary_application_fits(shop: Path) -> None:
    (shop / "data" / "sessions").mkdir(parents=True)
    (shop / "data" / "database.sqlite").touch()
    require_fit(shop, AppSection())


def test_one_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no application"):
        require_fit(tmp_path / "shop", AppSection())


def test_a_document_root_that_is_not_there_is_told_of_with_the_one_that_is(shop: Path) -> None:
    with pytest.raises(ConfigError, match="there is no web/") as wrong:
        require_fit(shop, AppSection(document_root="web"))
    assert "'public' has one" in wrong.value.next_step


def test_one_without_a_document_root_may_be_meant_as_the_root(tmp_path: Path) -> None:
    (tmp_path / "index.php").touch()
    with pytest.raises(ConfigError) as wrong:
        require_fit(tmp_path, AppSection())
    assert "'.' has one" in wrong.value.next_step


@pytest.mark.parametrize("maker", ["composer.json", "build.sh"])
def test_a_build_may_make_the_document_root(tmp_path: Path, maker: str) -> None:
    (tmp_path / maker).touch()
    require_fit(tmp_path, AppSection(document_root="web"))


def test_a_database_that_is_a_folder_is_told_of(shop: Path) -> None:
    (shop / "data" / "database.sqlite").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is a folder"):
        require_fit(shop, AppSection())


def test_a_file_is_no_writable_folder(shop: Path) -> None:
    (shop / "data").mkdir()
    (shop / "settings.json").touch()
    with pytest.raises(ConfigError, match="is no folder") as wrong:
        require_fit(shop, AppSection(writable=("data", "settings.json")))
    assert "[app] writable" in wrong.value.why


def test_a_php_that_images_do_not_have_is_told_before_anything_is_built(shop: Path) -> None:
    (shop / "composer.json").write_text('{"require": {"php": ">=8.2"}}')
    require_fit(shop, AppSection())
    (shop / "composer.json").write_text('{"require": {"php": "^8.3"}}')
    with pytest.raises(ConfigError, match=r"does not run with PHP 8\.2") as wrong:
        require_fit(shop, AppSection())
    assert "wants PHP ^8.3" in wrong.value.why
