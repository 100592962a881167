"""Who is there: which owner is taken from, and when "nobody" is believed."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import discovery
from devenv.handover.control import Server
from devenv.handover.deadlines import Deadlines
from devenv.handover.discovery import Nobody, Seen, View, choose, look, yields
from devenv.handover.problem import Problem
from devenv.handover.record import Role
from devenv.handover.settings import Settings
from devenv.handover.wire import Reply

ME = "m"
REFUSAL = Problem("the peer does not accept our secret", "it has another one", "use the same")


def seen(
    uid: str, role: Role, epoch: int = 0, lineage: str | None = "line", *, served: bool | None = None
) -> Seen:
    address = f"10.0.0.{ord(uid[0]) % 200}"
    return Seen(
        (address, 9010),
        {
            "uid": uid,
            "role": str(role),
            "epoch": epoch,
            "lineage": lineage,
            "served": role in (Role.OWNER, Role.MOVED) if served is None else served,
            "successor": {"uid": "?", "address": "10.9.9.9:9000"} if role is Role.MOVED else None,
        },
    )


def view(*peers: Seen, **rest: Any) -> View:
    return View(peers, found_self=rest.pop("found_self", True), **rest)


OWNER = seen("a", Role.OWNER, 3)
MOVED = seen("b", Role.MOVED, 2)
BEGUN = seen("c", Role.OWNER, 1, "other", served=False)
INCOMING = seen("d", Role.INCOMING)
LOWER = seen("e", Role.FRESH)
HIGHER = seen("z", Role.FRESH)


def outcome(given_view: View, uid: str = ME) -> str:
    try:
        return choose(given_view, uid).uid
    except Nobody:
        return "nobody"
    except Problem as problem:
        return f"{problem.error}{' (final)' if problem.final else ''}"


@pytest.mark.parametrize(
    ("given_view", "expected"),
    [
        (view(), "nobody"),
        (view(HIGHER), "nobody"),
        (view(LOWER), "another new instance begins first"),
        (view(LOWER, HIGHER), "another new instance begins first"),
        (view(OWNER), "a"),
        (view(OWNER, HIGHER, INCOMING, MOVED, BEGUN), "a"),
        (view(OWNER, silent=("10.0.0.9",)), "a"),
        (view(OWNER, unknown="php-fpm: try again"), "a"),
        (view(OWNER, refusal=REFUSAL), "a"),
        (view(HIGHER, refusal=REFUSAL), "the peer does not accept our secret (final)"),
        (view(MOVED, refusal=REFUSAL), "the owner of the database is not reachable"),
        (view(INCOMING, refusal=REFUSAL, silent=("10.0.0.9",)), "an instance does not answer"),
        (view(refusal=REFUSAL), "the peer does not accept our secret (final)"),
        (view(unknown="php-fpm: try again"), "the other instances cannot be looked up"),
        (view(silent=("10.0.0.9",)), "an instance does not answer"),
        (view(HIGHER, silent=("10.0.0.9",)), "an instance does not answer"),
        (view(MOVED), "the owner of the database is not reachable"),
        (view(BEGUN), "another instance begins with a database of its own"),
        (view(INCOMING), "another instance waits for the database, and its owner is not seen"),
        (view(OWNER, seen("k", Role.OWNER, 4)), "k"),
        (view(seen("k", Role.OWNER, 4), OWNER), "k"),
        (view(OWNER, seen("k", Role.OWNER, 3)), "two instances own the same database (final)"),
        (view(OWNER, seen("k", Role.OWNER, 4, "x")), "two instances serve different databases (final)"),
        (view(OWNER, seen("k", Role.MOVED, 2)), "a"),
        (view(OWNER, seen("k", Role.MOVED, 9, "x")), "a"),
        # It has handed on what the owner here has not had yet: the true owner is another one.
        (view(OWNER, seen("k", Role.MOVED, 3)), "the owner of the database is not reachable"),
        (view(OWNER, seen("k", Role.MOVED, 4)), "the owner of the database is not reachable"),
    ],
)
def test_what_is_chosen_of_what_is_seen(given_view: View, expected: str) -> None:
    assert outcome(given_view) == expected


def test_what_may_be_gone_at_the_next_look_says_so_and_names_where_the_owner_should_be() -> None:
    with pytest.raises(Problem) as caught:
        choose(view(MOVED), ME)
    assert not caught.value.final
    assert "10.9.9.9:9000" in caught.value.why
    assert "recover" in caught.value.next_step


PEERS = st.lists(
    st.builds(
        seen,
        uid=st.sampled_from("abcdnopqz"),
        role=st.sampled_from(Role),
        epoch=st.integers(0, 3),
        lineage=st.sampled_from(["line", "other", None]),
        served=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.uid,
)
VIEWS = st.builds(
    View,
    peers=PEERS.map(tuple),
    silent=st.sampled_from([(), (), ("10.0.0.9",)]),
    found_self=st.booleans(),
    unknown=st.sampled_from([None, None, "php-fpm: try again"]),
    refusal=st.sampled_from([None, None, REFUSAL]),
)


def may_have_a_database(one: Seen) -> bool:
    return one.role in (Role.OWNER, Role.MOVED, Role.INCOMING)


@hypothesis_settings(max_examples=200, deadline=None)
@given(VIEWS)
def test_nobody_is_never_said_while_anybody_has_or_may_have_a_database(given_view: View) -> None:
    if outcome(given_view) == "nobody":
        assert not any(may_have_a_database(one) for one in given_view.peers)
        assert (given_view.silent, given_view.unknown, given_view.refusal) == ((), None, None)
        assert all(one.uid > ME for one in given_view.peers)


@hypothesis_settings(max_examples=200, deadline=None)
@given(VIEWS)
def test_who_is_chosen_serves_and_nobody_of_its_line_is_beyond_it(given_view: View) -> None:
    try:
        chosen = choose(given_view, ME)
    except (Nobody, Problem):
        return
    assert chosen.role is Role.OWNER
    assert chosen.status["served"]
    for one in given_view.peers:
        if one.role is Role.OWNER and one.status["served"] and one is not chosen:
            assert one.status["lineage"] == chosen.status["lineage"]
            assert one.status["epoch"] < chosen.status["epoch"]
        if one.role is Role.MOVED and one.status["lineage"] == chosen.status["lineage"]:
            assert one.status["epoch"] < chosen.status["epoch"]


@hypothesis_settings(max_examples=200, deadline=None)
@given(VIEWS)
def test_of_what_is_begun_only_that_is_kept_beside_which_nobody_has_or_may_have_one(given_view: View) -> None:
    try:
        discard = yields(given_view, ME)
    except Problem:
        return
    if not discard:
        assert given_view.found_self
        assert not any(may_have_a_database(one) for one in given_view.peers)
        assert (given_view.silent, given_view.unknown, given_view.refusal) == ((), None, None)


def keeps(given_view: View, uid: str = ME) -> str:
    try:
        return "discards" if yields(given_view, uid) else "keeps"
    except Problem as problem:
        return f"{problem.error}{' (final)' if problem.final else ''}"


@pytest.mark.parametrize(
    ("given_view", "expected"),
    [
        (view(), "keeps"),
        (view(LOWER, HIGHER), "keeps"),
        (view(found_self=False), "this instance does not find itself"),
        (view(OWNER), "discards"),
        (view(OWNER, refusal=REFUSAL), "discards"),
        (view(OWNER, found_self=False, silent=("10.0.0.9",)), "discards"),
        (view(BEGUN), "discards"),
        (view(seen("z", Role.OWNER, 1, "x")), "discards"),
        (
            view(seen("z", Role.OWNER, 1, "x", served=False)),
            "another instance begins with a database of its own",
        ),
        (view(silent=("10.0.0.9",)), "an instance does not answer"),
        (view(unknown="php-fpm: try again"), "the other instances cannot be looked up"),
        (view(MOVED), "the owner of the database is not reachable"),
        (view(INCOMING), "another instance waits for the database, and its owner is not seen"),
        (view(refusal=REFUSAL), "the peer does not accept our secret (final)"),
    ],
)
def test_whether_what_was_begun_is_kept(given_view: View, expected: str) -> None:
    assert keeps(given_view) == expected


# Several new instances at once


@dataclass
class New:
    """A first instance as successor.py takes its course, a step at a time."""

    uid: str
    world: World
    role: Role = Role.FRESH
    served: bool = False
    nobody: int = 0
    steps: Iterator[None] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self._run()

    def as_seen(self) -> Seen:
        return seen(self.uid, self.role, int(self.role is Role.OWNER), self.uid, served=self.served)

    def _look(self) -> Iterator[None]:
        """Names first, then each address in its turn: between any two of them others go on."""
        listed = self.world.resolve(self)
        yield
        peers = []
        silent = []
        for one in listed:
            if one is not self:
                if self.world.chance.random() < self.world.silence:
                    silent.append(one.uid)
                else:
                    peers.append(one.as_seen())
                yield
        self.view = View(tuple(peers), tuple(silent), found_self=self in listed)

    def _run(self) -> Iterator[None]:
        while not self.served:
            yield from self._look()
            if self.role is Role.OWNER:
                try:
                    if yields(self.view, self.uid):
                        self.role = Role.FRESH
                        self.nobody = 0
                    else:
                        yield  # between the decision and the record
                        self.served = True
                except Problem:
                    yield
                continue
            try:
                choose(self.view, self.uid)
                return  # it takes the database from that one
            except Nobody:
                self.nobody += 1
                if self.nobody >= 3:
                    yield
                    self.role = Role.OWNER
            except Problem:
                self.nobody = 0
                yield


class World:
    """Instances, and names that list each of them at some time after its start, for good."""

    def __init__(self, count: int, chance: random.Random, silence: float) -> None:
        self.chance = chance
        self.silence = silence
        uids = chance.sample("fghijkl", count)
        self.instances = [New(uid, self) for uid in uids]
        self._listed: list[New] = []

    def resolve(self, who: New) -> list[New]:
        return list(self._listed)

    def run(self) -> list[New]:
        waiting = list(self.instances)
        going = list(self.instances)
        for _ in range(3000):
            if waiting and self.chance.random() < 0.05:
                self._listed.append(waiting.pop(self.chance.randrange(len(waiting))))
            one = self.chance.choice(going)
            if next(one.steps, "ended") == "ended":
                going.remove(one)
            if not going:
                break
        return [one for one in self.instances if one.served]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("silence", [0.0, 0.3])
def test_of_new_instances_in_any_interleaving_exactly_one_serves_a_database(
    count: int, silence: float
) -> None:
    for number in range(100):
        served = World(count, random.Random(f"{count}/{silence}/{number}"), silence).run()
        assert len(served) == 1, f"seed {count}/{silence}/{number}"


# The look itself


class Peers:
    """Gates on addresses of this machine, all on one port."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def start(self, address: str, uid: str, secret: bytes) -> None:
        status = {**OWNER.status, "uid": uid}
        server = Server((address, self.port), secret, Deadlines(), lambda request: Reply(status))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.servers.append(server)


