"""A site for the probe: a form that takes what is written, a page that shows all of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from devenv.model.probe import Form, ProbeConfig

PROBE = ProbeConfig(login=Form(), write=Form(action="/write", fields={"text": "{nonce}"}), read="/all")


@contextmanager
def serving() -> Iterator[int]:
    """The port of a site that forgets nothing."""
    written: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            written.append(parse_qs(body)["text"][0])
            self._answer(303, "")

        def do_GET(self) -> None:
            self._answer(200, "\n".join(written))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            """Nothing on the screen of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
