"""Messages between gates, from the side that asks: HTTP/1.1, all of it authenticated.

A connection begins with an exchange of nonces. From then on each request carries an HMAC with the
stack's secret over the nonces of both sides, its place on the connection, the verb, and the length and
SHA-256 of its body: fields as JSON, then bytes. Each answer carries one over the request's and its own.
Fields say from where to where a request was sent, so that it is not taken from somebody who passes it on.
Content is not encrypted: the peers share a private network.

The release before is understood, and spoken to where it answers: see `seal`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import seal
from .deadlines import Deadlines
from .problem import Problem
from .record import FORMAT
from .seal import Envelope
from .settings import Address
from .stream import Incoming, Malformed, head, number, read_exactly, read_head

Fields = dict[str, Any]
CHUNK = 1 << 20
SMALL = 64 << 10
"""Of a body, in bytes: so much is taken of whom nobody knows yet."""
LARGEST_ANSWER = 16 << 20
"""Of fields, or of content that is not put into a file."""


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


@dataclass(frozen=True, slots=True)
class Request:
    """What a gate is asked."""

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


class Peer:
    """A connection to a gate, made when it is first used. Not shared between threads."""

    def __init__(
        self, address: Address, secret: bytes, deadlines: Deadlines, source: str | None = None
    ) -> None:
        self.address = address
        self._source = (source, 0) if source else None
        self._secret = secret
        self._deadlines = deadlines
        self._connection: _Connection | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self, verb: str, fields: Fields | None = None, body: bytes = b"", *, within: float | None = None
    ) -> tuple[Fields, bytes]:
        """Ask, and return the answer's fields and body. Raises `Refused` or `Unreachable`.

        All of the answer must be there `within` so many seconds, a connection included.
        """
        content = io.BytesIO()
        return self._call(verb, fields or {}, body, content, within), content.getvalue()

    def fetch(self, verb: str, fields: Fields, into: Path, body: bytes = b"") -> Fields:
        """As `call`, with the answer's body in the file `into`, which is not synced yet."""
        with into.open("w+b") as file:
            return self._call(verb, fields, body, file)

    def _call(
        self, verb: str, fields: Fields, body: bytes, into: BinaryIO, within: float | None = None
    ) -> Fields:
        until = time.monotonic() + (self._deadlines.reply if within is None else within)
        if self._connection and time.monotonic() - self._connection.used > self._deadlines.reply / 2:
            self.close()  # we had other work, and the server does not wait for ever
        try:
            if self._connection is None:
                self._connection = _Connection(
                    self.address, self._secret, self._deadlines, self._source, until
                )
            status, answer = self._connection.ask(verb, fields, body, into, until)
        except _OwnDisk as error:
            self.close()
            raise error.why from None
        except (OSError, EOFError, Malformed, ValueError) as error:
            self.close()
            host, port = self.address
            raise Unreachable(f"{host}:{port} {verb}: {error or type(error).__name__}") from error
        except BaseException:
            self.close()
            raise
        if status != 200:
            raise Refused(answer)
        return answer


