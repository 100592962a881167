"""One hand-over as it stands: what the phases of both instances add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from devenv.model.events import PhaseReached

_OWNER = {
    "copy-served": "open",
    "closing": "closing: requests at work end",
    "closed": "closed: requests are held",
    "reopened": "open again",
    "moved": "moved",
    "relaying": "relaying to the new one",
    "terminating": "relaying, and ending",
    "ending": "ended",
}
_SUCCESSOR = {
    "discover": "looks for the owner",
    "found": "copies while the owner serves",
    "copy": "copies what lies beside the database",
    "changes": "checks the copy",
    "checked": "warms up",
    "warmed": "ready to take over",
    "lease": "asks for the lease",
    "waiting": "waits for the owner",
    "leased": "fetches the last pages",
    "pages": "compares SHA-256",
    "verified": "installs the content",
    "installed": "asks to own it",
    "completed": "owns the content",
    "opened": "open",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two instances."""

    instance: str = ""
    release: str = ""
    gate: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    old: Part = Part()
    new: Part = Part()
    held: int | None = None
    """Requests that waited, known once they are let through."""
    relayed: int | None = None
    """Connections that the old one passed on, known at its end."""
    closed_ms: float | None = None
    """From the old one's close to the new one's opening."""
    waits: str = ""
    """Why the new one waits for the lease."""


def course(phases: Sequence[PhaseReached]) -> Course:
    """Fold the phases, in the order of their times."""
    now = Course()
    closing: float | None = None
    for phase in sorted(phases, key=lambda one: one.ms):
        if phase.side == "owner":
            now = replace(now, old=_part(now.old, phase, _OWNER))
            if phase.phase == "closing":
                closing = phase.ms
        elif phase.side == "successor":
            now = replace(now, new=_part(now.new, phase, _SUCCESSOR), waits=_waits(phase))
        if phase.phase in ("opened", "relaying") and "held" in phase.details:
            now = replace(now, held=max(now.held or 0, _count(phase, "held")))
        if phase.phase == "ending":
            now = replace(now, relayed=_count(phase, "relayed"))
        if phase.phase == "opened" and closing is not None:
            now = replace(now, closed_ms=round(phase.ms - closing, 1))
    return now


def _part(before: Part, phase: PhaseReached, words: Mapping[str, str]) -> Part:
    return Part(phase.instance, phase.release, words.get(phase.phase, before.gate))


def _count(phase: PhaseReached, name: str) -> int:
    """What is no number, of a release that tells it otherwise, counts as none."""
    number = phase.details.get(name)
    return number if isinstance(number, int) else 0


def _waits(phase: PhaseReached) -> str:
    return (
        f"{phase.details.get('error', '')}: {phase.details.get('why', '')}"
        if phase.phase == "waiting"
        else ""
    )


def simple(details: Mapping[str, Any]) -> str:
    """What a phase tells beside its name, as far as it is short."""
    short = {name: value for name, value in details.items() if isinstance(value, str | int | float)}
    return " ".join(f"{name}={_short(name, value)}" for name, value in short.items())


def _short(name: str, value: str | int | float) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 40 and name == "sha256" else str(value)
