"""As the release before spoke and listened, for tests that this one understands it: a copy, never changed.

Messages between gates: HTTP/1.1, fields as JSON, a body of bytes, all authenticated.

A connection begins with an exchange of nonces. From then on each request carries an
HMAC with the stack's secret over the nonces of both sides, its place on the connection,
the verb, the fields and the SHA-256 of the body; each answer carries one over the
request's and its own content. So nothing can be forged, replayed or swapped, an answer
to `complete` included. Content is not encrypted: the peers share a private network.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from devenv.handover.deadlines import Deadlines
from devenv.handover.problem import Problem
from devenv.handover.record import FORMAT
from devenv.handover.settings import Address

Fields = dict[str, Any]
Body = TypeVar("Body", bytes, Path)
CHUNK = 1 << 20
LARGEST_REQUEST = 256 << 20
"""The largest request is a list of block hashes: 16 bytes for each 32 KiB of a database."""


class Unreachable(Exception):
    """No authentic answer: refused, cut, timed out. The peer may or may not have acted."""


class Refused(Exception):
    """The peer answered, and says no. `fields` has its reasons."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(f"{fields.get('error')}: {fields.get('why')}")
        self.fields = fields

    def as_problem(self) -> Problem:
        return Problem(
            str(self.fields.get("error", "the peer refused")),
            str(self.fields.get("why", "it gave no reason")),
            str(self.fields.get("next", "see the log of the owner")),
            final=bool(self.fields.get("final")),
        )


def _mac(secret: bytes, *parts: object) -> str:
    # JSON is an unambiguous join: no part can pass for its neighbour.
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _same(mac: str, given: str) -> bool:
    # What came over the wire may be anything; compare_digest takes no text beyond ASCII.
    return hmac.compare_digest(mac.encode(), given.encode("utf-8", "surrogateescape"))


class Peer:
    """A connection to a gate, made when it is first used. Not shared between threads."""

    def __init__(
        self, address: Address, secret: bytes, deadlines: Deadlines, source: str | None = None
    ) -> None:
        self.address = address
        self._source = (source, 0) if source else None
        self._secret = secret
        self._deadlines = deadlines
        self._connection: http.client.HTTPConnection | None = None
        self._nonces = ("", "")
        self._count = 0
        self._used = 0.0

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, verb: str, fields: Fields | None = None, body: bytes = b"") -> tuple[Fields, bytes]:
        """Ask, and return the answer's fields and body. Raises `Refused` or `Unreachable`."""
        return self._call(verb, fields or {}, body, lambda response: response.read())

    def fetch(self, verb: str, fields: Fields, into: Path, body: bytes = b"") -> Fields:
        """As `call`, with the answer's body in the file `into`, which is not synced yet."""

        def store(response: http.client.HTTPResponse) -> Path:
            with into.open("wb") as file:
                shutil.copyfileobj(response, file, CHUNK)
            return into

        return self._call(verb, fields, body, store)[0]

    def _call(
        self,
        verb: str,
        fields: Fields,
        body: bytes,
        read: Callable[[http.client.HTTPResponse], Body],
    ) -> tuple[Fields, Body]:
        if time.monotonic() - self._used > self._deadlines.reply / 2:
            self.close()  # we had other work, and the server does not wait for ever
        try:
            connection = self._connection or self._connect()
            self._count += 1
            written = json.dumps({**fields, "format": FORMAT})
            sha256 = hashlib.sha256(body).hexdigest()
            mac = _mac(self._secret, "request", *self._nonces, self._count, verb, written, sha256)
            headers = {"Handover-Fields": written, "Handover-Mac": mac}
            connection.request("POST", f"/{verb}", body, headers)
            response = connection.getresponse()
            content = read(response)
            if response.length:
                raise http.client.HTTPException(f"the answer was cut, {response.length} bytes are missing")
            answer = self._authentic(response, mac, content)
            self._used = time.monotonic()
        except Problem:
            self.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            host, port = self.address
            if isinstance(error, OSError) and error.filename is not None:
                raise  # our own disk, not the peer
            raise Unreachable(f"{host}:{port} {verb}: {error or type(error).__name__}") from error
        if response.status != 200:
            raise Refused(answer)
        return answer, content

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self.address
        connection = http.client.HTTPConnection(
            host, port, timeout=self._deadlines.connect, source_address=self._source
        )
        self._connection = connection  # closed with us, whatever happens now
        connection.connect()
        connection.sock.settimeout(self._deadlines.reply)
        ours = secrets.token_hex(16)
        connection.request("GET", "/nonce", headers={"Handover-Nonce": ours})
        response = connection.getresponse()
        response.read()
        self._nonces = (ours, response.headers["Handover-Nonce"])
        self._count = 0
        self._used = time.monotonic()
        return connection

    def _authentic(
        self, response: http.client.HTTPResponse, request_mac: str, content: bytes | Path
    ) -> Fields:
        written = response.headers.get("Handover-Fields", "")
        expected = _mac(self._secret, "answer", request_mac, response.status, written, _sha256(content))
        genuine = _same(expected, response.headers.get("Handover-Mac", ""))
        # The peer that shares our secret and did not get what we sent has refused nothing.
        if not genuine or response.status == 401:
            if not genuine and response.status == 401:
                raise Problem(
                    "the peer does not accept our secret",
                    f"{self.address[0]} has another one, so it belongs to another stack, "
                    "or one of the two was started with an old value",
                    "start both with the same HANDOVER_SECRET",
                )
            raise Problem(
                "an answer of the peer is not authentic",
                f"{self.address[0]}: it or our request was changed on the way, or the secrets differ",
                "nothing was taken from it; look who else is on this network, then try again",
                final=False,
            )
        fields: Fields = json.loads(written)
        return fields


