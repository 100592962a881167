"""Messages between gates, with somebody in the middle who changes them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.handover.control import Server
from devenv.handover.deadlines import Deadlines
from devenv.handover.problem import Problem
from devenv.handover.record import FORMAT
from devenv.handover.wire import Peer, Refused, Reply, Request, Unreachable

SECRET = b"the-secret-of-this-stack-0123456789abcdef"
OTHER = b"a-secret-of-another-stack-0123456789abcde"
QUICK = replace(Deadlines(), connect=0.5, reply=0.4)
Address = tuple[str, int]


class Gate:
    """A server that remembers what it was asked, and answers with `answer`."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: Reply(
            {"echo": request.fields}, request.body
        )
        self.folder = folder
        self.server = Server(("127.0.0.1", 0), SECRET, QUICK, self._answer)
        self.address: Address = ("127.0.0.1", self.server.server_address[1])

    def _answer(self, request: Request) -> Reply:
        self.asked.append(request)
        return self.answer(request)

    @property
    def verbs(self) -> list[str]:
        return [request.verb for request in self.asked]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    it = Gate(tmp_path)
    thread = threading.Thread(target=it.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield it
    it.server.shutdown()
    it.server.server_close()
    thread.join()


def peer(address: Address, secret: bytes = SECRET, deadlines: Deadlines = QUICK) -> Peer:
    return Peer(address, secret, deadlines)


def read_message(stream: socket.SocketIO | object) -> bytes:
    """One HTTP message with its body; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()  # type: ignore[union-attr]
        if not line:
            return b""
        head += line
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (stream.read(int(length[1])) if length else b"")  # type: ignore[union-attr]


class Middle:
    """Passes each message on after `request` and `answer` had it in their hands."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self.request: Callable[[bytes], bytes] = lambda message: message
        self.answer: Callable[[bytes], bytes] = lambda message: message
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._pass, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, near: socket.socket) -> None:
        with (
            near,
            socket.create_connection(self._target) as far,
            near.makefile("rb") as asked,
            far.makefile("rb") as answered,
            contextlib.suppress(OSError),
        ):
            far.settimeout(5)
            near.settimeout(5)
            while message := read_message(asked):
                self.requests.append(message)
                far.sendall(self.request(message))
                answer = read_message(answered)
                self.answers.append(answer)
                changed = self.answer(answer)
                near.sendall(changed)
                if not answer or len(changed) < len(answer):
                    return  # cut

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def middle(gate: Gate) -> Iterator[Middle]:
    it = Middle(gate.address)
    yield it
    it.close()


def test_fields_and_bodies_arrive_as_they_were_sent_in_both_directions(gate: Gate) -> None:
    body = bytes(range(256)) * 100
    with peer(gate.address) as it:
        fields, content = it.call("copy", {"a": 'quote" \u00fc \U0001f600 \n', "n": None}, body)
    assert content == body
    assert fields["echo"]["a"] == 'quote" \u00fc \U0001f600 \n'
    assert gate.asked[0].body == body
    assert gate.asked[0].peer == "127.0.0.1"


def test_each_message_says_its_format_in_both_directions(gate: Gate) -> None:
    with peer(gate.address) as it:
        fields, _ = it.call("status")
    assert fields["format"] == FORMAT
    assert gate.asked[0].fields["format"] == FORMAT


def test_the_author_of_a_message_cannot_give_it_another_format(gate: Gate) -> None:
    with peer(gate.address) as it:
        it.call("status", {"format": 99})
    assert gate.asked[0].fields["format"] == FORMAT


def test_fields_of_another_release_that_are_not_known_pass_unharmed(gate: Gate) -> None:
    gate.answer = lambda request: Reply({"new": {"deep": [1]}, **request.fields})
    with peer(gate.address) as it:
        assert it.call("status", {"newer": 1})[0]["new"] == {"deep": [1]}


def test_a_refusal_tells_why_and_whether_it_is_final(gate: Gate) -> None:
    def refuse(request: Request) -> Reply:
        raise Problem("no", "because", "wait", final=request.verb == "lease")

    gate.answer = refuse
    with peer(gate.address) as it:
        for verb in ("lease", "pages"):
            with pytest.raises(Refused, match="no: because") as caught:
                it.call(verb)
            problem = caught.value.as_problem()
            told = (problem.error, problem.why, problem.next_step, problem.final)
            assert told == ("no", "because", "wait", verb == "lease")
    assert gate.verbs == ["lease", "pages"]  # the connection lives on


