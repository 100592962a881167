"""The release before and this one understand each other, in an upgrade and in a rollback."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.handover.control import LIMITS, Server
from devenv.handover.deadlines import Deadlines
from devenv.handover.problem import Problem
from devenv.handover.wire import SMALL, Peer, Refused, Reply, Request, Unreachable
from tests.unit.handover import previous_wire as previous

SECRET = b"the-secret-of-this-stack-0123456789abcdef"
OTHER = b"a-secret-of-another-stack-0123456789abcde"
QUICK = replace(Deadlines(), connect=0.5, reply=2.0, handshake=1.0)
Address = tuple[str, int]
AnyServer = Server | previous.Server


@contextlib.contextmanager
def serving(make: type[AnyServer], reply: type, asked: list[Request] | None = None) -> Iterator[AnyServer]:
    """A gate that answers what it was asked with, of this release or of the one before."""

    def answer(request: Request) -> Reply:
        if asked is not None:
            asked.append(request)
        if request.verb == "refuse":
            raise Problem("no", "because", "wait", final=False)
        return reply({"echo": request.fields}, request.body)  # type: ignore[no-any-return]

    server = make(("127.0.0.1", 0), SECRET, QUICK, answer)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def asked() -> list[Request]:
    return []


@pytest.fixture
def ours(asked: list[Request]) -> Iterator[Address]:
    with serving(Server, Reply, asked) as server:
        yield "127.0.0.1", server.server_address[1]


@pytest.fixture
def theirs(asked: list[Request]) -> Iterator[Address]:
    with serving(previous.Server, previous.Reply, asked) as server:
        yield "127.0.0.1", server.server_address[1]


Call = Callable[..., object]


def a_hand_over(peer: Peer | previous.Peer, folder: Path) -> None:
    """All kinds of messages that one consists of."""
    assert peer.call("lease", {"token": "t"})[0]["echo"]["token"] == "t"
    assert peer.fetch("pages", {"token": "t"}, folder / "got", bytes(3 << 20))["echo"]["token"] == "t"
    assert (folder / "got").read_bytes() == bytes(3 << 20)
    peer.fetch("travel", {"early": True}, folder / "got", b"{}")
    with pytest.raises((Refused, previous.Refused), match="no: because") as caught:
        peer.call("refuse")
    assert not caught.value.as_problem().final
    assert peer.call("complete", {"token": "t"})[0]["echo"]["token"] == "t"


def test_one_of_the_release_before_takes_the_database_from_one_of_this(
    ours: Address, asked: list[Request], tmp_path: Path
) -> None:
    with previous.Peer(ours, SECRET, QUICK) as peer:
        a_hand_over(peer, tmp_path)
    assert [request.verb for request in asked] == ["lease", "pages", "travel", "refuse", "complete"]


def test_one_of_this_release_takes_the_database_from_one_of_the_release_before(
    theirs: Address, asked: list[Request], tmp_path: Path
) -> None:
    with Peer(theirs, SECRET, QUICK) as peer:
        a_hand_over(peer, tmp_path)
    assert [request.verb for request in asked] == ["lease", "pages", "travel", "refuse", "complete"]


def test_a_stranger_of_neither_form_is_believed_and_each_says_that_it_is_the_secret(
    ours: Address, theirs: Address
) -> None:
    for peer in (Peer(theirs, OTHER, QUICK), previous.Peer(ours, OTHER, QUICK)):
        with peer, pytest.raises(Problem, match="does not accept our secret"):
            peer.call("status")


# What a stranger could have of it


def test_without_a_word_that_was_authentic_the_form_before_gets_a_small_body_only(
    ours: Address, asked: list[Request]
) -> None:
    for verb in LIMITS:
        with previous.Peer(ours, SECRET, QUICK) as peer, pytest.raises(Problem):
            peer.call(verb, {}, bytes(SMALL + 1))
        with previous.Peer(ours, SECRET, QUICK) as peer:
            peer.call(verb, {}, bytes(SMALL))
    assert len(asked) == len(LIMITS)


def test_a_file_is_only_taken_from_the_release_before_once_it_has_shown_the_secret(
    theirs: Address, asked: list[Request], tmp_path: Path
) -> None:
    with Peer(theirs, SECRET, QUICK) as peer:
        peer.fetch("copy", {"token": "t"}, tmp_path / "got", bytes(SMALL * 2))
    assert [request.verb for request in asked] == ["status", "copy"]


@contextlib.contextmanager
def answering(answer: bytes, more: bytes = b"", pause: float = 0.0) -> Iterator[Address]:
    """Somebody without the secret, who speaks the form before: `answer`, then `more` without end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nHandover-Nonce: 1\r\nContent-Length: 0\r\n\r\n")
                    connection.recv(4096)
                    connection.sendall(answer)
                    while more:
                        connection.sendall(more)
                        time.sleep(pause)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(5)


ENDLESS = b"HTTP/1.1 200 OK\r\nHandover-Fields: {}\r\nHandover-Mac: 0\r\nContent-Length: 99999999999\r\n\r\n"


def test_nothing_of_a_stranger_gets_to_the_disk(tmp_path: Path) -> None:
    with answering(ENDLESS, bytes(1 << 16)) as address, Peer(address, SECRET, QUICK) as peer:
        with pytest.raises(Unreachable):
            peer.fetch("copy", {}, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b""


def test_an_answer_of_a_stranger_is_not_read_beyond_a_small_one() -> None:
    with answering(ENDLESS, bytes(1 << 16)) as address, Peer(address, SECRET, QUICK) as peer:
        with pytest.raises(Unreachable, match="99999999999 bytes"):
            peer.call("status")


def test_an_answer_that_trickles_is_given_up_in_the_time_that_it_has_in_all() -> None:
    trickle = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
    with answering(trickle, b"x", 0.05) as address, Peer(address, SECRET, QUICK) as peer:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            peer.call("status", within=0.4)
        assert time.monotonic() - started < 1.5


class Downgrade:
    """In the middle: takes from each side that the other one knows the form of this release."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            with near, socket.create_connection(self._target) as far:
                while asked := near.recv(65536):
                    far.sendall(asked)
                    near.sendall(far.recv(65536).replace(b"Handover-Version", b"X"))

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


def test_two_of_this_release_are_not_made_to_speak_the_form_before(
    ours: Address, asked: list[Request]
) -> None:
    middle = Downgrade(ours)
    with Peer(middle.address, SECRET, QUICK) as peer, pytest.raises(Problem, match="not authentic"):
        peer.call("lease", {"token": "t"})
    middle.close()
    assert asked == []


def test_one_of_this_release_that_was_made_to_speak_the_form_before_does_not_believe_the_answer() -> None:
    """The other one has not looked: its answer alone says that it knows better."""

    def answer(request: Request) -> previous.Reply:
        return previous.Reply({"wire": {"version": 2}})

    server = previous.Server(("127.0.0.1", 0), SECRET, QUICK, answer)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with Peer(("127.0.0.1", server.server_address[1]), SECRET, QUICK) as peer:
        with pytest.raises(Problem, match="not authentic"):
            peer.call("status")
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_release_before_takes_what_it_does_not_know_of_an_answer(ours: Address) -> None:
    with previous.Peer(ours, SECRET, QUICK) as peer:
        fields, _ = peer.call("status", {"a": 1})
    assert fields["echo"]["a"] == 1
    assert json.dumps(fields["wire"])