def _sha256(body: bytes | Path) -> str:
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Request:
    verb: str
    fields: Fields
    body: bytes
    peer: str
    """The address that the peer has on our network."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a verb answers."""

    fields: Fields
    body: bytes | Path = b""
    """A file is sent as it stands, and removed afterwards."""


Answer = Callable[[Request], Reply]


class Server(ThreadingHTTPServer):
    """Answers peers, each connection in a thread of its own. `answer` may raise `Problem`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: Address, secret: bytes, deadlines: Deadlines, answer: Answer) -> None:
        self.secret = secret
        self.deadlines = deadlines
        self.answer = answer
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A peer that goes away in the middle is its own business; the next word is its.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    # One segment for the headers and the body of a short answer, and no waiting for ACKs.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.timeout = self.server.deadlines.reply  # type: ignore[misc]
        self.ours = ""
        self.theirs = ""
        self.count = 0
        super().setup()

    def do_GET(self) -> None:
        if self.path != "/nonce" or not self.headers.get("Handover-Nonce"):
            self.send_error(404)
            return
        self.theirs = self.headers["Handover-Nonce"]
        # A new one each time: the count begins again, and nothing said before may fit.
        self.ours = secrets.token_hex(16)
        self.count = 0
        self.send_response(200)
        self.send_header("Handover-Nonce", self.ours)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 <= length <= LARGEST_REQUEST:
            self.send_error(413)
            return
        body = self.rfile.read(length)
        verb = self.path.removeprefix("/")
        written = self.headers.get("Handover-Fields", "")
        self.count += 1
        sha256 = hashlib.sha256(body).hexdigest()
        mac = _mac(self.server.secret, "request", self.theirs, self.ours, self.count, verb, written, sha256)
        if not self.theirs or not _same(mac, self.headers.get("Handover-Mac", "")):
            self.close_connection = True
            self._send(401, mac, Reply({"error": "not authentic"}))
            return
        try:
            fields: Fields = json.loads(written)
            reply = self.server.answer(Request(verb, fields, body, self.client_address[0]))
            self._send(200, mac, reply)
        except Problem as problem:
            self._send(409, mac, Reply({**problem.as_json(), "final": problem.final}))

    def _send(self, status: int, mac: str, reply: Reply) -> None:
        written = json.dumps({**reply.fields, "format": FORMAT})
        try:
            size = reply.body.stat().st_size if isinstance(reply.body, Path) else len(reply.body)
            signed = _mac(self.server.secret, "answer", mac, status, written, _sha256(reply.body))
            self.send_response(status)
            self.send_header("Handover-Fields", written)
            self.send_header("Handover-Mac", signed)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if isinstance(reply.body, Path):
                self.wfile.flush()
                with reply.body.open("rb") as file:
                    self.connection.sendfile(file)
            else:
                self.wfile.write(reply.body)
            self.wfile.flush()
        finally:
            if isinstance(reply.body, Path):
                reply.body.unlink(missing_ok=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """The journal tells what matters."""