def test_a_file_is_sent_whole_and_removed_afterwards(gate: Gate, tmp_path: Path) -> None:
    content = hashlib.sha256(b"x").digest() * 100_000
    sent = tmp_path / "sent"
    sent.write_bytes(content)
    gate.answer = lambda request: Reply({"size": len(content)}, sent)
    with peer(gate.address) as it:
        assert it.fetch("copy", {}, tmp_path / "got")["size"] == len(content)
    assert (tmp_path / "got").read_bytes() == content
    deadline = time.monotonic() + 5  # the last byte is here before the sender has come to it
    while sent.exists():
        assert time.monotonic() < deadline


# Who does not have the secret


def test_a_peer_with_another_secret_is_told_so_and_nothing_is_done(gate: Gate) -> None:
    with peer(gate.address, OTHER) as it, pytest.raises(Problem) as caught:
        it.call("complete", {"token": "t"})
    assert caught.value.error == "the peer does not accept our secret"
    assert caught.value.final
    assert gate.asked == []


def test_no_error_repeats_a_secret(gate: Gate) -> None:
    with peer(gate.address, OTHER) as it, pytest.raises(Problem) as caught:
        it.call("status")
    told = json.dumps(caught.value.as_json()) + str(caught.value) + repr(caught.value.args)
    for secret in (SECRET, OTHER):
        assert secret.decode() not in told


def talk(address: Address, *messages: bytes) -> list[bytes]:
    """Send raw messages over one connection; the answer to each, empty when it was closed."""
    answers = []
    with socket.create_connection(address, 2) as connection, connection.makefile("rb") as stream:
        for message in messages:
            try:
                connection.sendall(message)
                answers.append(read_message(stream))
            except OSError:
                answers.append(b"")
    return answers


NONCE = b"GET /nonce HTTP/1.1\r\nHandover-Nonce: 00ff\r\n\r\n"


def signed(
    server_nonce: str, verb: str, fields: dict[str, object], count: int = 1, ours: str = "00ff"
) -> bytes:
    """A request as a true peer makes it, from the description in wire.py."""
    written = json.dumps({"wire": {"from": "127.0.0.1", "to": "127.0.0.1"}, **fields})
    envelope = f"{len(written)} 0 {hashlib.sha256(written.encode()).hexdigest()}"
    parts = ["request/2", ours, server_nonce, count, verb, envelope]
    mac = hmac.new(SECRET, json.dumps(parts).encode(), "sha256").hexdigest()
    head = f"POST /{verb} HTTP/1.1\r\nHandover-Body: {envelope}\r\nHandover-Mac: {mac}\r\n"
    return f"{head}Content-Length: {len(written)}\r\n\r\n{written}".encode()


def nonce_of(answer: bytes) -> str:
    found = re.search(rb"Handover-Nonce: (\w+)", answer)
    assert found is not None
    return found[1].decode()


def test_the_requests_that_are_forged_below_would_be_accepted_if_they_were_right(gate: Gate) -> None:
    with socket.create_connection(gate.address, 2) as connection, connection.makefile("rb") as stream:
        connection.sendall(NONCE)
        nonce = nonce_of(read_message(stream))
        connection.sendall(signed(nonce, "status", {}))
        assert read_message(stream).startswith(b"HTTP/1.1 200 ")
    assert gate.verbs == ["status"]


@pytest.mark.parametrize(
    "mac",
    [b"", b"Handover-Mac: \r\n", b"Handover-Mac: " + b"0" * 64 + b"\r\n", b"Handover-Mac: \xff\xfe\r\n"],
    ids=["none", "empty", "wrong", "not ASCII"],
)
def test_a_request_without_a_right_mac_is_not_acted_upon(gate: Gate, mac: bytes) -> None:
    request = b"POST /retire HTTP/1.1\r\nHandover-Body: 0 0 0\r\n" + mac + b"Content-Length: 0\r\n\r\n"
    _, answer = talk(gate.address, NONCE, request)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert gate.asked == []


