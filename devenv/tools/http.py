"""Whether a site answers, asked as a browser asks."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from devenv.errors import DevenvError

_ONE = 5.0
_PAUSE = 0.1
_HEADERS = 200
"""So many are looked at."""
_STATUS = re.compile(rb"HTTP/\d\.\d ([1-9]\d\d)(?: |\s*$)")


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    location: str
    """Where it leads to; empty if it does not."""


async def status(port: int, path: str) -> int:
    """Of one GET at this machine. Raises as `ask`."""
    return (await ask(port, path)).code


async def ask(port: int, path: str) -> Answer:
    """The head of the answer to one GET at this machine.

    OSError or TimeoutError where nobody answers it, or not in HTTP.
    """
    location = ""
    async with asyncio.timeout(_ONE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            line = await reader.readline()
            for _ in range(_HEADERS):
                name, colon, value = (await reader.readline()).partition(b":")
                if not colon:
                    break
                if name.strip().lower() == b"location":
                    location = value.decode("utf-8", "replace").strip()
        except ValueError:  # a line is longer than the reader takes
            line = b""
        finally:
            writer.close()
    if (found := _STATUS.match(line)) is None:
        raise ConnectionResetError("it ends the connection without an answer, or with one that is no HTTP")
    return Answer(int(found[1]), location)


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
