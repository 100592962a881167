"""Text as it may leave for a terminal. Front ends call this where they write, not where text comes from.

Nothing that a program or a container said can steer the terminal, and no value can begin a line of its own.
"""

from __future__ import annotations

import re

from devenv.logs.ansi import clean, visible

LONGEST = 4000
"""Characters of a line that are shown: no person reads on, and what comes next must stay in sight."""

_BREAK = re.compile(r"[\r\n]+")


def line(text: str, longest: int = LONGEST) -> str:
    """The text as one line: a break in it is shown as ⏎, what a terminal would hide or obey as a sign.

    What is longer than `longest` is cut, and says so. The very same text where nothing had to change.
    """
    if len(text) > longest:
        text = f"{text[:longest]}… {len(text) - longest:,} characters more"
    if text.isprintable():
        return text
    return visible(_BREAK.sub("⏎", text.rstrip("\r\n")).replace("\t", " "))


def tail(text: str) -> list[str]:
    """The end of a log, line by line, each marked so that it does not pass for a line of ours."""
    lines = text.strip("\r\n").split("\n") if text.strip() else []
    return [line(f"| {clean(one).text}") for one in lines]