@pytest.fixture
def peers() -> Iterator[Peers]:
    it = Peers()
    yield it
    for server in it.servers:
        server.shutdown()
        server.server_close()


Looker = Callable[..., View]


@pytest.fixture
def looker(settings: Settings, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Looker:
    """A look with names as given: name=[addresses] or name=errno."""

    def run(
        control_name: str | None = None, handshake: float = 5.0, reply: float = 0.3, **names: Any
    ) -> View:
        def getaddrinfo(name: str, port: int, *_: Any) -> list[Any]:
            answer = names.get(name, [name] if name[0].isdigit() else socket.EAI_NONAME)
            if isinstance(answer, int):
                raise socket.gaierror(answer, "as the resolver says")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

        # http.client resolves as well: of literal addresses only.
        true = socket.getaddrinfo
        monkeypatch.setattr(
            discovery.socket,
            "getaddrinfo",
            lambda name, port, *rest: (
                getaddrinfo(name, port)
                if len(rest) == 2 and rest[0] == socket.AF_INET
                else true(name, port, *rest)
            ),
        )
        quick = replace(settings.deadlines, connect=0.3, reply=reply, handshake=handshake)
        given = replace(
            settings,
            peers=tuple(name for name in names if name != control_name),
            control=("127.0.0.1", peers.port),
            control_name=control_name,
            deadlines=quick,
        )
        return look(given, settings.secret(), ME)

    return run


def test_all_of_a_name_are_asked_and_oneself_is_known_by_its_uid(
    looker: Looker, peers: Peers, settings: Settings
) -> None:
    peers.start("127.0.0.1", ME, settings.secret())
    peers.start("127.0.0.2", "u2", settings.secret())
    it = looker(fpm=["127.0.0.1", "127.0.0.2"])
    assert it.found_self
    assert [(one.uid, one.control) for one in it.peers] == [("u2", ("127.0.0.2", peers.port))]
    assert (it.silent, it.unknown, it.refusal) == ((), None, None)


def test_a_listed_address_where_nobody_listens_is_silent_and_not_nobody(looker: Looker) -> None:
    assert looker(fpm=["127.0.0.3"]).silent == ("127.0.0.3",)


def test_a_literal_address_where_nobody_listens_is_nobody(looker: Looker) -> None:
    it = looker(**{"127.0.0.3": ["127.0.0.3"]})
    assert it == View()


def test_a_literal_address_that_does_not_answer_is_silent(looker: Looker, peers: Peers) -> None:
    with socket.create_server(("127.0.0.3", peers.port)):
        assert looker(**{"127.0.0.3": ["127.0.0.3"]}).silent == ("127.0.0.3",)


def test_a_name_that_has_no_address_is_known_to_have_none(looker: Looker) -> None:
    assert looker(fpm=socket.EAI_NONAME) == View()
    assert looker(fpm=socket.EAI_NODATA) == View()


@pytest.mark.parametrize("error", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY])
def test_a_resolver_that_fails_is_never_none(looker: Looker, error: int) -> None:
    it = looker(fpm=error)
    assert it.unknown == "fpm: as the resolver says"
    with pytest.raises(Problem):
        choose(it, ME)


