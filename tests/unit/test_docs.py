"""The docs say of the program what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devenv.model.actions import COMMANDS
from tests import docs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: page.name)
def test_the_keys_and_transitions_of_the_docs_are_those_of_the_program(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == docs.renewed(page), "make screenshots renews them"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_has_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = []
    for action in COMMANDS:
        first, _, second = action.name.partition(" ")
        if not re.search(rf"`devenv {first}[^|]*{second}", readme):
            missing.append(action.name)
    assert missing == []
