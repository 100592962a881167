"""An application's folder as a build sees it: without what its .dockerignore and ours leave out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

IGNORE = ".dockerignore"
LEFT_OUT = Path("docker", "left-out")
"""In the build context: names that no image gets. A build removes them, wherever they lie but in vendor/."""


class Context:
    def __init__(self, folder: Path, build_context: Path) -> None:
        self._folder = folder
        self._left_out = (build_context / LEFT_OUT).read_text(encoding="utf-8").split()
        self._rules = _rules(folder / IGNORE)

    def files(self, below: str = ".") -> Iterator[tuple[str, Path]]:
        """Everything but folders, by the name that it has in the application's folder, in a fixed order."""
        start = self._folder / below
        for folder, folders, names in os.walk(start):
            here = Path(folder)
            inside = [(name, (here / name).relative_to(self._folder).as_posix()) for name in folders]
            links = [name for name, _ in inside if (here / name).is_symlink()]
            folders[:] = sorted(name for name, path in inside if not self._is_closed(path))
            for name in sorted([*names, *links]):
                path = (here / name).relative_to(self._folder).as_posix()
                if not self.leaves_out(path):
                    yield path, here / name

    def leaves_out(self, path: str) -> bool:
        """Whether no image gets what is at this path below the folder."""
        return self._is_of_no_use(path) or self._is_ignored(path)

    def _is_closed(self, folder: str) -> bool:
        """Whether nothing in it counts either. A rule that takes something back may name a file in it."""
        takes_back = any(keeps for keeps, _ in self._rules)
        return self._is_of_no_use(folder) or (not takes_back and self._is_ignored(folder))

    def _is_of_no_use(self, path: str) -> bool:
        parts = PurePosixPath(path).parts
        return parts[0] != "vendor" and any(
            fnmatchcase(part, name) for part in parts for name in self._left_out
        )

    def _is_ignored(self, path: str) -> bool:
        """As the builder has it (moby/patternmatcher, MatchesUsingParentResults): what a rule says of a
        folder it says of all in it; one is asked only where it would change what those before it have said.
        """
        parts = PurePosixPath(path).parts
        said = [False] * len(self._rules)
        ignored = False
        for count in range(1, len(parts) + 1):
            way, ignored = "/".join(parts[:count]), False
            for number, (keeps, rule) in enumerate(self._rules):
                said[number] = said[number] or (keeps == ignored and rule.fullmatch(way) is not None)
                if said[number]:
                    ignored = not keeps
        return ignored


def _rules(file: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """(whether it takes back what earlier ones leave out, what it fits)"""
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError:
        return []
    rules = []
    for line in lines:
        text = line.strip()
        if not text or line.startswith("#"):
            continue
        keeps = text.startswith("!")
        path = os.path.normpath(text[keeps:].strip()).lstrip("/")
        if path and path != ".":
            rules.append((keeps, _pattern(path)))
    return rules


def _pattern(path: str) -> re.Pattern[str]:
    made, rest = "", path
    while rest:
        if rest.startswith("**/"):
            made, rest = f"{made}(?:.*/)?", rest[3:]
        elif rest.startswith("**"):
            made, rest = f"{made}.*", rest[2:]
        elif rest[0] in "*?":
            made, rest = made + ("[^/]*" if rest[0] == "*" else "[^/]"), rest[1:]
        elif rest[0] == "[" and (found := re.match(r"\[\^?[^\]/]+\]", rest)):
            made, rest = made + found[0], rest[found.end() :]
        elif rest[0] == "\\" and len(rest) > 1:
            made, rest = made + re.escape(rest[1]), rest[2:]
        else:
            made, rest = made + re.escape(rest[0]), rest[1:]
    return re.compile(made, re.DOTALL)
