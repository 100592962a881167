"""The port of a gate, as it meets strangers: they cost nothing, and keep nobody out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.handover import seal
from devenv.handover.control import LIMITS, STRANGERS, Server
from devenv.handover.deadlines import Deadlines
from devenv.handover.problem import Problem
from devenv.handover.wire import SMALL, Peer, Refused, Reply, Request

SECRET = b"the-secret-of-this-stack-0123456789abcdef"
QUICK = replace(Deadlines(), connect=0.5, reply=5.0, handshake=0.6)
NONCE = b"GET /nonce HTTP/1.1\r\nHandover-Nonce: 00ff\r\n\r\n"
Address = tuple[str, int]


@pytest.fixture
def asked() -> list[Request]:
    return []


@pytest.fixture
def server(asked: list[Request]) -> Iterator[Server]:
    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply({"said": request.fields.get("say")}, request.body)

    it = Server(("0.0.0.0", 0), SECRET, QUICK, answer)
    thread = threading.Thread(target=it.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield it
    it.shutdown()
    it.server_close()
    thread.join()


@pytest.fixture
def patient(server: Server) -> None:
    """Nobody is closed only because its time is over."""
    server.deadlines = replace(QUICK, handshake=60.0)


@pytest.fixture
def address(server: Server) -> Address:
    return "127.0.0.1", server.server_address[1]


@contextlib.contextmanager
def connected(address: Address, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(address, 2, (source, 0)) as connection:
        yield connection


def said_to(connection: socket.socket, message: bytes) -> bytes:
    """What comes back, until it pauses or the connection is closed."""
    connection.settimeout(0.5)
    answer = b""
    with contextlib.suppress(OSError):
        connection.sendall(message)
        while more := connection.recv(65536):
            answer += more
    return answer


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def gone(connection: socket.socket, within: float) -> bool:
    """Whether the server closes it in time, though each 0.05 s a byte comes."""
    connection.settimeout(0.05)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            connection.sendall(b"x")
            if connection.recv(100) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def memory() -> int:
    """Of this process, in bytes, that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What they cost


def test_the_body_of_a_stranger_is_answered_before_it_is_read(address: Address, asked: list[Request]) -> None:
    head = b"POST /pages HTTP/1.1\r\nHandover-Body: 2 67108862 00\r\nHandover-Mac: 00\r\n"
    with connected(address) as connection:
        answer = said_to(connection, NONCE + head + b"Content-Length: 67108864\r\n\r\n")
    assert b"HTTP/1.1 401 " in answer
    assert asked == []


def test_a_large_body_of_a_stranger_takes_no_memory(address: Address) -> None:
    before = memory()
    with contextlib.ExitStack() as stack:
        for form in (b"Handover-Body: 2 67108862 00", b"Handover-Fields: {}"):
            connection = stack.enter_context(connected(address))
            head = b"POST /pages HTTP/1.1\r\n" + form + b"\r\nContent-Length: 67108864\r\n\r\n"
            with contextlib.suppress(OSError):
                connection.sendall(NONCE + head)
                for _ in range(64):
                    connection.sendall(bytes(1 << 20))
        assert memory() - before < 16 << 20


def test_a_head_without_end_is_given_up(patient: None, address: Address) -> None:
    with connected(address) as connection:
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"X: " + b"y" * 60_000 + b"\r\n")
                time.sleep(0.001)
        assert is_closed(connection)


