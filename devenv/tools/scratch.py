"""Folders on this machine for what is being made; a devenv that is killed leaves none for long.

As in an instance: whoever makes one holds a lock in it, which ends with the process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from devenv.handover.scratch import Scratch, sweep

__all__ = ["Scratch", "clear", "in_tmpdir", "sweep"]


def in_tmpdir() -> Scratch:
    """For what is large: TMPDIR says where there is room for it."""
    return Scratch(Path(tempfile.gettempdir()))


def clear() -> None:
    """Remove what was left in TMPDIR."""
    sweep(Path(tempfile.gettempdir()))
