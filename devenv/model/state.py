"""State is what the events add up to: `apply` is the only way to a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal, assert_never

from devenv.model import events as e
from devenv.model.commands import only_reads
from devenv.model.freshness import Freshness
from devenv.model.instance import Instance

Health = Literal["unknown", "lost", "absent", "down", "starting", "serving"]
StepState = Literal["waiting", "running", "done", "failed", "skipped", "cancelled"]

KEPT_COMMANDS = 500
KEPT_NOTICES = 100
KEPT_PHASES = 500

_COURSES = ("upgrade", "rollback", "probe")
"""Actions that begin a hand-over or a count of their own; the others leave the last one to be read."""
_NO_COURSE: dict[str, Any] = {"phases": (), "probe": None, "receipt": None}


@dataclass(frozen=True, slots=True)
class StepNow:
    name: str
    title: str
    state: StepState
    since: float
    waiting_for: tuple[str, ...] = ()
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    run: int
    argv: tuple[str, ...]
    started: float
    seconds: float | None = None
    code: int | None = None
    """None: it still runs, or was ended by us."""
    ended: bool = False

    @property
    def reads(self) -> bool:
        return only_reads(self.argv)


@dataclass(frozen=True, slots=True)
class State:
    action: str = ""
    """What runs now, or ran last."""
    since: float = 0.0
    """When it began."""
    seconds: float | None = None
    """How long it took, once it has ended."""
    busy: bool = False
    exit_code: int | None = None
    steps: Mapping[str, StepNow] = field(default_factory=dict)
    stages: Mapping[tuple[str, str], e.BuildStage] = field(default_factory=dict)
    instances: tuple[Instance, ...] = ()
    seen: bool = False
    """The engine was asked at least once."""
    images: tuple[Freshness, ...] = ()
    """What runs, beside what the working tree would build."""
    lost: e.EngineLost | None = None
    """It does not answer any more."""
    phases: tuple[e.PhaseReached, ...] = ()
    commands: tuple[Command, ...] = ()
    notices: tuple[e.Notice, ...] = ()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    probe: Mapping[str, Any] | None = None
    receipt: e.ReceiptWritten | None = None
    failure: e.ActionFailed | None = None

    @property
    def health(self) -> Health:
        """Of the site, as far as the engine and the gates have told."""
        if self.lost:
            return "lost"
        if not self.seen:
            return "unknown"
        if not self.instances:
            return "absent"
        proxy = [one for one in self.instances if one.service == "httpd" and one.running]
        owner = self.owner
        if owner is None or not proxy:
            return "starting" if self.busy else "down"
        well = proxy[0].health == "healthy" and owner.gate is not None and owner.gate.ready
        return "serving" if well else "starting"

    @property
    def owner(self) -> Instance | None:
        return next((one for one in self.instances if one.owner and one.running), None)


def fold(events: Iterable[e.Event], state: State | None = None) -> State:
    return reduce(apply, events, state or State())


def apply(state: State, event: e.Event) -> State:
    """The state after `event`. Log lines are kept by the log store, not here."""
    match event:
        case e.ActionStarted():
            return replace(
                state, action=event.action, since=event.time, seconds=None, busy=True, exit_code=None,
                steps={}, stages={}, failure=None, **(_NO_COURSE if event.action in _COURSES else {}),
            )  # fmt: skip
        case e.ActionEnded():
            return replace(state, busy=False, exit_code=event.exit_code, seconds=event.seconds)
        case e.ActionFailed():
            return replace(state, failure=event)
        case e.StepWaiting() | e.StepStarted() | e.StepNoted() | e.StepEnded():
            return replace(state, steps=_step(state.steps, event))
        case e.BuildStage():
            return replace(state, stages={**state.stages, (event.service, event.stage): event})
        case e.CommandStarted() | e.CommandEnded():
            return replace(state, commands=_command(state.commands, event))
        case e.InstancesSeen():
            return replace(state, instances=event.instances, seen=True, lost=None)
        case e.ImagesCompared():
            return replace(state, images=event.images)
        case e.EngineLost():
            return replace(state, lost=event)
        case e.PhaseReached():
            return replace(state, phases=(*state.phases, event)[-KEPT_PHASES:])
        case e.ProbeCounted():
            return replace(state, probe=event.counters)
        case e.Notice():
            return replace(state, notices=(*state.notices, event)[-KEPT_NOTICES:])
        case e.Answer():
            return replace(state, answers={**state.answers, event.about: event.data})
        case e.ReceiptWritten():
            return replace(state, receipt=event)
        case e.LogLine():
            return state
        case _:
            assert_never(event)


def _step(
    steps: Mapping[str, StepNow], event: e.StepWaiting | e.StepStarted | e.StepNoted | e.StepEnded
) -> Mapping[str, StepNow]:
    match event:
        case e.StepWaiting():
            step = StepNow(event.step, event.title, "waiting", event.time, event.waiting_for)
        case e.StepStarted():
            step = StepNow(event.step, event.title, "running", event.time)
        case e.StepNoted():
            if event.step not in steps:
                return steps
            step = replace(steps[event.step], note=event.text)
        case e.StepEnded():
            step = StepNow(
                event.step, event.title, event.result, event.time, seconds=event.seconds, note=event.note
            )
    return {**steps, event.step: step}


def _command(commands: tuple[Command, ...], event: e.CommandStarted | e.CommandEnded) -> tuple[Command, ...]:
    if isinstance(event, e.CommandStarted):
        return _newest((*commands, Command(event.run, event.argv, event.time)))
    return tuple(
        replace(one, seconds=event.seconds, code=event.code, ended=True) if one.run == event.run else one
        for one in commands
    )


def _newest(commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Those that only read go first: there are many, and they changed nothing."""
    if len(commands) <= KEPT_COMMANDS:
        return commands
    oldest = next((one for one in commands if one.reads), commands[0])
    return tuple(one for one in commands if one is not oldest)
