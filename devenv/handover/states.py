"""Roles, states, and every way from one to another: what an instance may do stands in `TABLE` alone.

`Machine` is the only writer of both. A transition that is not in the table for where an instance is, or that
an ending instance may not make any more, is refused; nothing leads out of `ending`. What the table says lies
on the disk before anyone is told: the record is written first, and whoever called is told by the return.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from . import record as records
from .problem import Problem
from .record import Record, Role


class State(StrEnum):
    STARTING = "starting"
    """Does not listen: it looks for an owner, or may not serve what it has."""
    INCOMING = "incoming"
    """Does not listen: it fetches the content."""
    OPEN = "open"
    """A server takes requests."""
    CLOSED = "closed"
    """Requests wait in the backlog: under a lease, or while a snapshot is put in place."""
    RELAYING = "relaying"
    """Each connection goes on to the successor."""
    ENDING = "ending"
    """Refuses requests for good; the process ends."""


class While(StrEnum):
    """Whether a terminating instance may still do it."""

    ALWAYS = "yes"
    UNLESS_RETIRED = "unless it is retired"
    """Somebody has said that no successor comes: then nobody may take the content any more."""
    NEVER = "no"
    ONLY = "only then"


Place = tuple[Role, State]


@dataclass(frozen=True, slots=True)
class Transition:
    name: str
    places: tuple[Place, ...]
    """Where it may be made. After a restart every role begins in `starting`."""
    role: Role | None
    """Afterwards; None: as before."""
    state: State | None
    terminating: While
    disk: str
    """What is on the disk before the transition is made."""
    told: str
    """Who may be told once it is made."""


def _at(role: Role, *states: State) -> tuple[Place, ...]:
    return tuple((role, state) for state in states)


_FETCHING = _at(Role.INCOMING, State.STARTING, State.INCOMING, State.RELAYING)

TABLE = (
    # Beginning without a predecessor
    Transition(
        "begin",
        _at(Role.FRESH, State.STARTING),
        Role.OWNER,
        State.STARTING,
        While.NEVER,
        "the database and what has changed beside it, in their places",
        "nobody: another instance may have begun as well",
    ),
    Transition(
        "yield",
        _at(Role.OWNER, State.STARTING),
        Role.FRESH,
        State.STARTING,
        While.NEVER,
        "that the database here is to be discarded",
        "nobody; then it is removed",
    ),
    # Fetching
    Transition(
        "fetch",
        (*_at(Role.FRESH, State.STARTING), *_at(Role.INCOMING, State.STARTING, State.INCOMING)),
        Role.INCOMING,
        State.INCOMING,
        While.NEVER,
        "the token of this attempt",
        "the owner, which gives the token a lease",
    ),
    Transition(
        "take back",
        (*_at(Role.MOVED, State.RELAYING), *_at(Role.INCOMING, State.STARTING, State.RELAYING)),
        Role.INCOMING,
        None,
        While.NEVER,
        "the token of this attempt",
        "the successor, which is ending",
    ),
    Transition(
        "give up",
        _at(Role.INCOMING, State.STARTING, State.RELAYING),
        Role.MOVED,
        State.RELAYING,
        While.ALWAYS,
        "that the content is where it was",
        "whoever connects: it is relayed as before",
    ),
    Transition(
        "take over",
        _FETCHING,
        Role.OWNER,
        State.STARTING,
        While.ALWAYS,
        "all of the content in its place; the owner has answered that it has let go",
        "whoever asks: this one is the owner",
    ),
    # Serving
    Transition(
        "open",
        _at(Role.OWNER, State.STARTING, State.CLOSED),
        None,
        State.OPEN,
        While.ALWAYS,
        "that somebody may have been served; the signature beside the snapshots",
        "whoever connects",
    ),
    Transition(
        "close",
        _at(Role.OWNER, State.OPEN),
        None,
        State.CLOSED,
        While.UNLESS_RETIRED,
        "nothing: a restart opens again",
        "the successor, once each request has ended and the file is frozen",
    ),
    Transition(
        "hand over",
        _at(Role.OWNER, State.CLOSED),
        Role.MOVED,
        State.RELAYING,
        While.ALWAYS,
        "who has the content from now on",
        "the successor, by the answer to `complete`",
    ),
    Transition(
        "relay",
        _at(Role.MOVED, State.STARTING),
        None,
        State.RELAYING,
        While.ALWAYS,
        "nothing new",
        "whoever connects",
    ),
    Transition(
        "recover",
        (*_at(Role.MOVED, State.RELAYING), *_at(Role.OWNER, State.STARTING), *_FETCHING),
        Role.OWNER,
        State.STARTING,
        While.NEVER,
        "a lineage of its own",
        "the person who said that the owner is gone for good",
    ),
    # The end
    Transition(
        "end",
        _at(Role.OWNER, State.STARTING, State.OPEN, State.CLOSED),
        None,
        State.ENDING,
        While.ONLY,
        "nothing: the last snapshot is taken afterwards, when nobody can write any more",
        "nobody",
    ),
    Transition(
        "end relay",
        _at(Role.MOVED, State.RELAYING),
        None,
        State.ENDING,
        While.ONLY,
        "nothing",
        "nobody; what is relayed goes on to its end",
    ),
    Transition(
        "leave",
        (*_at(Role.FRESH, State.STARTING), *_FETCHING),
        None,
        State.ENDING,
        While.ONLY,
        "nothing: the content is its owner's",
        "nobody",
    ),
    Transition(
        "step aside",
        _at(Role.OWNER, State.OPEN, State.CLOSED),
        None,
        State.ENDING,
        While.ALWAYS,
        "nothing: another owner has signed, and the content stays here",
        "nobody; the process ends, and serves nobody when it is started again",
    ),
)
"""In the order of a life."""


def find(name: str, place: Place) -> Transition | None:
    """The transition of that name from there; None if the table has none."""
    return next((one for one in TABLE if one.name == name and place in one.places), None)


class Machine:
    """Where an instance is. Used from the event loop alone, which makes each transition one step."""

    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self.record = record
        self.state = State.STARTING
        self.since = time.time()
        """When it came into its state, in seconds since the epoch."""
        self.terminating = False
        self._retired_until = 0.0

    @property
    def retired(self) -> bool:
        """Whether somebody has said lately that no successor comes."""
        return time.monotonic() < self._retired_until

    def retire(self, seconds: float) -> None:
        """No successor comes, if this instance ends within so many seconds; 0 takes it back.

        It is the intention of another process, which may be gone by then: so it lapses.
        """
        self._retired_until = time.monotonic() + seconds

    def may(self, name: str) -> bool:
        """Whether the transition can be made now."""
        found = find(name, (self.record.role, self.state))
        return found is not None and self._allows(found)

    def _allows(self, transition: Transition) -> bool:
        return {
            While.ALWAYS: True,
            While.UNLESS_RETIRED: not (self.terminating and self.retired),
            While.NEVER: not self.terminating,
            While.ONLY: self.terminating,
        }[transition.terminating]

    def make(self, name: str, **changes: Any) -> None:
        """Make the transition, with `changes` of the record. Raises a `Problem` if the table has none.

        On return it is on the disk; if it cannot be written nothing has changed (OSError).
        """
        found = find(name, (self.record.role, self.state))
        if found is None or not self._allows(found):
            ends = ", and it is terminating" if self.terminating else ""
            raise Problem(
                f"the instance cannot {name} now",
                f"its role is {self.record.role}, its state {self.state}{ends}",
                "look for the owner again",
                final=False,
            )
        self._write(self.record.evolve(role=found.role or self.record.role, **changes))
        if found.state is not None and found.state is not self.state:
            self.state, self.since = found.state, time.time()

    def write_record(self, **changes: Any) -> None:
        """Note something beside role and state; on return it is on the disk."""
        assert "role" not in changes, "a role changes by a transition"
        self._write(self.record.evolve(**changes))

    def _write(self, changed: Record) -> None:
        if changed == self.record:
            return
        try:
            records.save(self._path, changed)
        except OSError:
            # It can fail after the rename, when only the folder is to be synced: then the disk has what
            # nobody is told of, and a restart would go on from it.
            self._put_back(changed)
            raise
        self.record = changed

    def _put_back(self, refused: Record) -> None:
        try:
            if records.load(self._path) == refused:
                records.save(self._path, self.record)
        except (OSError, Problem) as error:
            self.die(f"the record on the disk may be another one than ours: {error}")

    def die(self, why: str) -> NoReturn:
        """End the process: started again, it goes on from what is on the disk."""
        raise SystemExit(why)


def diagram() -> str:
    """`TABLE` as a Mermaid state diagram, for docs/handover.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {Role.FRESH}_{State.STARTING}"]
    for one in TABLE:
        for role, state in one.places:
            target = f"{one.role or role}_{one.state or state}"
            lines.append(f"    {role}_{state} --> {target}: {one.name}")
    lines += [f"    {role}_{State.ENDING} --> [*]" for role in Role]
    return "\n".join(lines)


def table() -> str:
    """`TABLE` as Markdown, for docs/handover.md."""
    head = ("transition", "from", "to", "while terminating", "on the disk before", "may be told then")
    rows = [_row(head), _row(["---"] * len(head))]
    for one in TABLE:
        to = f"{one.role or 'as it was'}, {one.state or 'as it was'}"
        places = "; ".join(f"{role}, {state}" for role, state in one.places)
        rows.append(_row([one.name, places, to, one.terminating, one.disk, one.told]))
    return "\n".join(rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
