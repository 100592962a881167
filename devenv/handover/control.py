"""Messages between gates, from the side that answers; `wire` has the other one and the form.

A gate's port is open to strangers, who must cost nothing: they get a thread for a few seconds and 64 KiB at
most, a few of them at a time, and none can keep out somebody who has the secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import ipaddress
import json
import math
import os
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import seal
from .deadlines import Deadlines
from .neighbours import Listener, Neighbours
from .problem import Problem
from .record import FORMAT
from .seal import Envelope
from .settings import Address
from .stream import Incoming, Malformed, head, number, read_exactly, read_head
from .wire import SMALL, Fields, Reply, Request

STRANGERS = 16
"""So many connections at a time whose peers have not shown yet that they know the secret."""
LARGE = 256 << 20
LIMITS = {"pages": LARGE, "changes": LARGE}
"""Of a request's body, in bytes, where that is not `SMALL`: the hashes of all blocks (16 bytes for each
32 KiB of a database), and the list of all files that have changed."""

Answer = Callable[[Request], Reply]


class Strangers:
    """Connections of whom nobody knows yet. Where they are too many, the oldest makes room for a new one: of
    the address that has most, so that nobody can crowd out another address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._hosts: dict[socket.socket, str] = {}
        """In the order in which they came."""
        self._changed = threading.Condition()

    def admit(self, connection: socket.socket, host: str) -> None:
        with self._changed:
            self._hosts[connection] = host
            while len(self._hosts) > self._most:
                counted = Counter(self._hosts.values())
                _, crowd = max((number, host) for host, number in counted.items())
                oldest = next(one for one, host in self._hosts.items() if host == crowd)
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # which wakes its thread
                self._changed.wait_for(lambda gone=oldest: gone not in self._hosts, timeout=1)  # type: ignore[misc]
                self._hosts.pop(oldest, None)

    def leave(self, connection: socket.socket) -> None:
        """It has proven itself, or is over."""
        with self._changed:
            self._hosts.pop(connection, None)
            self._changed.notify()


