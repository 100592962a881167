"""This machine's clipboard, where a program for it is there."""

from __future__ import annotations

import os
import shutil
import tempfile

from devenv.errors import DevenvError
from devenv.tools import process

_PROGRAMS = (
    ("pbcopy", (), ""),
    ("wl-copy", (), "WAYLAND_DISPLAY"),
    ("xclip", ("-selection", "clipboard"), "DISPLAY"),
)
"""Program, arguments, and the variable without which it cannot work."""
_QUIET = '"$@" >/dev/null 2>&1'
"""What keeps the text stays in the background, and would keep our pipes open for as long."""


async def copy(text: str) -> bool:
    """False where no program took it: then the terminal's own way (OSC 52) is all there is."""
    for program, arguments, needs in _PROGRAMS:
        if shutil.which(program) and (not needs or os.environ.get(needs)):
            argv = ["sh", "-c", _QUIET, "sh", program, *arguments]
            try:
                with tempfile.TemporaryFile() as file:
                    file.write(text.encode(errors="replace"))
                    file.seek(0)
                    return (await process.run(argv, stdin=file, timeout=2, check=False)).code == 0
            except (DevenvError, OSError):
                return False
    return False
