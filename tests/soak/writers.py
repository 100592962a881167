"""Clients that write all the while, one connection a request, no retry anywhere."""

from __future__ import annotations

import http.client
import itertools
import secrets
import threading
import time
from collections import Counter
from urllib.parse import urlencode

from tests.soak.ledger import Write

TIMEOUT = 60.0
"""Seconds after which a request has failed."""
_PAUSE = 0.04
_FILES = 50
"""Every so many writes one brings a file."""


class Writers:
    """From `start` to `stop`. Times are those of `time.monotonic`."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(count)]
        self._writes: list[Write] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Write]:
        """All that was sent."""
        self._stopping.set()
        ends = time.monotonic() + 2 * TIMEOUT
        for thread in self._threads:
            thread.join(max(ends - time.monotonic(), 0))
            assert not thread.is_alive(), "a request does not end"
        return list(self._writes)

    def acknowledged_since(self, moment: float) -> int:
        return sum(1 for one in list(self._writes) if one.failure is None and one.sent > moment)

    def _write(self) -> None:
        while not self._stopping.wait(_PAUSE):
            nonce = secrets.token_hex(8)
            fields = {"nonce": nonce} | ({"file": "1"} if next(self._numbers) % _FILES == 0 else {})
            sent = time.monotonic()
            try:
                status, _ = _ask(self._port, "POST", "/write", urlencode(fields))
                failure = None if status == 201 else f"it was answered with {status}"
            except Exception as error:  # whatever it was: it is no acknowledgement
                failure = f"{type(error).__name__}: {error}"
            self._writes.append(Write(nonce, sent, time.monotonic(), failure))


def written(port: int) -> Counter[str]:
    """How often each nonce is there."""
    status, text = _ask(port, "GET", "/written")
    assert status == 200, f"/written answers {status}: {text[:200]}"
    return Counter(text.split())


def _ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    headers = {"Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()