class Server(socketserver.ThreadingTCPServer):
    """Answers peers, each connection in a thread of its own. `answer` may raise `Problem`."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: Address,
        secret: bytes,
        deadlines: Deadlines,
        answer: Answer,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.secret = secret
        self.deadlines = deadlines
        self.answer = answer
        self.strangers = Strangers(STRANGERS)
        super().__init__(address, _Connection, bind_and_activate=False)
        if neighbours is not None:
            self.socket.close()
            self.socket = Listener(neighbours)
        try:
            self.server_bind()
            self.server_activate()
        except BaseException:
            self.server_close()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        self.strangers.admit(request, client_address[0])
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.strangers.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A peer that goes away in the middle is its own business; the next word is its.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Connection(socketserver.BaseRequestHandler):
    server: Server
    request: socket.socket

    def handle(self) -> None:
        deadlines = self.server.deadlines
        self._nonces = ("", "")
        self._count = 0
        self._proven = False
        self._incoming = Incoming(self.request, deadlines.reply, time.monotonic() + deadlines.handshake)
        self._stream = io.BufferedReader(self._incoming)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, EOFError, Malformed):
            while self._answer_one():
                pass

    def _answer_one(self) -> bool:
        """Whether the connection can be used further."""
        line, headers = read_head(self._stream)
        method, path, *_ = [*line.split(" "), ""]
        if method == "GET" and path == "/nonce":
            return self._exchange_nonces(headers.get("handover-nonce", ""))
        if method != "POST":
            return self._say(404)
        self._count += 1
        size = number(headers.get("content-length", "0"))
        verb = path.removeprefix("/")
        if "handover-body" in headers:
            return self._take(verb, headers, size)
        return self._take_previous(verb, headers, size)

    def _exchange_nonces(self, theirs: str) -> bool:
        if not 0 < len(theirs) <= 64:
            return self._say(404)
        # A new one each time: the count begins again, and nothing said before may fit.
        self._nonces = (theirs, secrets.token_hex(16))
        self._count = 0
        headers = {"Handover-Nonce": self._nonces[1], "Handover-Version": seal.VERSION}
        self.request.sendall(head("HTTP/1.1 200 OK", {**headers, "Content-Length": 0}))
        return True

    def _say(self, status: int) -> bool:
        self.request.sendall(head(f"HTTP/1.1 {status} ", {"Content-Length": 0, "Connection": "close"}))
        return False

    def _take(self, verb: str, headers: Mapping[str, str], size: int) -> bool:
        described = headers["handover-body"]
        mac = seal.request_mac(self.server.secret, self._nonces, self._count, verb, described)
        if not self._authentic(mac, headers):
            self._send(401, mac, _NOT_AUTHENTIC)
            self._discard(size)
            return False
        self._prove()
        envelope = Envelope.parse(described)
        if size > LIMITS.get(verb, SMALL):
            self._send(409, mac, _refusal(_too_large(verb, size)))
            self._discard(size)
            return False
        body = read_exactly(self._stream, size)
        if not seal.same(hashlib.sha256(body).hexdigest(), envelope.sha256):
            self._send(401, mac, _NOT_AUTHENTIC)
            return False
        fields, content = json.loads(body[: envelope.fields]), body[envelope.fields :]
        self._send(*self._do(verb, mac, fields, content, signs=True))
        return True

    def _take_previous(self, verb: str, headers: Mapping[str, str], size: int) -> bool:
        """Of the release before: its MAC can be checked only when its body has been read."""
        if size > (LIMITS.get(verb, SMALL) if self._proven else SMALL):
            return self._say(413)
        body = read_exactly(self._stream, size)
        written, sha256 = headers.get("handover-fields", ""), hashlib.sha256(body).hexdigest()
        mac = seal.previous_request_mac(self.server.secret, self._nonces, self._count, verb, written, sha256)
        if not self._authentic(mac, headers):
            self._send_previous(401, mac, _NOT_AUTHENTIC)
            return False
        self._prove()
        self._send_previous(*self._do(verb, mac, json.loads(written), body, signs=False))
        return True

    def _do(self, verb: str, mac: str, fields: Fields, body: bytes, *, signs: bool) -> tuple[int, str, Reply]:
        try:
            peer = self._author(fields.pop("wire", None), signs)
            return 200, mac, self.server.answer(Request(verb, fields, body, peer))
        except Problem as problem:
            return 409, mac, _refusal(problem)

    def _author(self, way: object, signs: bool) -> str:
        """The address that whoever made the request has by its own word: a network may show another one, as
        between the nodes of some clusters. Where it was sent to is ours, or somebody passes it on.
        """
        if not signs and way is None:
            return str(self.client_address[0])  # the release before does not say it
        here = self.request.getsockname()[0]
        # One that says it, and still speaks as the release before, was made to.
        if signs and isinstance(way, dict) and way.get("to") == here:
            with contextlib.suppress(ValueError):
                return str(ipaddress.ip_address(way.get("from", "")))
        raise _detour(way, here)

    def _authentic(self, mac: str, headers: Mapping[str, str]) -> bool:
        return bool(self._nonces[0]) and seal.same(mac, headers.get("handover-mac", ""))

    def _prove(self) -> None:
        self._proven = True
        self._incoming.until = math.inf
        self.server.strangers.leave(self.request)

    def _discard(self, size: int) -> None:
        """Else closing would take our answer back."""
        left = min(size, SMALL)
        while left and (chunk := self._stream.read1(left)):
            left -= len(chunk)

    def _send(self, status: int, mac: str, reply: Reply) -> None:
        written = json.dumps({**reply.fields, "format": FORMAT}).encode()
        with _content(reply) as (size, file):
            digest = hashlib.sha256(written)
            hashlib.file_digest(file, lambda: digest)
            envelope = str(Envelope(len(written), size, digest.hexdigest()))
            signed = seal.answer_mac(self.server.secret, mac, status, envelope)
            headers = {
                "Handover-Body": envelope,
                "Handover-Mac": signed,
                "Content-Length": len(written) + size,
            }
            self._send_all(status, headers, written, file)

    def _send_previous(self, status: int, mac: str, reply: Reply) -> None:
        written = json.dumps({**reply.fields, "format": FORMAT, "wire": {"version": seal.VERSION}})
        with _content(reply) as (size, file):
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            signed = seal.previous_answer_mac(self.server.secret, mac, status, written, sha256)
            headers = {"Handover-Fields": written, "Handover-Mac": signed, "Content-Length": size}
            self._send_all(status, headers, b"", file)

    def _send_all(
        self, status: int, headers: Mapping[str, object], written: bytes, file: io.BufferedReader | io.BytesIO
    ) -> None:
        if self._proven:
            self.request.settimeout(self.server.deadlines.reply)
        self.request.sendall(head(f"HTTP/1.1 {status} ", headers) + written)
        file.seek(0)
        self.request.sendfile(file)


_NOT_AUTHENTIC = Reply({"error": "not authentic"})


@contextlib.contextmanager
def _content(reply: Reply) -> Iterator[tuple[int, io.BufferedReader | io.BytesIO]]:
    """How long it is, and it. A file is removed afterwards."""
    if isinstance(reply.body, bytes):
        yield len(reply.body), io.BytesIO(reply.body)
        return
    try:
        with reply.body.open("rb") as file:
            yield os.fstat(file.fileno()).st_size, file
    finally:
        reply.body.unlink(missing_ok=True)


def _refusal(problem: Problem) -> Reply:
    return Reply({**problem.as_json(), "final": problem.final})


def _too_large(verb: str, size: int) -> Problem:
    return Problem(
        f"a request {verb!r} is too large",
        f"it has {size} bytes, {LIMITS.get(verb, SMALL)} are the most",
        "look at what is asked: nothing of this stack needs more",
    )


def _detour(sent: object, here: str) -> Problem:
    return Problem(
        "a message did not come straight from its author",
        f"it was sent as {json.dumps(sent)}, and came to {here}",
        "look what is between the two: instances must reach each other without a relay",
        final=False,
    )
