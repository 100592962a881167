"""Whether a site answers, asked as a browser asks."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

from devenv.errors import DevenvError

_ONE = 5.0
_PAUSE = 0.1
_STATUS = re.compile(rb"HTTP/\d\.\d ([1-9]\d\d)(?: |\s*$)")


async def status(port: int, path: str) -> int:
    """Of one GET at this machine. OSError or TimeoutError where nobody answers it, or not in HTTP."""
    async with asyncio.timeout(_ONE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            line = await reader.readline()
        except ValueError:  # it is longer than the reader takes
            line = b""
        finally:
            writer.close()
    if (found := _STATUS.match(line)) is None:
        raise ConnectionResetError("it ends the connection without an answer, or with one that is no HTTP")
    return int(found[1])


async def until_it_serves(port: int, path: str, patience: float) -> None:
    """Returns once the application answers, whatever it says. A DevenvError after so many seconds."""
    deadline = time.monotonic() + patience
    said = "nobody answers"
    while time.monotonic() < deadline:
        with suppress(OSError, TimeoutError):
            code = await status(port, path)
            if code not in (502, 503, 504):
                return
            said = f"httpd answers {code}: php-fpm is not reached"
        await asyncio.sleep(_PAUSE)
    raise DevenvError(
        "the site does not answer", f"{said}, for {patience:g} s, though all is ready", "see: devenv logs"
    )