def test_a_request_before_the_exchange_of_nonces_is_not_acted_upon(gate: Gate) -> None:
    (answer,) = talk(gate.address, signed("", "retire", {}, ours=""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert gate.asked == []


def test_a_connection_with_one_forged_request_takes_no_further_one(gate: Gate) -> None:
    forged = b"POST /retire HTTP/1.1\r\nHandover-Body: 0 0 0\r\nContent-Length: 0\r\n\r\n"
    _, first, second = talk(gate.address, NONCE, forged, NONCE)
    assert first.startswith(b"HTTP/1.1 401 ")
    assert second == b""


def test_each_connection_has_a_nonce_of_its_own(gate: Gate) -> None:
    nonces = {nonce_of(talk(gate.address, NONCE)[0]) for _ in range(5)}
    assert len(nonces) == 5


# Who sits in the middle


def test_a_request_that_is_replayed_on_another_connection_is_not_acted_upon(
    gate: Gate, middle: Middle
) -> None:
    with peer(middle.address) as it:
        it.call("release", {"token": "t"})
    exchange, request = middle.requests
    _, answer = talk(gate.address, exchange, request)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert gate.verbs == ["release"]


def test_a_request_that_is_replayed_on_its_own_connection_is_not_acted_upon(gate: Gate) -> None:
    with socket.create_connection(gate.address, 2) as connection, connection.makefile("rb") as stream:
        connection.sendall(NONCE)
        request = signed(nonce_of(read_message(stream)), "release", {})
        connection.sendall(request)
        assert read_message(stream).startswith(b"HTTP/1.1 200 ")
        connection.sendall(request)
        assert read_message(stream).startswith(b"HTTP/1.1 401 ")
    assert gate.verbs == ["release"]


def test_a_second_exchange_of_nonces_does_not_make_old_requests_good_again(gate: Gate) -> None:
    with socket.create_connection(gate.address, 2) as connection, connection.makefile("rb") as stream:
        connection.sendall(NONCE)
        request = signed(nonce_of(read_message(stream)), "release", {})
        connection.sendall(request)
        assert read_message(stream).startswith(b"HTTP/1.1 200 ")
        connection.sendall(NONCE)
        read_message(stream)
        connection.sendall(request)
        assert read_message(stream).startswith(b"HTTP/1.1 401 ")
    assert gate.verbs == ["release"]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "the verb": lambda message: message.replace(b"POST /renew", b"POST /close"),
    "a field": lambda message: message.replace(b'"token": "t"', b'"token": "u"'),
    "the body": lambda message: message.replace(b"content", b"c0ntent"),
    "the length": lambda message: re.sub(rb"Handover-Body: \d+", b"Handover-Body: 2", message),
    "the length that HTTP has": lambda message: (
        re.sub(rb"Content-Length: \d+", b"Content-Length: 9", message) if b"POST" in message else message
    ),
    "the nonce": lambda message: re.sub(rb"Handover-Nonce: ..", b"Handover-Nonce: zz", message),
    "the MAC": lambda message: re.sub(rb"Handover-Mac: .", b"Handover-Mac: x", message),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_request_that_was_changed_on_the_way_is_not_acted_upon(
    gate: Gate, middle: Middle, what: str
) -> None:
    middle.request = CHANGES[what]
    # Never `Refused`: that would end an attempt which the peer may have agreed to before.
    with peer(middle.address) as it, pytest.raises(Problem):
        it.call("renew", {"token": "t"}, b"content")
    assert gate.asked == []


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.replace(b'"token": "t"', b'"token": "u"'),
        lambda answer: answer.replace(b"content", b"c0ntent"),
        lambda answer: answer.replace(b"HTTP/1.1 200 ", b"HTTP/1.1 409 "),
        lambda answer: re.sub(rb"Handover-Mac: \w+\r\n", b"", answer),
        lambda answer: re.sub(rb"Handover-Mac: \w+", b"Handover-Mac: \xff\xfe", answer),
        lambda answer: re.sub(rb"Handover-Body: \d+", b"Handover-Body: 2", answer),
        lambda answer: re.sub(rb"Handover-Body: .*\r\n", b"", answer),
    ],
    ids=[
        "a field",
        "the body",
        "the status",
        "no MAC",
        "a MAC that is not ASCII",
        "fewer fields",
        "no length",
    ],
)
def test_an_answer_that_was_changed_on_the_way_is_not_believed(
    gate: Gate, middle: Middle, change: Callable[[bytes], bytes]
) -> None:
    middle.answer = lambda answer: change(answer) if b"Handover-Mac" in answer else answer
    with peer(middle.address) as it, pytest.raises(Problem) as caught:
        it.call("complete", {"token": "t"}, b"content")
    assert caught.value.error == "an answer of the peer is not authentic"
    assert not caught.value.final  # `complete` may have been acted upon: it is asked again


