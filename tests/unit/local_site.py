"""A site on this machine that says what a test wants it to, byte by byte."""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any

Said = bytes | Iterable[bytes]
"""Of an answer, all of it or piece by piece."""
Answers = Callable[[str, str, str], Said]
"""To a method, a path and a body."""

WELL = b"HTTP/1.1 303 See Other\r\nLocation: /notes\r\nContent-Length: 0\r\n\r\n"


def page(text: str) -> bytes:
    body = text.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class LocalSite(socketserver.ThreadingTCPServer):
    """One answer a connection. It keeps what is posted to /write, and shows it on every page."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.written: list[str] = []
        """The bodies of what was posted to /write."""
        self.page_size = 0
        """So many of them are on a page, and each leads to the next; 0: all are on all pages."""
        self.broken: Callable[[str, str, int], Said | None] = lambda method, path, number: None
        """Instead of the answer that it would give; `number`: so much was posted to /write, this included."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, body: str) -> Said:
        if path == "/write":
            self.written.append(body)
        if (instead := self.broken(method, path, len(self.written))) is not None:
            return instead
        return WELL if method == "POST" else page(self._page(path))

    def _page(self, path: str) -> str:
        if not self.page_size:
            return "\n".join(self.written)
        number = int(path.partition("?page=")[2] or 1)
        start = (number - 1) * self.page_size
        here = self.written[start : start + self.page_size]
        leads = len(self.written) > start + self.page_size
        return "\n".join([*here, f'<a rel="next" href="?page={number + 1}">on</a>' if leads else ""])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone away."""


class _Visit(socketserver.StreamRequestHandler):
    server: LocalSite

    def handle(self) -> None:
        method, path, _ = self.rfile.readline().decode().split(" ", 2)
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            if found := re.match(rb"content-length: (\d+)", line, re.IGNORECASE):
                length = int(found[1])
        said = self.server.answer(method, path, self.rfile.read(length).decode())
        with contextlib.suppress(OSError):
            for piece in [said] if isinstance(said, bytes) else said:
                self.wfile.write(piece)


@contextlib.contextmanager
def open_site() -> Any:
    """It answers as long as the block runs."""
    with LocalSite() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
