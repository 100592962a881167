"""Facts with a time. Every front end reads this one stream; state is what they add up to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from devenv.model.freshness import Freshness
from devenv.model.instance import Instance

StepResult = Literal["done", "failed", "skipped", "cancelled"]
BuildState = Literal["started", "done", "cached", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    time: float = field(default_factory=time.time)
    """Seconds since 1970, by this machine's clock."""


@dataclass(frozen=True, slots=True)
class StepWaiting(Fact):
    """A step of the plan that cannot start yet, and the steps that it waits for."""

    step: str
    title: str
    waiting_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepStarted(Fact):
    step: str
    title: str


@dataclass(frozen=True, slots=True)
class StepNoted(Fact):
    """What a running step does at the moment."""

    step: str
    text: str


@dataclass(frozen=True, slots=True)
class StepEnded(Fact):
    step: str
    title: str
    result: StepResult
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class CommandStarted(Fact):
    """A program that devenv runs; `run` ties it to its end."""

    run: int
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandEnded(Fact):
    run: int
    argv: tuple[str, ...]
    code: int | None
    """None: it was ended by us."""
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildStage(Fact):
    """A stage of an image's build. `seconds` is known at its end."""

    service: str
    release: str
    stage: str
    state: BuildState
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class InstancesSeen(Fact):
    """All instances as the engine and their gates tell at this moment."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class ImagesCompared(Fact):
    """What each service runs, beside what the working tree would build now."""

    images: tuple[Freshness, ...]


@dataclass(frozen=True, slots=True)
class EngineLost(Fact):
    """Whoever watches the stack gets no answer; it is asked again."""

    what: str
    why: str
    next: str


@dataclass(frozen=True, slots=True)
class PhaseReached(Fact):
    """A phase of the hand-over, `ms` after the new instance was started."""

    phase: str
    side: str
    instance: str
    release: str
    ms: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeCounted(Fact):
    counters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogLine(Fact):
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice(Fact):
    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class Answer(Fact):
    """What was asked for: a status, a check, a list. `about` names its kind."""

    about: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReceiptWritten(Fact):
    path: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ActionFailed(Fact):
    what: str
    why: str
    next: str
    """devenv's own advice."""
    log_tail: str = ""
    exit_code: int = 1
    instance_says: str = ""
    """What the container that failed advises; it may be anybody's."""


@dataclass(frozen=True, slots=True)
class ActionStarted(Fact):
    action: str


@dataclass(frozen=True, slots=True)
class ActionEnded(Fact):
    action: str
    exit_code: int
    seconds: float
    url: str = ""


Event = (
    StepWaiting
    | StepStarted
    | StepNoted
    | StepEnded
    | CommandStarted
    | CommandEnded
    | BuildStage
    | InstancesSeen
    | ImagesCompared
    | EngineLost
    | PhaseReached
    | ProbeCounted
    | LogLine
    | Notice
    | Answer
    | ReceiptWritten
    | ActionFailed
    | ActionStarted
    | ActionEnded
)
Emit = Callable[[Event], None]
Note = Callable[[str], None]
"""Takes a few words on what is at work; empty ones: there is nothing more to say."""


def unnoted(text: str) -> None:
    """A Note that nobody reads."""


def event_name(kind: type[Fact]) -> str:
    """The name of an event in JSON: `StepStarted` is `step-started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object, with its name and time first."""
    values = asdict(event)
    moment = round(values.pop("time"), 6)
    return {"event": event_name(type(event)), "time": moment, **values}
