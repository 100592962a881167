"""Times and states as a person reads them."""

from __future__ import annotations

import re
from pathlib import Path

from devenv.model.state import StepState

GLYPHS: dict[StepState, str] = {
    "waiting": "◌",
    "running": "▸",
    "done": "✓",
    "failed": "✗",
    "skipped": "·",
    "cancelled": "○",
}


_NAME = re.compile(r"([\w./~-]\S*)?")
_LONGEST_NAME = 63
"""Of a pod's name there are no more characters, and of a table's seldom."""


def age(seconds: float) -> str:
    """Whole units: 12s, 3m, 5h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def took(seconds: float) -> str:
    """0.3 s, 12.0 s, 3:05."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """512 B, 1.2 MB."""
    for unit, amount in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= amount:
            return f"{count / amount:.1f} {unit}"
    return f"{count:.0f} B"


def home(path: str) -> str:
    """A path below one's own folder, shorter."""
    own = str(Path.home())
    return f"~{path.removeprefix(own)}" if path.startswith(f"{own}/") else path


def short(digest: str) -> str:
    """Enough of it to tell images apart."""
    return digest.rpartition(":")[2][:12]


def name(text: str) -> str:
    """What others have named, for a column: cut where it is long."""
    return quoted(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…")


def quoted(text: str) -> str:
    """What others have named, for the beginning of a line: in quotes unless it looks like a name or a path.

    So it does not pass for words of ours, which begin with a sign, or with `next: `.
    """
    return text if _NAME.fullmatch(text) else f'"{text}"'
