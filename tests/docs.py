"""What the docs hold of the program itself: `python -m tests.docs` renews it, a test finds it stale."""

from __future__ import annotations

import re
from pathlib import Path

from devenv.model.actions import key_table

PAGE = Path(__file__).parents[1] / "docs" / "terminal.md"
_KEYS = re.compile(r"(<!-- keys: .*? -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def renewed(page: str) -> str:
    """The page with the keys of the table of actions."""
    return _KEYS.sub(lambda found: f"{found[1]}\n{key_table()}\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
