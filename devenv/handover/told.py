"""What devenv tells of the content where no volume outlives the instances: in Kubernetes.

It lies in a folder that the engine mounts, a ConfigMap's: either `owner.json`, the mark of the owner that
devenv saw last, or `nobody-until`, the time (seconds since the epoch) until which a look of devenv's counts
that found no content at all. Instances replace each other without devenv, so the mark can be of an earlier
one; that there is content it tells all the same. Whether an owner may serve it does not tell: only a new
instance that finds no other goes by it.
"""

from __future__ import annotations

import socket
from pathlib import Path

from .mark import Mark
from .problem import Problem

NOBODY = "nobody-until"


def nobody(folder: Path | None, now: float) -> bool:
    """Whether it is told that nobody has content, and not too long ago."""
    if folder is None:
        return False
    try:
        return now < float((folder / NOBODY).read_text())
    except (OSError, ValueError):
        return False


def missing(mark: Mark, *, final: bool) -> Problem:
    """A new instance finds nobody, though devenv has seen who has the content."""
    return Problem(
        "the instance that has the content is not there",
        f"{mark} was the last that devenv saw own it, and nobody is found now",
        "bring it back, if it is only cut off; if it is gone for good, begin without it, then restore what"
        f" is saved: devenv recover --from {socket.gethostname()} (by hand: gate recover, in it)",
        final=final,
    )
