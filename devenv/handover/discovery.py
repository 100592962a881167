"""Who else is there: the instances find each other by name and ask each other what they are."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .problem import Problem
from .record import Role
from .settings import Address, Settings
from .wire import Peer, Refused, Unreachable

Status = dict[str, Any]
AT_ONCE = 16
"""So many addresses are asked side by side."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance that answered."""

    control: Address
    status: Status

    @property
    def uid(self) -> str:
        return str(self.status["uid"])

    @property
    def role(self) -> Role:
        return Role(self.status["role"])


@dataclass(frozen=True, slots=True)
class View:
    """One look at all instances."""

    peers: tuple[Seen, ...] = ()
    """All but ourselves."""
    silent: tuple[str, ...] = ()
    """Addresses that a name gave, where nobody answers: who is there is not known."""
    found_self: bool = False
    unknown: str | None = None
    """Why the names could not be resolved with certainty."""
    refusal: Problem | None = None
    """Why somebody who answered is not believed: another secret, or it passes on what another one says."""


def look(settings: Settings, secret: bytes, uid: str) -> View:
    """Resolve all names, and ask all addresses side by side: each has `handshake` seconds in all."""
    addresses: dict[str, bool] = {}
    unknown = None
    for name in settings.peers:
        try:
            literal = bool(ipaddress.ip_address(name))
        except ValueError:
            literal = False
        try:
            for address in resolve(name, settings.control[1]):
                addresses.setdefault(address, literal)
        except socket.gaierror as error:
            unknown = f"{name}: {error.strerror}"
    peers, silent, found_self, refusal = [], [], False, None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = list(pool.map(lambda address: _ask(settings, secret, address), addresses))
    for (address, literal), answer in zip(addresses.items(), asked, strict=True):
        if isinstance(answer, Seen):
            if answer.uid == uid:
                found_self = True
            else:
                peers.append(answer)
        elif isinstance(answer, Problem):
            refusal = answer
        elif not (literal and isinstance(answer.__cause__, ConnectionRefusedError)):
            # A name lists only what exists; a literal address is a place to look, and
            # a refused connection there says that nobody is in it.
            silent.append(address)
    if not found_self and unknown is None and not peers and settings.control_name:
        # Nothing at all, not even ourselves: is that the truth, or is nobody answering us?
        try:
            if not resolve(settings.control_name, settings.control[1]):
                unknown = f"{settings.control_name} does not resolve either"
        except socket.gaierror as error:
            unknown = f"{settings.control_name}: {error.strerror}"
    return View(tuple(peers), tuple(silent), found_self, unknown, refusal)


def _ask(settings: Settings, secret: bytes, address: str) -> Seen | Problem | Unreachable:
    """Who is at `address`. All that is decided by comes from an answer that is authentic."""
    control = (address, settings.control[1])
    try:
        with Peer(control, secret, settings.deadlines) as peer:
            status, _ = peer.call("status", within=settings.deadlines.handshake)
    except Refused as refused:
        return refused.as_problem()
    except (Problem, Unreachable) as error:
        return error
    return Seen(control, status)


def resolve(name: str, port: int) -> list[str]:
    """The IPv4 addresses of `name`; none if it authoritatively has none.

    Raises socket.gaierror for a time-out or a server's failure, which are never "none".
    """
    try:
        found = socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return []
        raise
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Nobody(Exception):
    """No other instance has a database, or is about to have one."""


def choose(view: View, uid: str) -> Seen:
    """The owner to take the database from.

    Raises `Nobody`, or a `Problem`: one that is not final may be gone at the next look.
    """
    owners = [seen for seen in view.peers if seen.role is Role.OWNER]
    served = [seen for seen in owners if seen.status["served"]]
    moved = [seen for seen in view.peers if seen.role is Role.MOVED]
    if served:
        return _head(served, moved)
    _require_nobody(view)
    earlier = [seen for seen in view.peers if seen.uid < uid]
    if earlier:
        raise _wait("another new instance begins first", _names(earlier))
    raise Nobody


def yields(view: View, uid: str) -> bool:
    """Whether a database that `uid` has begun, and nobody was served from, must be discarded.

    Each side says that it has begun before it looks. So at least one of two sees the
    other: the higher uid yields to the lower, the lower waits until the higher has yielded or
    has opened, and yields to one that has opened. Raises a `Problem` while it has to wait: also
    for whoever does not answer, since that may be one that has opened.
    """
    owners = [seen for seen in view.peers if seen.role is Role.OWNER]
    if any(seen.status["served"] or seen.uid < uid for seen in owners):
        return True
    _require_nobody(view)
    if not view.found_self:
        raise _wait(
            "this instance does not find itself",
            view.unknown or "its own address is not among those of its name",
        )
    return False


def _require_nobody(view: View) -> None:
    """Raise a `Problem` if somebody has a database, or may have one."""
    by_role = {role: [seen for seen in view.peers if seen.role is role] for role in Role}
    if view.unknown is not None:
        raise _wait("the other instances cannot be looked up", view.unknown)
    if view.silent:
        raise _wait("an instance does not answer", ", ".join(view.silent))
    if moved := by_role[Role.MOVED]:
        raise _head_missing(moved)
    if owners := by_role[Role.OWNER]:
        raise _wait("another instance begins with a database of its own", _names(owners))
    if incoming := by_role[Role.INCOMING]:
        raise _wait("another instance waits for the database, and its owner is not seen", _names(incoming))
    if view.refusal is not None:
        # It may have the database, for all that we know. One that is seen to have it counts more.
        raise view.refusal


def _head(served: Iterable[Seen], moved: Iterable[Seen]) -> Seen:
    head, *others = sorted(served, key=lambda seen: seen.status["epoch"], reverse=True)
    for other in others:
        if other.status["lineage"] != head.status["lineage"]:
            raise Problem(
                "two instances serve different databases",
                _names([head, other]),
                "decide which one is right, save the other (gate snapshot), and remove it",
            )
        if other.status["epoch"] == head.status["epoch"]:
            raise Problem(
                "two instances own the same database",
                f"{_names([head, other])}, both of epoch {head.status['epoch']}",
                "save both (gate snapshot), and stop one; please report how this came about",
            )
    beyond = [
        seen
        for seen in moved
        if seen.status["lineage"] == head.status["lineage"] and seen.status["epoch"] >= head.status["epoch"]
    ]
    if beyond:
        raise _head_missing(beyond)
    return head


def _head_missing(moved: list[Seen]) -> Problem:
    last = max(moved, key=lambda seen: int(seen.status["epoch"]))
    address = (last.status["successor"] or {}).get("address", "an unknown address")
    return Problem(
        "the owner of the database is not reachable",
        f"{_names([last])} has handed it to {address}, which does not answer",
        "bring that one back; if it is gone for good: gate recover, in the instance that it came from",
        final=False,
    )


def _wait(error: str, why: str) -> Problem:
    return Problem(error, why, "it is waited for; see the logs of the other instances", final=False)


def _names(seen: Iterable[Seen]) -> str:
    return ", ".join(f"{one.uid[:8]} at {one.control[0]}" for one in seen)
