"""The PHP that images have, and what an application's composer.json wants of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

VERSION = (8, 2)
"""Debian 12's; see docker/php-fpm/Dockerfile."""
Version = tuple[int, ...]
Span = tuple[Version, Version]
"""From the first one on, to the second, which is not in it."""
_END: Version = (1 << 30,)
_ALL: Span = ((0,), _END)
_ATOM = re.compile(
    r"(?P<sign>\^|~|>=|<=|>|<|!=|==?|)\s*v?(?P<version>\d+(?:\.(?:\d+|[*xX]))*|\*)(?:[-@][\w.]+)?$"
)


def wanted(folder: Path) -> str:
    """What composer.json in `folder` wants of PHP; empty where it wants nothing, or is none."""
    try:
        said = json.loads((folder / "composer.json").read_bytes())
    except (OSError, ValueError):
        return ""
    require = said.get("require") if isinstance(said, dict) else None
    constraint = require.get("php") if isinstance(require, dict) else None
    return constraint if isinstance(constraint, str) else ""


def meets(constraint: str) -> bool:
    """Whether some PHP of ours does. Where the constraint is not understood, that is for composer to say.

    As getcomposer.org/doc/articles/versions.md has it.
    """
    ours: Span = (VERSION, (*VERSION[:-1], VERSION[-1] + 1))
    try:
        return any(
            _overlap(ours, *_spans(alternative)) for alternative in re.split(r"\|\|?", constraint.strip())
        )
    except ValueError:
        return True


def _overlap(*spans: Span) -> bool:
    return max(low for low, _ in spans) < min(high for _, high in spans)


def _spans(text: str) -> Iterator[Span]:
    """All of which a version has to be in. Raises ValueError for what is not understood."""
    if " - " in text:
        low, _, high = text.partition(" - ")
        yield _version(low), _version(high, 1)
        return
    atoms = re.findall(r"(?:\^|~|>=|<=|>|<|!=|==?)?\s*[^\s,<>=!^~]+", text)
    if not atoms:
        raise ValueError(text)
    for atom in atoms:
        yield _span(atom.strip())


def _span(atom: str) -> Span:
    if not (found := _ATOM.match(atom)):
        raise ValueError(atom)
    sign, text = found["sign"], found["version"]
    if text[0] == "*" or sign == "!=":
        return _ALL  # one version that is excluded leaves others
    low = _version(text)
    if sign == "^":
        return low, (low[0] + 1,) if low[0] or len(low) == 1 else (0, low[1] + 1)
    if sign == "~":
        return low, _next(low[:-1] or low)
    if sign == ">=":
        return low, _END
    if sign == ">":
        return _next(low) if len(low) > 2 else low, _END
    if sign == "<":
        return (0,), low
    if sign == "<=":
        return (0,), _next(low)
    return low, _next(low)


def _version(text: str, plus: int = 0) -> Version:
    numbers = tuple(int(one) for one in text.strip().lstrip("v").split(".") if one.isdigit())
    if not numbers:
        raise ValueError(text)
    return _next(numbers) if plus else numbers


def _next(version: Version) -> Version:
    return (*version[:-1], version[-1] + 1)