def test_a_refusal_cannot_be_made_of_an_agreement_nor_the_other_way_round(gate: Gate, middle: Middle) -> None:
    def refuse(request: Request) -> Reply:
        raise Problem("no", "because", "wait")

    gate.answer = refuse
    middle.answer = lambda answer: answer.replace(b"HTTP/1.1 409 ", b"HTTP/1.1 200 ")
    with peer(middle.address) as it, pytest.raises(Problem, match="not authentic"):
        it.call("complete")


def test_the_answer_to_another_question_is_not_believed(gate: Gate, middle: Middle) -> None:
    gate.answer = lambda request: Reply({"same": True})
    kept: list[bytes] = []

    def swap(answer: bytes) -> bytes:
        if b"Handover-Mac" not in answer:
            return answer
        kept.append(answer)
        return kept[0]

    middle.answer = swap
    with peer(middle.address) as it:
        assert it.call("renew", {"token": "t"})[0]["same"]
        with pytest.raises(Problem, match="not authentic"):
            it.call("renew", {"token": "t"})
    assert kept[0] != kept[1]


def test_an_answer_of_an_earlier_connection_is_not_believed(gate: Gate, middle: Middle) -> None:
    with peer(middle.address) as it:
        it.call("complete", {"token": "t"})
    earlier = middle.answers[-1]
    middle.answer = lambda answer: earlier if b"Handover-Mac" in answer else answer
    with peer(middle.address) as it, pytest.raises(Problem, match="not authentic"):
        it.call("complete", {"token": "t"})


# Who breaks off, is slow, or speaks something else


