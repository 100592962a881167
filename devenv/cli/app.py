"""Commands, exit codes; wires everything."""

from __future__ import annotations

from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    return 0
