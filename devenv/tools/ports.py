"""Who listens on a port of this machine."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def taken(port: int) -> bool:
    """Whether something listens on 127.0.0.1 there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            # A low port is closed to us, not to the engine.
            return error.errno == errno.EADDRINUSE
    return False


def holder(port: int) -> str | None:
    """The program that listens there, as `name (process 123)`; None where that cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of others are closed to us.
        with suppress(OSError):
            for link in (folder / "fd").iterdir():
                if str(link.readlink()) in sockets:
                    return f"{(folder / 'comm').read_text().strip()} (process {folder.name})"
    return None


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on `port`; empty where there is no /proc."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found
