"""What a soak does, as data: each round follows from the seed and its number alone, before anything runs.

So a failing one can be run again, from any of its rounds on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Backend = Literal["compose", "kind"]
Operation = Literal["upgrade", "down", "restore", "recover", "predecessor", "retire", "delete"]
Victim = Literal["owner", "new", "devenv"]
How = Literal["kill", "stop", "pause"]

_OPERATIONS: dict[Backend, dict[Operation, int]] = {
    "compose": {"upgrade": 9, "down": 3, "restore": 4, "recover": 1, "predecessor": 1, "retire": 3},
    "kind": {"upgrade": 9, "down": 4, "restore": 5, "delete": 5, "recover": 2},
}
"""How often each comes, in proportion. `predecessor` is a recovery from the one that had handed over;
`delete` is of a pod that hands over, `recover` on kind follows one that was lost with its content.
"""
_VICTIMS: dict[Operation, tuple[Victim, ...]] = {
    "upgrade": ("owner", "new", "devenv"),
    "down": ("owner", "devenv"),
    "restore": ("owner", "devenv"),
    "retire": ("owner",),
    "delete": ("owner", "new"),
}
"""Who something may happen to. In a recovery enough happens as it is."""
_LATEST: dict[Operation, int] = {
    "upgrade": 6000,
    "down": 3500,
    "restore": 3000,
    "retire": 1200,
    "delete": 8000,
}
"""ms in which an operation is over on most machines."""
_LONGEST = 8000
"""Longer than a lease."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Happens `after` so many ms: from the start of the operation, or from when the new one is there."""

    victim: Victim
    how: How
    """SIGKILL; SIGSTOP of the process alone; the container frozen."""
    after: int
    lasts: int
    """ms until it goes on; 0 where it is killed."""

    def __str__(self) -> str:
        words = f"{self.how} {self.victim} after {self.after} ms"
        return f"{words} for {self.lasts} ms" if self.lasts else words


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock of all instances is set."""

    after: int
    """ms from the start of the operation."""
    to: int
    """Seconds before (negative) or behind the machine's."""

    def __str__(self) -> str:
        return f"clock to {self.to:+} s after {self.after} ms"


@dataclass(frozen=True, slots=True)
class Round:
    number: int
    operation: Operation
    release: str
    """That is upgraded to, if it is an upgrade."""
    lead: int
    """ms of writes before anything else."""
    gap: int
    """ms from the snapshot to what takes the content back to it, or of a stop until the start."""
    fault: Fault | None
    jump: Jump | None

    @property
    def kills_an_instance(self) -> bool:
        return self.fault is not None and self.fault.how == "kill" and self.fault.victim != "devenv"

    def __str__(self) -> str:
        what = f"upgrade to {self.release}" if self.operation == "upgrade" else self.operation
        happens = [str(one) for one in (self.fault, self.jump) if one]
        return ", ".join([f"{self.number:4} {what} (lead {self.lead} ms, gap {self.gap} ms)", *happens])


def plan(seed: int, rounds: int, backend: Backend = "compose") -> list[Round]:
    return [round_(seed, number, backend) for number in range(1, rounds + 1)]


def round_(seed: int, number: int, backend: Backend = "compose") -> Round:
    chance = random.Random(f"{seed} {backend} {number}")
    weights = _OPERATIONS[backend]
    [operation] = chance.choices(list(weights), list(weights.values()))
    return Round(
        number=number,
        operation=operation,
        release=chance.choice(["v1", "v2"]),
        lead=chance.randrange(300, 1500),
        gap=chance.randrange(300, 3000),
        fault=_fault(chance, operation, backend),
        jump=_jump(chance) if backend == "compose" else None,
    )


def _fault(chance: random.Random, operation: Operation, backend: Backend) -> Fault | None:
    victims = _VICTIMS.get(operation, ())
    if not victims or chance.random() < 0.25:
        return None
    victim = chance.choice(victims)
    ways: tuple[How, ...] = ("kill", "stop", "pause")
    if victim == "devenv" or backend == "kind":
        ways = ("kill", "stop")
    if victim == "owner" and backend == "kind" and operation in ("down", "delete"):
        ways = ("stop",)  # its pod is going, and takes the content along: nothing else is promised
    how = chance.choice(ways)
    lasts = 0 if how == "kill" else _spread(chance, 100, _LONGEST)
    return Fault(victim, how, _spread(chance, 100, _LATEST[operation]), lasts)


def _jump(chance: random.Random) -> Jump | None:
    if chance.random() < 0.6:
        return None
    size = _spread(chance, 1, 2 * 24 * 3600)
    return Jump(chance.randrange(0, 5000), chance.choice([-size, size, 0]))


def _spread(chance: random.Random, low: int, high: int) -> int:
    """As many between 1 and 10 as between 10 and 100: what is short hits other moments than what is long."""
    return round(low * (high / low) ** chance.random())
