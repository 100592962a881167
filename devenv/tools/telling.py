"""Of all that a failed program has said, the line that says why."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SAYS_SO = re.compile(r"\s*(\S+: )?(\[?(fatal|error|e|panic)\b[^:\]]{0,30}[:\]]|err!)", re.IGNORECASE)
"""A line that calls itself the error: `ERROR: …`, `fatal: …`, `E: …`, `PHP Fatal error: …`."""
_SOUNDS_SO = re.compile(
    r"\b(errors?|fatal|fail(ed|s|ure)?|cannot|can't|could not|couldn't|unable|denied|refused|not found"
    r"|no such|not exist|invalid|unknown|undefined|missing|no space|timed out|unauthorized|unexpected)\b",
    re.IGNORECASE,
)
_IS_NOISE = re.compile(
    r"\s*("
    r"command output:?|stack trace:?|traceback\b.*|usage:.*|see\b.*|\^+|-+|=+"  # around what tells
    r"|#\d+ .*|at \S+.*|goroutine \d+.*|created by .*|\S+\.(go|s):\d+.*|\w[\w./]*\(.*\)"  # of a stack
    r"|file \".*\", line \d+.*|npm err! a complete log.*|make(\[\d+\])?: \*\*\* .*"
    r")\s*",
    re.IGNORECASE,
)


def telling(lines: Sequence[str]) -> str:
    """The last line that calls itself an error; else that sounds like one; else that is one at all."""
    said = [line.strip() for line in lines if line.strip()]
    told = [line for line in said if not _IS_NOISE.fullmatch(line)] or said
    for wanted in (_SAYS_SO.match, _SOUNDS_SO.search):
        if found := [line for line in told if wanted(line)]:
            return found[-1]
    return told[-1] if told else ""
