"""Where text for people leaves for stdout and stderr: harmless, a line at a time."""

from __future__ import annotations

import os
from typing import TextIO

from devenv.logs import harmless


def write(
    stream: TextIO | None, *lines: str, sign: str = "", end: str = "\n", longest: int = harmless.LONGEST
) -> None:
    """Each of `lines` on one line, after `sign`, which is ours and may have colour.

    A stream that nobody reads any more takes nothing and stops nothing.
    """
    if stream is None:
        return  # Closed by the shell, as in `2>&-`; `print` would take stdout for it.
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    try:
        for line in lines:
            print(f"{sign}{harmless.line(line, longest)}", end=end, file=stream)
        stream.flush()
    except OSError:
        # The pipe's reader or the terminal is gone; what runs goes on without it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
