"""Reading what somebody sends whom nobody knows yet: bounds in time and in bytes."""

from __future__ import annotations

import io
import math
import socket
import time
from collections.abc import Mapping
from typing import Any

LARGEST_HEAD = 128 << 10
"""Of a message, in bytes: the release before has all fields of a message in one line of it."""


class Malformed(Exception):
    """It is not a message, or it is too large."""


class Incoming(io.RawIOBase):
    """The bytes that come from a connection.

    A read raises TimeoutError after `silence` seconds without a byte, and at `until` (monotonic) in any case.
    """

    def __init__(self, connection: socket.socket, silence: float, until: float = math.inf) -> None:
        self._connection = connection
        self.silence = silence
        self.until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("it takes too long in all")
        self._connection.settimeout(min(self.silence, left))
        return self._connection.recv_into(buffer)


def read_head(stream: io.BufferedReader[Incoming]) -> tuple[str, Mapping[str, str]]:
    """The first line of a message, and its headers by their names in lower case.

    Raises EOFError where the connection ends before it, and `Malformed`.
    """
    lines: list[str] = []
    left = LARGEST_HEAD
    while True:
        line = stream.readline(left)
        left -= len(line)
        if not line and not lines:
            raise EOFError("the connection was closed")
        if not line.endswith(b"\n"):
            raise Malformed("its head is cut, or too large")
        if not line.strip():
            break
        lines.append(line.decode("latin-1").strip())
    if not lines:
        raise Malformed("it begins with an empty line")
    first, *rest = lines
    headers = {}
    for header in rest:
        name, colon, value = header.partition(":")
        if not colon:
            raise Malformed("a header has no colon")
        headers[name.strip().lower()] = value.strip()
    return first, headers


def number(text: str) -> int:
    """A count in digits alone. Raises `Malformed`."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Malformed("a length is no number")
    return int(text)


def read_exactly(stream: io.BufferedReader[Incoming], size: int) -> bytes:
    """Raises EOFError where the connection ends before that."""
    content = stream.read(size)
    if len(content) < size:
        raise EOFError(f"it was cut, {size - len(content)} bytes are missing")
    return content


def head(first: str, headers: Mapping[str, object]) -> bytes:
    """The head of a message, as it is sent."""
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
