"""What the docs hold of the program itself: `python -m tests.docs` renews it, a test finds it stale."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from devenv.handover import states
from devenv.model.actions import key_table

DOCS = Path(__file__).parents[1] / "docs"


def _diagram() -> str:
    return f"```mermaid\n{states.diagram()}\n```"


PAGES: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    DOCS / "terminal.md": {"keys": key_table},
    DOCS / "handover.md": {"diagram": _diagram, "transitions": states.table},
}
"""Pages with the names of their parts, each between two comments, and what makes them."""


def renewed(path: Path) -> str:
    """The page with its parts as the program has them now."""
    page = path.read_text(encoding="utf-8")
    for name, make in PAGES[path].items():
        part = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        page, count = part.subn(lambda found, make=make: f"{found[1]}\n{make()}\n{found[2]}", page)
        assert count == 1, f"{path.name} has {count} parts {name}"
    return page


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(renewed(path), encoding="utf-8")