def test_a_request_that_is_cut_in_its_body_is_not_acted_upon(gate: Gate) -> None:
    with socket.create_connection(gate.address, 2) as connection, connection.makefile("rb") as stream:
        connection.sendall(NONCE)
        request = signed(nonce_of(read_message(stream)), "release", {})
        connection.sendall(request[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert read_message(stream) == b""
    assert gate.asked == []


@pytest.mark.parametrize("size", [0, 1, 700, 5000])
def test_an_answer_that_is_cut_means_that_the_peer_is_not_reached(
    gate: Gate, middle: Middle, tmp_path: Path, size: int
) -> None:
    content = b"x" * 10_000
    gate.answer = lambda request: Reply({}, content)

    def cut(answer: bytes) -> bytes:
        return answer[:size] if b"Handover-Mac" in answer else answer

    middle.answer = cut
    with peer(middle.address) as it, pytest.raises(Unreachable, match="127.0.0.1:.* copy: "):
        it.call("copy")
    with peer(middle.address) as it, pytest.raises(Unreachable):
        it.fetch("copy", {}, tmp_path / "got")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"POST /retire HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /retire HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"POST /retire HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"PUT /retire HTTP/1.1\r\n\r\n",
        b"GET /etc/passwd HTTP/1.1\r\n\r\n",
        b"GET /nonce HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_is_not_acted_upon_and_the_next_peer_is_answered(gate: Gate, garbage: bytes) -> None:
    for answer in talk(gate.address, garbage):
        assert not answer.startswith(b"HTTP/1.1 200")
    with peer(gate.address) as it:
        it.call("status")
    assert gate.verbs == ["status"]


@contextlib.contextmanager
def answering(content: bytes, *, wait: float = 0.0) -> Iterator[Address]:
    """Something on a port that says `content` to whoever connects, whatever is asked, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(content)
                    time.sleep(wait)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nHandover-Nonce: 1\r\nContent-Length: 50\r\n\r\nshort",
    ],
)
def test_a_peer_that_speaks_something_else_is_not_reached(content: bytes) -> None:
    with answering(content) as address, peer(address) as it, pytest.raises(Unreachable):
        it.call("status")


def test_a_page_of_some_web_server_is_no_answer() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
    with answering(page, wait=0.05) as address, peer(address) as it:
        with pytest.raises((Unreachable, Problem)):
            it.call("status")


def test_a_port_where_nobody_listens_is_not_reached_and_that_is_told_apart() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with peer(address) as it, pytest.raises(Unreachable) as caught:
        it.call("status")
    # discovery believes "nobody is there" of exactly this one.
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_peer_that_is_silent_is_given_up_after_the_deadline(gate: Gate) -> None:
    free = threading.Event()

    def wait(request: Request) -> Reply:
        free.wait(5)
        return Reply({})

    gate.answer = wait
    started = time.monotonic()
    with peer(gate.address) as it, pytest.raises(Unreachable) as caught:
        it.call("status")
    free.set()
    assert QUICK.reply <= time.monotonic() - started < 2
    assert not isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_connection_that_says_nothing_is_closed_by_the_server(gate: Gate) -> None:
    with socket.create_connection(gate.address, 3) as connection:
        started = time.monotonic()
        connection.sendall(b"POST /status HTTP/1.1\r\n")
        assert connection.recv(100) == b""
        assert time.monotonic() - started < 2


def test_a_peer_that_was_busy_with_its_own_work_is_still_heard(gate: Gate) -> None:
    """Checking a large copy takes longer than the server waits on a connection."""
    with peer(gate.address) as it:
        it.call("status")
        time.sleep(QUICK.reply * 1.5)
        it.call("lease")
    assert gate.verbs == ["status", "lease"]


def test_after_a_failure_the_next_call_makes_a_new_connection(gate: Gate, middle: Middle) -> None:
    middle.answer = lambda answer: b"" if b"Handover-Mac" in answer else answer
    with peer(middle.address) as it:
        with pytest.raises(Unreachable):
            it.call("complete")
        middle.answer = lambda answer: answer
        it.call("complete")
    assert gate.verbs == ["complete", "complete"]


def test_an_answer_that_was_changed_does_not_spoil_the_next_call(gate: Gate, middle: Middle) -> None:
    middle.answer = CHANGES["the MAC"]
    with peer(middle.address) as it:
        with pytest.raises(Problem):
            it.call("complete")
        middle.answer = lambda answer: answer
        it.call("complete")


def test_a_request_that_was_changed_does_not_spoil_the_next_call(gate: Gate, middle: Middle) -> None:
    """The server has closed that connection: what follows needs another one."""
    middle.request = CHANGES["the MAC"]
    with peer(middle.address) as it:
        with pytest.raises(Problem):
            it.call("complete")
        middle.request = lambda message: message
        it.call("complete")
    assert gate.verbs == ["complete"]


def test_our_own_full_disk_is_not_taken_for_a_peer_that_is_not_reached(gate: Gate, tmp_path: Path) -> None:
    with peer(gate.address) as it, pytest.raises(FileNotFoundError):
        it.fetch("copy", {}, tmp_path / "no folder" / "got")


def test_a_disk_that_is_full_says_so_and_is_not_the_peer(gate: Gate) -> None:
    gate.answer = lambda request: Reply({}, bytes(1 << 20))
    with peer(gate.address) as it, pytest.raises(OSError) as caught:
        it.fetch("copy", {}, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


def test_calls_at_once_each_get_their_own_answer(gate: Gate) -> None:
    barrier = threading.Barrier(8, timeout=5)
    gate.answer = lambda request: (barrier.wait(), Reply({"n": request.fields["n"]}, request.body))[1]
    got: dict[int, tuple[int, bytes]] = {}

    def ask(number: int) -> None:
        with peer(gate.address, deadlines=Deadlines()) as it:
            fields, body = it.call("status", {"n": number}, b"%d" % number)
            got[number] = (fields["n"], body)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == {number: (number, b"%d" % number) for number in range(8)}


def test_a_peer_speaks_from_the_address_that_it_is_told(gate: Gate) -> None:
    with Peer(gate.address, SECRET, QUICK, source="127.0.0.9") as it:
        it.call("status")
    assert gate.asked[0].peer == "127.0.0.9"