@pytest.mark.parametrize("begin", [b"", b"POST /status HTTP/1.1\r\nX: ", NONCE, NONCE + NONCE[:9]])
def test_a_byte_now_and_then_does_not_hold_a_thread(address: Address, begin: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(begin)
        started = time.monotonic()
        assert gone(connection, within=10.0)
        assert time.monotonic() - started > QUICK.handshake / 2


def test_a_body_of_the_form_before_that_trickles_does_not_hold_a_thread(address: Address) -> None:
    with connected(address) as connection:
        connection.sendall(
            NONCE + b"POST /status HTTP/1.1\r\nHandover-Fields: {}\r\nContent-Length: 9999\r\n\r\n"
        )
        assert gone(connection, within=10.0)


def test_who_has_the_secret_may_take_longer_than_a_stranger(address: Address) -> None:
    with Peer(address, SECRET, QUICK) as peer:
        peer.call("status")
        time.sleep(QUICK.handshake * 1.5)
        assert peer.call("status", {"say": "again"})[0]["said"] == "again"


def test_silent_strangers_get_a_few_threads_and_no_more(patient: None, address: Address) -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(4 * STRANGERS):
            stack.enter_context(connected(address))
        # Whoever is sent away takes a moment to go.
        deadline = time.monotonic() + 10
        while threading.active_count() - before > STRANGERS:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    "length", [b"x", b"-1", b"", b"1e3", b"9" * 5000, "²".encode("latin-1"), b"1, 1", b"\xff"]
)
def test_a_length_that_is_none_ends_the_connection_and_prints_nothing(
    address: Address, asked: list[Request], length: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    for form in (b"Handover-Body: 0 0 0", b"Handover-Fields: {}"):
        with connected(address) as connection:
            head = b"POST /status HTTP/1.1\r\n" + form + b"\r\nContent-Length: " + length + b"\r\n\r\n"
            assert b" 200 " not in said_to(connection, head)
            assert is_closed(connection)
    assert asked == []
    assert capfd.readouterr().err == ""


# Whom they keep out


def test_strangers_who_hold_all_connections_do_not_keep_out_who_has_the_secret(
    patient: None, address: Address, asked: list[Request]
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2 * STRANGERS):
            stack.enter_context(connected(address))
        with Peer(address, SECRET, QUICK, source="127.0.0.2") as peer:
            peer.call("status", within=5.0)
    assert [request.verb for request in asked] == ["status"]


def test_a_crowd_of_one_address_makes_room_among_itself(patient: None, address: Address) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connected(address, "127.0.0.2"))
        crowd = [stack.enter_context(connected(address, "127.0.0.3")) for _ in range(2 * STRANGERS)]
        assert is_closed(crowd[0])
        assert not is_closed(crowd[-1])
        assert b"HTTP/1.1 200 " in said_to(first, NONCE)


def test_a_connection_that_has_proven_itself_is_not_closed_for_strangers(
    patient: None, address: Address
) -> None:
    with Peer(address, SECRET, QUICK) as peer, contextlib.ExitStack() as stack:
        peer.call("status")
        for _ in range(3 * STRANGERS):
            stack.enter_context(connected(address))
        assert peer._connection is not None
        used = peer._connection
        peer.call("status")
        assert peer._connection is used


def test_connections_that_have_ended_do_not_count(patient: None, address: Address) -> None:
    with connected(address) as early:
        for _ in range(3 * STRANGERS):
            with connected(address, "127.0.0.4") as connection:
                said_to(connection, b"GET / HTTP/1.1\r\n\r\n")
            time.sleep(0.005)
        assert b"HTTP/1.1 200 " in said_to(early, NONCE)


# What is taken of those who have the secret


@pytest.mark.parametrize("verb", ["status", "lease", "complete"])
def test_a_verb_without_a_list_takes_a_small_body_only(
    address: Address, asked: list[Request], verb: str
) -> None:
    with Peer(address, SECRET, QUICK) as peer, pytest.raises(Refused, match="too large"):
        peer.call(verb, {}, bytes(SMALL))
    with Peer(address, SECRET, QUICK) as peer:
        peer.call(verb, {}, bytes(SMALL - 1000))
    assert [len(request.body) for request in asked] == [SMALL - 1000]


@pytest.mark.parametrize("verb", LIMITS)
def test_a_verb_with_a_list_takes_a_large_one(address: Address, asked: list[Request], verb: str) -> None:
    with Peer(address, SECRET, QUICK) as peer:
        peer.call(verb, {}, bytes(5 << 20))
    assert len(asked[0].body) == 5 << 20


def fingerprint(tables: int) -> dict[str, object]:
    return {f"table_{number}": {"rows": number, "hash": "0" * 32} for number in range(tables)}


