"""How messages are authenticated: by an HMAC over what stands in their heads.

The head says how long the body is and what its SHA-256 is. So the secret is proven before a body
is read, and a body is read that is known to be as long as its author says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass

from .stream import number

VERSION = 2
"""Of the form that is described here; what speaks an earlier one does not name any."""

Nonces = tuple[str, str]
"""Of who asks, and of who answers."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the head says of a body: so many bytes of fields (JSON), then so many of content."""

    fields: int
    content: int
    sha256: str
    """Of both together, in hexadecimal."""

    @property
    def size(self) -> int:
        return self.fields + self.content

    def __str__(self) -> str:
        return f"{self.fields} {self.content} {self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Envelope:
        """Raises `stream.Malformed`."""
        fields, content, sha256 = ([*text.split(" "), "", ""])[:3]
        return cls(number(fields), number(content), sha256)


def request_mac(secret: bytes, nonces: Nonces, count: int, verb: str, envelope: str) -> str:
    """Of the `count`-th request of a connection."""
    return _mac(secret, "request/2", *nonces, count, verb, envelope)


def answer_mac(secret: bytes, request: str, status: int, envelope: str) -> str:
    """Of the answer to the request that has the MAC `request`."""
    return _mac(secret, "answer/2", request, status, envelope)


def previous_request_mac(
    secret: bytes, nonces: Nonces, count: int, verb: str, fields: str, content_sha256: str
) -> str:
    """As the release before made it: of fields in the head, and a body that has to be read for it."""
    return _mac(secret, "request", *nonces, count, verb, fields, content_sha256)


def previous_answer_mac(secret: bytes, request: str, status: int, fields: str, content_sha256: str) -> str:
    return _mac(secret, "answer", request, status, fields, content_sha256)


def _mac(secret: bytes, *parts: object) -> str:
    # JSON is an unambiguous join: no part can pass for its neighbour.
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def same(mac: str, given: str) -> bool:
    # What came over the wire may be anything; compare_digest takes no text beyond ASCII.
    return hmac.compare_digest(mac.encode(), given.encode("utf-8", "surrogateescape"))
