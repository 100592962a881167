"""One thing that the stack needs of this machine, as it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]
Fix = Literal["", "engine", "replace", "compose", "buildx", "mmdebstrap", "go", "emulation", "start", "tidy"]
"""What `--fix` would install, start, or put in order; `replace` wants a consent of its own."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Status
    reason: str
    mend: str = ""
    fix: Fix = ""
