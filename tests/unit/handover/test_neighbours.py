"""Who may connect: neighbours on the own networks, and not the host that is their gateway."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from devenv.handover import neighbours as module
from devenv.handover.control import Server
from devenv.handover.deadlines import Deadlines
from devenv.handover.instance import _bind
from devenv.handover.journal import Journal
from devenv.handover.neighbours import Listener, Neighbours, find_neighbours
from devenv.handover.wire import Reply

COMPOSE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
"""As a container on a bridge of docker has it, on a machine whose numbers begin with their smallest byte."""

# All of 127.0.0.0/8 is this machine, so one network of it can stand for a bridge.
HERE = Neighbours((IPv4Network("127.0.1.0/24"), IPv4Network("127.0.2.0/24")), (IPv4Address("127.0.1.1"),))
INSIDE = ["127.0.1.2", "127.0.1.254", "127.0.2.1"]
OUTSIDE = ["127.0.1.1", "127.0.0.1", "127.0.3.1", "127.1.1.2"]


def connects(address: tuple[str, int], source: str) -> bool:
    with socket.socket() as connection:
        connection.bind((source, 0))
        connection.settimeout(0.2)
        try:
            connection.connect(address)
        except TimeoutError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(HERE) as it:
        it.bind(("127.0.1.7", 0))
        it.listen(16)
        it.settimeout(1)
        yield it


def test_the_routes_of_a_container_tell_its_network_and_its_gateway() -> None:
    it = Neighbours.of_routes(COMPOSE)
    assert it.gateways == (IPv4Address("172.18.0.1"),)
    assert it.networks == (IPv4Network("127.0.0.0/8"), IPv4Network("172.18.0.0/16"))


def test_a_container_without_any_network_has_itself_alone() -> None:
    assert Neighbours.of_routes(COMPOSE.splitlines()[0]) == Neighbours((IPv4Network("127.0.0.0/8"),), ())


@pytest.mark.parametrize("source", INSIDE)
def test_a_neighbour_connects_and_is_heard_and_answered(listener: Listener, source: str) -> None:
    for _ in range(3):
        with socket.create_connection(listener.getsockname(), 1, (source, 0)) as connection:
            connection.sendall(b"question")
            accepted, (host, _) = listener.accept()
            with accepted:
                assert host == source
                assert accepted.recv(100) == b"question"
                accepted.sendall(b"answer")
                assert connection.recv(100) == b"answer"


@pytest.mark.parametrize("source", OUTSIDE)
def test_the_gateway_and_whoever_is_not_on_the_network_do_not_connect(
    listener: Listener, source: str
) -> None:
    assert not any(connects(listener.getsockname(), source) for _ in range(3))
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_strangers_do_not_connect_after_many_neighbours_either(listener: Listener) -> None:
    for _ in range(20):
        assert connects(listener.getsockname(), INSIDE[0])
        listener.accept()[0].close()
    assert not connects(listener.getsockname(), OUTSIDE[0])


def test_before_it_listens_and_once_it_is_closed_neighbours_are_refused_at_once() -> None:
    with Listener(HERE) as it:
        it.bind(("127.0.1.7", 0))
        address = it.getsockname()
        with pytest.raises(ConnectionRefusedError):
            connects(address, INSIDE[0])
        it.listen(1)
        assert connects(address, INSIDE[0])
    with pytest.raises(ConnectionRefusedError):
        connects(address, INSIDE[0])


def test_whoever_inherits_the_socket_serves_neighbours_while_the_gate_does_not(listener: Listener) -> None:
    with socket.socket(fileno=socket.dup(listener.fileno())) as inherited:
        inherited.settimeout(1)
        with socket.create_connection(listener.getsockname(), 1, (INSIDE[0], 0)) as connection:
            with inherited.accept()[0] as accepted:
                accepted.sendall(b"served")
                assert connection.recv(10) == b"served"
        assert not connects(listener.getsockname(), OUTSIDE[0])


def test_both_ports_of_a_gate_take_neighbours_alone() -> None:
    fastcgi = _bind(("127.0.1.7", 0), HERE)
    fastcgi.listen(16)
    control = Server(("127.0.1.7", 0), b"k" * 32, Deadlines(), lambda request: Reply({}), HERE)
    for address in (fastcgi.getsockname(), control.socket.getsockname()):
        assert connects(address, INSIDE[0])
        assert not connects(address, OUTSIDE[0])
    fastcgi.close()
    control.server_close()


def test_where_nothing_is_said_whoever_reaches_a_port_connects() -> None:
    with _bind(("127.0.1.7", 0), None) as fastcgi:
        fastcgi.listen(16)
        assert all(connects(fastcgi.getsockname(), source) for source in INSIDE + OUTSIDE)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "events.jsonl", "uid")


def test_the_routes_of_this_machine_can_be_made_a_program(journal: Journal) -> None:
    it = find_neighbours(journal)
    assert it is not None
    assert it.networks[0] == IPv4Network("127.0.0.0/8")
    assert journal.path.read_text() == ""


def test_where_the_kernel_refuses_the_program_an_instance_starts_and_says_so(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    monkeypatch.setattr(module, "_attach", refuse)
    assert find_neighbours(journal) is None
    event = json.loads(journal.path.read_text())
    assert (event["side"], event["phase"]) == ("server", "unguarded")
    assert "may connect" in event["why"]
    assert "Protocol not available" in event["why"]


def test_where_there_are_no_routes_an_instance_starts_and_says_so(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for content in (None, "garbage\nof one word\n"):
        monkeypatch.setattr(module, "ROUTES", tmp_path / "route")
        if content is not None:
            module.ROUTES.write_text(content)
        assert find_neighbours(journal) is None
    assert len(journal.path.read_text().splitlines()) == 2
