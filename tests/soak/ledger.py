"""What was written, and what of it has to be there: the judge of a soak. Pure.

A write takes effect at one moment between its sending and its answer. A restore, or a recovery, puts the
content of one moment (within `saved`) in the place of what is there at another (within `put`). So what was
acknowledged before the one, or sent after the other, must be there; what came in between must not; and
what cannot be told by the clock is told by the others: no write may be missing if a later one is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Window = tuple[float, float]
"""Two moments, in seconds of a clock that never jumps."""


@dataclass(frozen=True, slots=True)
class Write:
    nonce: str
    sent: float
    answered: float
    failure: str | None = None
    """Why it was not acknowledged; it may have taken effect all the same."""


@dataclass(frozen=True, slots=True)
class Replaced:
    saved: Window
    put: Window


@dataclass(frozen=True, slots=True)
class Verdict:
    lost: tuple[str, ...] = ()
    """Acknowledged, and not there."""
    duplicated: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    """There, though the content was put back to before it."""
    strange: tuple[str, ...] = ()
    """There, and nobody wrote it."""
    gone: tuple[str, ...] = ()
    """Acknowledged, and rightly not there."""

    @property
    def clean(self) -> bool:
        return not self.wrong

    @property
    def wrong(self) -> int:
        return len(self.lost) + len(self.duplicated) + len(self.stale) + len(self.strange)

    def __str__(self) -> str:
        named = {"lost": self.lost, "twice": self.duplicated, "stale": self.stale, "strange": self.strange}
        told = [f"{name} {len(some)} ({', '.join(some[:3])})" for name, some in named.items() if some]
        return "; ".join(told) or "lost 0"


@dataclass(slots=True)
class Ledger:
    """Over all rounds: what has been found once stays, what was rightly gone stays away."""

    kept: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    """Not acknowledged, and not there yet."""

    def settle(
        self, writes: Sequence[Write], found: Counter[str], worlds: Sequence[Replaced | None] = (None,)
    ) -> Verdict:
        """Judge a round. `worlds` are what may have happened: whether a restore that was cut off took
        place is for the content to tell, but it has to be one of the two, wholly.
        """
        verdicts = [self._judge(writes, found, world) for world in worlds]
        verdict = min(verdicts, key=lambda one: one.wrong)
        self.kept.update(found)
        self.gone.update(verdict.gone)
        self.uncertain.update(one.nonce for one in writes if one.failure and not found[one.nonce])
        self.uncertain.difference_update(found)
        return verdict

    def _judge(self, writes: Sequence[Write], found: Counter[str], replaced: Replaced | None) -> Verdict:
        acknowledged = [one for one in writes if one.failure is None]
        missing = [one for one in acknowledged if not found[one.nonce]]
        lost, stale = _by_order(acknowledged, found, replaced) if replaced else (set(_nonces(missing)), set())
        known = self.kept | self.gone | self.uncertain | set(_nonces(writes))
        return Verdict(
            lost=tuple(sorted(lost | (self.kept - found.keys()))),
            duplicated=tuple(sorted(nonce for nonce, count in found.items() if count > 1)),
            stale=tuple(sorted(stale | (self.gone & found.keys()))),
            strange=tuple(sorted(found.keys() - known)),
            gone=tuple(sorted(set(_nonces(missing)) - lost)),
        )


def _by_order(
    acknowledged: Iterable[Write], found: Counter[str], replaced: Replaced
) -> tuple[set[str], set[str]]:
    """(lost, stale)"""
    saved, put = replaced.saved, replaced.put
    there = [one for one in acknowledged if found[one.nonce]]
    missing = [one for one in acknowledged if not found[one.nonce]]
    stale = [one for one in there if one.sent >= saved[1] and one.answered <= put[0]]
    # The snapshot holds these, so it was taken after the last of them was sent.
    in_snapshot = (one.sent for one in there if one.sent < saved[1] and one.answered <= put[0])
    taken = max(saved[0], *in_snapshot, saved[0])
    # These came to what was put in place, which it was before the first of them was answered.
    on_top = (one.answered for one in there if one.sent >= saved[1] and one.answered > put[0])
    placed = min(put[1], *on_top, put[1])
    lost = (one for one in missing if one.answered <= taken or one.sent >= placed)
    return set(_nonces(lost)), set(_nonces(stale))


def _nonces(writes: Iterable[Write]) -> Iterable[str]:
    return (one.nonce for one in writes)