class _OwnDisk(Exception):
    """What came cannot be written, which is no fault of the peer."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


class _Connection:
    """One that has exchanged nonces. After any exception it is of no use."""

    def __init__(
        self, address: Address, secret: bytes, deadlines: Deadlines, source: Address | None, until: float
    ) -> None:
        self._address = address
        self._secret = secret
        self._reply = deadlines.reply
        self._count = 0
        self._proven = False
        """The peer has shown that it knows the secret."""
        timeout = max(min(deadlines.connect, until - time.monotonic()), 0.001)
        self._socket = socket.create_connection(address, timeout, source)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._way = {"from": self._socket.getsockname()[0], "to": self._socket.getpeername()[0]}
            self._incoming = Incoming(self._socket, self._reply, until)
            self._stream = io.BufferedReader(self._incoming)
            ours = secrets.token_hex(16)
            self._send(head("GET /nonce HTTP/1.1", {"Handover-Nonce": ours}))
            status, headers, size = self._head()
            if status != 200 or "handover-nonce" not in headers or size > SMALL:
                raise Malformed("what answers there is no gate")
            read_exactly(self._stream, size)
            self._nonces = (ours, headers["handover-nonce"])
            self._previous = headers.get("handover-version") != str(seal.VERSION)
        except BaseException:
            self.close()
            raise
        self.used = time.monotonic()

    def close(self) -> None:
        self._socket.close()

    def ask(self, verb: str, fields: Fields, body: bytes, into: BinaryIO, until: float) -> tuple[int, Fields]:
        """The answer's status and fields, with its content in `into`."""
        self._incoming.until = until
        written = json.dumps({**fields, "format": FORMAT, "wire": self._way})
        if self._previous and not self._proven and not isinstance(into, io.BytesIO):
            # Its MAC is known to be right only when all has been read: not of a stranger.
            self.ask("status", {}, b"", io.BytesIO(), until)
        self._count += 1
        if self._previous:
            answer = self._ask_previous(verb, written, body, into)
        else:
            answer = self._ask(verb, written.encode(), body, into)
        self._proven = True
        self.used = time.monotonic()
        return answer

    def _ask(self, verb: str, written: bytes, body: bytes, into: BinaryIO) -> tuple[int, Fields]:
        sha256 = hashlib.sha256(written + body).hexdigest()
        envelope = str(Envelope(len(written), len(body), sha256))
        mac = seal.request_mac(self._secret, self._nonces, self._count, verb, envelope)
        self._post(verb, {"Handover-Body": envelope, "Handover-Mac": mac}, written + body)
        status, headers, size = self._head()
        envelope = headers.get("handover-body", "")
        self._require(status, headers, seal.answer_mac(self._secret, mac, status, envelope))
        it = Envelope.parse(envelope)
        in_memory = isinstance(into, io.BytesIO)
        if it.size != size or it.fields > LARGEST_ANSWER or (in_memory and it.content > LARGEST_ANSWER):
            raise Malformed(f"its answer has {size} bytes")
        answer = read_exactly(self._stream, it.fields)
        digest = hashlib.sha256(answer)
        if not in_memory:
            self._incoming.until = math.inf  # as long as it goes on: its author is known, and its length
        self._copy(it.content, into, digest)
        if not seal.same(digest.hexdigest(), it.sha256):
            raise self._not_authentic()
        fields: Fields = json.loads(answer)
        return status, fields

    def _ask_previous(self, verb: str, written: str, body: bytes, into: BinaryIO) -> tuple[int, Fields]:
        sha256 = hashlib.sha256(body).hexdigest()
        mac = seal.previous_request_mac(self._secret, self._nonces, self._count, verb, written, sha256)
        self._post(verb, {"Handover-Fields": written, "Handover-Mac": mac}, body)
        status, headers, size = self._head()
        if not isinstance(into, io.BytesIO):
            self._incoming.until = math.inf
        elif size > SMALL:
            raise Malformed(f"its answer has {size} bytes")
        digest = hashlib.sha256()
        self._copy(size, into, digest)
        answer = headers.get("handover-fields", "")
        self._require(
            status,
            headers,
            seal.previous_answer_mac(self._secret, mac, status, answer, digest.hexdigest()),
        )
        fields: Fields = json.loads(answer)
        if "wire" in fields:
            # It knows the form of this release, and would have said so: somebody in between kept it from us.
            raise self._not_authentic()
        return status, fields

    def _post(self, verb: str, headers: Mapping[str, object], body: bytes) -> None:
        self._send(head(f"POST /{verb} HTTP/1.1", {**headers, "Content-Length": len(body)}) + body)

    def _send(self, message: bytes) -> None:
        self._socket.settimeout(self._reply)
        self._socket.sendall(message)

    def _head(self) -> tuple[int, Mapping[str, str], int]:
        line, headers = read_head(self._stream)
        protocol, status, *_ = [*line.split(" "), "", ""]
        if not protocol.startswith("HTTP/1."):
            raise Malformed("it does not speak HTTP")
        return number(status), headers, number(headers.get("content-length", ""))

    def _copy(self, size: int, into: BinaryIO, digest: hashlib._Hash) -> None:
        while size:
            if not (chunk := self._stream.read1(min(size, CHUNK))):
                raise EOFError(f"the answer was cut, {size} bytes are missing")
            size -= len(chunk)
            digest.update(chunk)
            try:
                into.write(chunk)
            except OSError as error:
                raise _OwnDisk(error) from error

    def _require(self, status: int, headers: Mapping[str, str], mac: str) -> None:
        """Raise a `Problem` unless the answer is authentic, and what it answers was so on its arrival."""
        genuine = seal.same(mac, headers.get("handover-mac", ""))
        if status == 401 and not genuine:
            raise Problem(
                "the peer does not accept our secret",
                f"{self._address[0]} has another one, so it belongs to another stack, "
                "or one of the two was started with an old value",
                "start both with the same HANDOVER_SECRET",
            )
        # The peer that shares our secret and did not get what we sent has refused nothing.
        if status == 401 or not genuine:
            raise self._not_authentic()

    def _not_authentic(self) -> Problem:
        return Problem(
            "an answer of the peer is not authentic",
            f"{self._address[0]}: it or our request was changed on the way, or the secrets differ",
            "nothing was taken from it; look who else is on this network, then try again",
            final=False,
        )
