"""What is always there: the line at the top, the steps of an action, the instances, the last error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from textual.content import Content

from devenv.model.events import BuildStage, Notice
from devenv.model.instance import Instance
from devenv.model.stack import Stack
from devenv.model.state import Health, State, StepNow, StepState
from devenv.model.words import GLYPHS, age, name, took
from devenv.tui.lines import Run, Words, line, lines

Clock = Callable[[], float]

_STYLES = {
    "waiting": "dim",
    "running": "bold $primary",
    "done": "$success",
    "failed": "bold $error",
    "skipped": "dim",
    "cancelled": "$warning",
}
_HEALTH: dict[Health, tuple[str, str, str]] = {
    "unknown": ("…", "looking", "dim"),
    "lost": ("✗", "engine does not answer", "bold $error"),
    "absent": ("○", "nothing runs", "dim"),
    "down": ("✗", "does not serve", "bold $error"),
    "starting": ("▸", "starting", "$warning"),
    "serving": ("●", "healthy", "$success"),
}


_NOTICES = 2
_LONGEST_NOTICE = 400
"""Characters; it must not push out what stands below it."""
_VIEWS = (
    ("1", "Stack", "stack", "view stack"),
    ("2", "Hand-over", "upgrade", "view upgrade"),
    ("3", "Commands", "commands", "view commands"),
    ("4", "Receipts", "receipts", "view receipts"),
    ("5", "Logs", "logs", "logs"),
)


class Panel(Words):
    """Lines made of the state; it is drawn again only where it has changed."""

    DEFAULT_CSS = "Panel { text-wrap: nowrap; text-overflow: ellipsis; height: auto; }"
    wraps = False
    """Its height depends on more than its lines."""

    def __init__(self, *, id: str | None = None, clock: Clock = time.time) -> None:
        super().__init__(id=id)
        self._clock = clock
        self._drawn: Content | None = None

    def show(self, state: State) -> None:
        made, before = lines(self.made_of(state)), self._drawn
        if made != before:
            self._drawn = made
            # To lay out the whole screen anew takes longer than to draw a line of it.
            same_height = before is not None and made.plain.count("\n") == before.plain.count("\n")
            self.update(made, layout=self.wraps or not same_height)

    def made_of(self, state: State) -> Iterable[Content | str]:
        """Its lines."""
        raise NotImplementedError


class Header(Panel):
    DEFAULT_CSS = "Header { height: 1; background: $panel; link-style: none; }"

    def __init__(self, stack: Stack, architecture: str, *, clock: Clock) -> None:
        super().__init__(id="header", clock=clock)
        self._stack = stack
        self._architecture = architecture
        self.view = "stack"

    def made_of(self, state: State) -> Iterable[Content]:
        glyph, word, style = _HEALTH[state.health]
        if state.health == "starting" and state.busy and state.phases:
            word = "moving"
        release = name(state.owner.release) if state.owner else "-"
        parts: list[Run] = [
            (" devenv ", "bold reverse"),
            f"  {self._stack.where}  ",
            (release, "bold"),
            f"  {self._architecture}  ",
            Content.styled(self._stack.url, "underline").stylize("@click=app.act('open')"),
            ("  ", ""),
            (f"{glyph} {word}", style),
        ]
        if state.busy:
            seconds = self._clock() - state.since
            parts.append((f"  ▸ {state.action} {took(max(seconds, 0))}", "bold $primary"))
        yield self._with_views(line(*parts))

    def _with_views(self, left: Content) -> Content:
        """At the right, where there is room: the views and their keys, the one that is shown in bold."""
        for named in ({view for *_, view, _ in _VIEWS}, {self.view}, set()):
            views = Content("").join(
                Content.styled(
                    f" {key} {words} " if view in named else f" {key} ",
                    "bold reverse" if view == self.view else "dim",
                ).stylize(f"@click=app.act('{action}')")
                for key, words, view, action in _VIEWS
            )
            room = self.size.width - left.cell_length - views.cell_length
            if room >= 2:
                return Content.assemble(left, " " * room, views)
        return left


class Steps(Panel):
    """The steps of what is at work; of what has ended well only that it has."""

    def made_of(self, state: State) -> Iterable[Content]:
        if not state.action:
            return [Content.styled("nothing was done yet", "dim")]
        if not state.busy and state.exit_code == 0:
            count = len(state.steps)
            words = f"{count} steps" if count else "done"
            done = (
                ("✓ ", "$success"),
                (state.action, "bold"),
                f"  {took(state.seconds or 0)}  ",
                (words, "dim"),
            )
            return [Content.assemble(*done)]
        now = self._clock()
        width = max((len(step.title) for step in state.steps.values()), default=0)
        steps = [_step(step, state, now, width) for step in state.steps.values()]
        return steps or [self._without_a_plan(state)]

    def _without_a_plan(self, state: State) -> Content:
        if state.busy:
            seconds = max(self._clock() - state.since, 0)
            return Content.styled(
                f"{GLYPHS['running']} running   {state.action}  {took(seconds)}", "bold $primary"
            )
        word: StepState = "cancelled" if state.exit_code == 130 else "failed"
        words = f"{GLYPHS[word]} {word:9} {state.action}  {took(state.seconds or 0)}"
        return Content.styled(words, _STYLES[word])


class Notices(Panel):
    """The last that were told since the action began; where the content comes from is one of them."""

    DEFAULT_CSS = "Notices { text-wrap: wrap; }"
    wraps = True

    def show(self, state: State) -> None:
        super().show(state)
        self.display = bool(self._told(state))

    def _told(self, state: State) -> list[Notice]:
        return [notice for notice in state.notices if notice.time >= state.since][-_NOTICES:]

    def made_of(self, state: State) -> Iterable[Content]:
        for notice in self._told(state):
            sign, style = ("!", "$warning") if notice.level == "warning" else ("▸", "")
            yield line((f"{sign} {notice.text}", style), longest=_LONGEST_NOTICE)


def _step(step: StepNow, state: State, now: float, width: int) -> Content:
    seconds = step.seconds
    if step.state == "running":
        seconds = max(now - step.since, 0)
    time_ = took(seconds) if seconds is not None and step.state != "waiting" else ""
    title = f"{GLYPHS[step.state]} {step.state:9} {step.title:{width}} {time_:>7}"
    return Content.assemble((title, _STYLES[step.state]), "  ", (_more(step, state), "dim"))


def _more(step: StepNow, state: State) -> str:
    """What it waits for, what it does, or what came of it."""
    if step.state == "waiting":
        titles = [state.steps[name].title if name in state.steps else name for name in step.waiting_for]
        return f"waits for {', '.join(titles)}"
    if step.state == "running" and step.name.startswith("build "):
        stage = _stage(state, step.name.removeprefix("build "))
        return stage or step.note
    if step.state == "running" and step.name in ("base", "node"):
        return _stage(state, step.name) or step.note
    return step.note


def _stage(state: State, service: str) -> str:
    stages = [stage for (one, _), stage in state.stages.items() if one == service]
    running = [stage for stage in stages if stage.state == "started"]
    return _stage_words(running[-1], len(stages)) if running else ""


def _stage_words(stage: BuildStage, count: int) -> str:
    return f"stage {count}: {' '.join(stage.stage.split())}"


class Instances(Panel):
    def made_of(self, state: State) -> Iterable[Content | str]:
        if state.lost:
            what = Content.styled(f"✗ {state.lost.what}", "bold $error")
            return [what, f"  why:  {state.lost.why}", f"  next: {state.lost.next}"]
        if not state.seen:
            return [Content.styled("… asking the engine", "dim")]
        if not state.instances:
            return [Content.assemble(("○ no containers", "dim"), ("  U starts the stack", "dim"))]
        now = self._clock()
        rows = [_COLUMNS, *(_cells(one, now) for one in state.instances)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        head, *told = (
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
        )
        shown = (_instance(one, words) for one, words in zip(state.instances, told, strict=True))
        return [Content.styled(f"  {head}", "dim"), *shown]


_COLUMNS: tuple[str, ...] = ("instance", "release", "digest", "age", "state", "gate")


def _cells(one: Instance, now: float) -> tuple[str, ...]:
    gate = one.gate
    role = f"{name(gate.role)}, epoch {gate.epoch}, {name(gate.state)}" if gate else ""
    word = one.health if one.running and one.health else one.state
    digest = one.digest.removeprefix("sha256:")[:12]
    return name(one.name), name(one.release), digest, age(now - one.created), word, role


def _instance(one: Instance, words: str) -> Content:
    glyph, style = ("●", "$success") if one.health in ("healthy", "") else ("▸", "$warning")
    if not one.running:
        glyph, style = "○", "dim"
    return Content.assemble((f"{glyph} ", style), (words.rstrip(), "bold" if one.owner else ""))


class Failure(Panel):
    """The last error, until something else is begun."""

    DEFAULT_CSS = """
    Failure { display: none; max-height: 4; background: $error 15%; text-wrap: wrap; padding: 0 1; }
    Failure.-failed { display: block; }
    """
    wraps = True

    def show(self, state: State) -> None:
        self.set_class(state.failure is not None, "-failed")
        super().show(state)

    def made_of(self, state: State) -> Iterable[Content]:
        failed = state.failure
        if failed is None:
            return
        # What failed and why can be long, as a command is. They must not push out what to do next.
        width, more = self.app.size.width - 2, "   E shows all of it"
        what = line(f"✗ {failed.what}").truncate(width - len(more), ellipsis=True)
        yield Content.assemble(what.stylize("bold $error"), (more, "dim"))
        yield line(f"  why:  {' '.join(failed.why.split())}").truncate(width, ellipsis=True)
        if failed.instance_says:
            yield line(f"  the instance says: {failed.instance_says}").truncate(width, ellipsis=True)
        yield line(f"  next: {failed.next}")
