"""Events as a terminal may have them: nothing of what a program or a container said can steer it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from devenv.logs.ansi import visible
from devenv.model.events import Event

_CONTROLS = re.compile(r"[^\n\x20-\x7e]")
"""Most words have none of these, and are left as they are without another look."""


def harmless(event: Event) -> Event:
    """The event with each control character in its words shown as a sign; lines stay lines."""
    changed = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if (safe := _safe(value)) is not value:
            changed[field.name] = safe
    return replace(event, **changed) if changed else event


def _safe(value: Any) -> Any:
    """The very same object where nothing had to change."""
    if isinstance(value, str):
        return "\n".join(visible(line) for line in value.split("\n")) if _CONTROLS.search(value) else value
    if isinstance(value, Mapping):
        safe = {name: _safe(one) for name, one in value.items()}
        return safe if any(safe[name] is not one for name, one in value.items()) else value
    if isinstance(value, tuple | list):
        made = [_safe(one) for one in value]
        return type(value)(made) if any(a is not b for a, b in zip(made, value, strict=True)) else value
    return value