def test_none_is_believed_only_if_the_control_name_resolves(looker: Looker) -> None:
    assert looker("web", fpm=[], web=["127.0.0.8"]).unknown is None
    assert looker("web", fpm=[], web=[]).unknown == "web does not resolve either"
    assert looker("web", fpm=[], web=socket.EAI_AGAIN).unknown == "web: as the resolver says"


def test_one_of_another_stack_is_a_refusal(looker: Looker, peers: Peers) -> None:
    peers.start("127.0.0.2", "u2", b"another secret, as long as it has to be")
    it = looker(fpm=["127.0.0.2"])
    assert it.refusal is not None
    assert it.refusal.final
    assert it.peers == ()


def test_one_of_another_stack_beside_the_owner_does_not_hide_it(
    looker: Looker, peers: Peers, settings: Settings
) -> None:
    peers.start("127.0.0.2", "u2", b"another secret, as long as it has to be")
    peers.start("127.0.0.3", "u3", settings.secret())
    it = looker(fpm=["127.0.0.3", "127.0.0.2"])
    assert it.refusal is not None
    assert choose(it, ME).uid == "u3"


def test_one_that_passes_on_what_the_owner_says_is_not_the_owner(
    looker: Looker, peers: Peers, settings: Settings
) -> None:
    peers.start("127.0.0.3", "u3", settings.secret())

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            near, _ = listener.accept()
            with near, socket.create_connection(("127.0.0.3", peers.port)) as far:
                while asked := near.recv(65536):
                    far.sendall(asked)
                    near.sendall(far.recv(65536))

    with socket.create_server(("127.0.0.2", peers.port)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        it = looker(fpm=["127.0.0.2", "127.0.0.3"])
    assert [one.control[0] for one in it.peers] == ["127.0.0.3"]
    assert it.refusal is not None
    assert "127.0.0.2" in it.refusal.why


def test_those_that_do_not_answer_are_waited_for_side_by_side(
    looker: Looker, peers: Peers, settings: Settings
) -> None:
    silent = [f"127.0.0.{number}" for number in range(11, 19)]
    with contextlib.ExitStack() as stack:
        for address in silent:
            stack.enter_context(socket.create_server((address, peers.port)))
        peers.start("127.0.0.3", "u3", settings.secret())
        started = time.monotonic()
        it = looker(fpm=[*silent, "127.0.0.3"])
        assert time.monotonic() - started < 2.0  # of 8 times 0.3 s
    assert set(it.silent) == set(silent)
    assert [one.uid for one in it.peers] == ["u3"]


def test_one_that_trickles_holds_up_no_look(looker: Looker, peers: Peers) -> None:
    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.05)

    with socket.create_server(("127.0.0.2", peers.port)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        started = time.monotonic()
        it = looker(handshake=0.4, reply=20.0, fpm=["127.0.0.2"])
        assert time.monotonic() - started < 5
    assert it.silent == ("127.0.0.2",)


def test_addresses_of_several_names_are_asked_once(looker: Looker, peers: Peers, settings: Settings) -> None:
    peers.start("127.0.0.2", "u2", settings.secret())
    it = looker(fpm=["127.0.0.2", "127.0.0.2"], other=["127.0.0.2"])
    assert len(list(itertools.chain(it.peers))) == 1
