"""What the probe does, and what it found."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MOST_WRITERS = 256


class Form(BaseModel):
    """A form of the site: `page` has it, `fields` are filled in, hidden ones are sent as they are.

    With `action` the page is not asked for: the fields are posted there as they stand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: str = ""
    action: str = ""
    fields: dict[str, str] = Field(default_factory=dict)


class ProbeConfig(BaseModel):
    """How to write to the application and how to find it again. `{nonce}` stands for what is unique."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    login: Form = Form(page="/login", fields={"_username": "jane_admin", "_password": "kitten"})
    """An application without a login has an empty one: `login = {}`."""
    write: Form = Form(page="/posts/{first}", fields={"comment[content]": "Probe {nonce}"})
    read: str = "/posts/{first}"
    """The page that shows all that was written, or its first part: links with `rel="next"` are followed."""
    first: str = "/"
    """Where `{first}` is found: the first link on this page that begins with `first_link`."""
    first_link: str = "/posts/"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are seconds since the epoch."""

    nonce: str
    started: float
    ended: float
    failure: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the probe found. Times are seconds."""

    writers: int
    samples: tuple[Sample, ...]
    lost: tuple[str, ...] = ()
    """Nonces that were acknowledged, and are not there."""
    duplicated: tuple[str, ...] = ()
    """Nonces that are there more than once."""
    uncounted: str | None = None
    """Why the writes could not be counted."""

    @property
    def acknowledged(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.failure is None]

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.failure is not None]

    @property
    def median(self) -> float:
        return median(sample.seconds for sample in self.acknowledged) if self.acknowledged else 0.0

    @property
    def slowest(self) -> float:
        return max((sample.seconds for sample in self.acknowledged), default=0.0)

    @property
    def pause(self) -> float:
        """The slowest request beyond the run's median."""
        return self.slowest - self.median

    @property
    def longest_gap(self) -> float:
        """The longest time without any reply."""
        ends = sorted(sample.ended for sample in self.acknowledged)
        return max((later - earlier for earlier, later in itertools.pairwise(ends)), default=0.0)

    @property
    def clean(self) -> bool:
        """Nothing failed, nothing is lost, nothing is there twice, and all of that was counted."""
        wrong = self.failures or self.lost or self.duplicated or self.uncounted
        return not wrong and bool(self.acknowledged)

    def by_phase(self, closing: float, moved: float, ended: float) -> dict[str, int]:
        """Acknowledged writes: before the hand-over; held in it (sent before `moved`, answered
        after); relayed (sent between then and the end of the old instance); after."""
        counts = {"before": 0, "held": 0, "relayed": 0, "after": 0}
        for sample in self.acknowledged:
            counts[_phase(sample, closing, moved, ended)] += 1
        return counts

    def as_json(self) -> dict[str, Any]:
        return {
            "writers": self.writers,
            "acknowledged": len(self.acknowledged),
            "failed": len(self.failures),
            "lost": len(self.lost),
            "duplicated": len(self.duplicated),
            "uncounted": self.uncounted,
            "median": round(self.median, 4),
            "slowest": round(self.slowest, 4),
            "pause": round(self.pause, 4),
            "longest_gap": round(self.longest_gap, 4),
            "failures": [f"{sample.failure}" for sample in self.failures[:10]],
            "clean": self.clean,
        }


def _phase(sample: Sample, closing: float, moved: float, ended: float) -> str:
    if sample.ended < closing:
        return "before"
    if sample.started < moved:
        return "held"
    return "relayed" if sample.started < ended else "after"


def compare(acknowledged: Iterable[str], found: dict[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(lost, duplicated) of the acknowledged nonces, given how often each was found."""
    lost = tuple(nonce for nonce in acknowledged if not found.get(nonce))
    duplicated = tuple(sorted(nonce for nonce, count in found.items() if count > 1))
    return lost, duplicated
