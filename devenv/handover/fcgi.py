"""Just enough FastCGI to ask a server behind the gate one question.

https://fastcgi-archives.github.io/FastCGI_Specification.html
"""

from __future__ import annotations

import io
import socket
import struct
import time
from pathlib import Path

from .stream import Incoming

LARGEST = 16 << 20
"""Of an answer, in bytes: a page, not a download."""

_HEADER = struct.Struct(">BBHHBx")
_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7


def get(where: Path, params: dict[str, str], timeout: float) -> tuple[int, bytes]:
    """One GET request to the server at the Unix socket `where`: (status, headers and body).

    Raises OSError when there is no complete answer within `timeout` seconds, or it is larger than `LARGEST`.
    """
    params = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        **params,
    }
    pairs = b"".join(_pair(name.encode(), value.encode()) for name, value in params.items())
    message = _record(_BEGIN, struct.pack(">HB5x", 1, 0)) + _record(_PARAMS, pairs)
    until = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(where))
        connection.sendall(message + _record(_PARAMS, b"") + _record(_STDIN, b""))
        answer = io.BufferedReader(Incoming(connection, timeout, until))
        output, left = bytearray(), LARGEST
        while True:
            kind, length, padding = _read_header(answer.read(_HEADER.size))
            left -= _HEADER.size + length + padding
            if left < 0:
                raise OSError(f"it answers with more than {LARGEST >> 20} MiB")
            content = answer.read(length + padding)[:length]
            if kind == _STDOUT:
                output += content
            elif kind == _END:
                return _status(bytes(output)), bytes(output)


def page(document_root: str, uri: str) -> dict[str, str]:
    """The params of a GET of `uri` by the front controller."""
    path, _, query = uri.partition("?")
    script = path if path.endswith(".php") else "/index.php"
    return {
        "SCRIPT_FILENAME": f"{document_root}{script}",
        "SCRIPT_NAME": script,
        "DOCUMENT_ROOT": document_root,
        "REQUEST_URI": uri,
        "QUERY_STRING": query,
    }


def _record(kind: int, content: bytes) -> bytes:
    return _HEADER.pack(1, kind, 1, len(content), 0) + content


def _read_header(raw: bytes) -> tuple[int, int, int]:
    if len(raw) < _HEADER.size:
        raise ConnectionError("the server closed the connection before its answer was complete")
    _, kind, _, length, padding = _HEADER.unpack(raw)
    return kind, length, padding


def _pair(name: bytes, value: bytes) -> bytes:
    sizes = b"".join(
        struct.pack(">B", size) if size < 128 else struct.pack(">I", size | 1 << 31)
        for size in (len(name), len(value))
    )
    return sizes + name + value


def _status(output: bytes) -> int:
    for line in output.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            return int(value.split()[0])
    return 200