def test_a_fingerprint_of_two_thousand_tables_arrives(server: Server, address: Address) -> None:
    server.answer = lambda request: Reply({"fingerprint": fingerprint(2000)})
    with Peer(address, SECRET, QUICK) as peer:
        assert peer.call("fingerprint")[0]["fingerprint"] == fingerprint(2000)


def test_large_fields_arrive_beside_a_file(server: Server, address: Address, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b"content")
    server.answer = lambda request: Reply({"foreign_keys": "k" * 200_000}, tmp_path / "sent")
    with Peer(address, SECRET, QUICK) as peer:
        assert len(peer.fetch("copy", {}, tmp_path / "got")["foreign_keys"]) == 200_000
    assert (tmp_path / "got").read_bytes() == b"content"


# Who passes on what another one says


def relayed(server: Server, way: dict[str, str]) -> tuple[bytes, dict[str, object]]:
    """The status and fields of an answer to an authentic request that says it was sent on that `way`."""
    written = json.dumps({"token": "t", "wire": way}).encode()
    envelope = f"{len(written)} 0 {hashlib.sha256(written).hexdigest()}"
    with connected(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(NONCE)
        [nonce] = re.findall(rb"Handover-Nonce: (\w+)", connection.recv(4096))
        mac = seal.request_mac(SECRET, ("00ff", nonce.decode()), 1, "lease", envelope)
        head = f"POST /lease HTTP/1.1\r\nHandover-Body: {envelope}\r\nHandover-Mac: {mac}\r\n"
        answer = said_to(connection, f"{head}Content-Length: {len(written)}\r\n\r\n".encode() + written)
    head_of_it, _, body = answer.partition(b"\r\n\r\n")
    return head_of_it.split(b" ")[1], json.loads(body)


def test_a_request_is_taken_on_the_way_that_its_author_signs(server: Server, asked: list[Request]) -> None:
    status, _ = relayed(server, {"from": "127.0.0.1", "to": "127.0.0.1"})
    assert status == b"200"
    assert asked[0].fields["token"] == "t"


def test_its_author_has_the_address_that_it_signs_whatever_the_network_makes_of_it(
    server: Server, asked: list[Request]
) -> None:
    """Between the nodes of some clusters it is changed to the node's, which nobody listens on."""
    status, _ = relayed(server, {"from": "10.0.0.7", "to": "127.0.0.1"})
    assert (status, asked[0].peer) == (b"200", "10.0.0.7")


@pytest.mark.parametrize(
    "way",
    [{"from": "127.0.0.1", "to": "10.0.0.8"}, {"from": "php-fpm", "to": "127.0.0.1"}, {}],
    ids=["it was sent to another address", "it names no address", "it does not say"],
)
def test_a_request_that_somebody_passes_on_is_refused_and_says_why(
    server: Server, asked: list[Request], way: dict[str, str]
) -> None:
    status, fields = relayed(server, way)
    assert status == b"409"
    assert fields["error"] == "a message did not come straight from its author"
    assert "127.0.0.1" in str(fields["why"])
    assert all(address in str(fields["why"]) for address in way.values())
    assert asked == []


def test_who_listens_in_between_is_no_peer(server: Server, asked: list[Request]) -> None:
    """It has a place in the network of its own, and passes each byte on to a true gate."""
    with socket.create_server(("127.0.0.9", 0)) as between, socket.socket() as far:

        def pump(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)

        def serve() -> None:
            near, _ = between.accept()
            with near:
                far.connect(("127.0.0.1", server.server_address[1]))
                back = threading.Thread(target=pump, args=(far, near), daemon=True)
                back.start()
                pump(near, far)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with Peer(between.getsockname(), SECRET, QUICK) as peer, pytest.raises(Refused) as caught:
            peer.call("status")
        thread.join(5)
    assert "127.0.0.9" in caught.value.as_problem().why
    assert asked == []


def test_a_problem_of_a_verb_is_told(server: Server, address: Address) -> None:
    def refuse(request: Request) -> Reply:
        raise Problem("no", "because", "wait")

    server.answer = refuse
    with Peer(address, SECRET, QUICK) as peer, pytest.raises(Refused, match="no: because"):
        peer.call("status")
