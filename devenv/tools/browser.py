"""A page in this machine's own browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import webbrowser

from devenv.errors import DevenvError
from devenv.tools import process

_PROGRAMS = {"linux": ("xdg-open", "x-www-browser"), "darwin": ("open",)}
_BESIDE = (
    '"$@" >/dev/null 2>&1 & '
    "for _ in 1 2 3 4 5; do kill -0 $! 2>/dev/null || { wait $!; exit; }; sleep 0.2; done"
)
"""What it says would be painted over the screen. And it may be the browser itself, which stays when we go: so
only its first second can tell of a failure."""


async def show(url: str) -> bool:
    """False where there is no browser with a window: over ssh, on a server."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # A text browser would take the terminal.
        return False
    programs = _PROGRAMS.get(sys.platform)
    if programs is None:
        return await asyncio.to_thread(webbrowser.open, url)
    program = next((one for one in programs if shutil.which(one)), None)
    if program is None:
        return False
    try:
        # The words behind the script are what a person can repeat by hand.
        ran = await process.run(["sh", "-c", _BESIDE, "sh", program, url], timeout=10, check=False)
    except DevenvError:
        return False
    return ran.code == 0
