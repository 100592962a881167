"""The hand-over as it happens, and what it proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content

from devenv.model.course import Course, Part, course, simple
from devenv.model.events import PhaseReached
from devenv.model.receipt import Receipt, from_json
from devenv.model.state import State
from devenv.model.words import home, name
from devenv.tui.lines import Run
from devenv.tui.panels import Clock, Panel

_FEWEST_PHASES = 4


class HandOver(VerticalScroll):
    """Old and new instance side by side, then numbers, then the verdict, then the phases."""

    DEFAULT_CSS = """
    HandOver { height: 1fr; scrollbar-size-vertical: 1; }
    HandOver > Horizontal { height: auto; }
    HandOver Side {
        width: 1fr; height: auto; border: round $foreground 40%; padding: 0 1;
        border-title-color: $foreground;
    }
    HandOver Side.-serves { border: round $success; }
    """

    def __init__(self, *, id: str, clock: Clock) -> None:
        super().__init__(id=id)
        self._clock = clock

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Side("old", clock=self._clock)
            yield Side("new", clock=self._clock)
        yield Numbers(id="numbers", clock=self._clock)
        yield Verdict(id="verdict", clock=self._clock)
        yield Phases(id="phases", clock=self._clock)


class Side(Panel):
    def __init__(self, which: str, *, clock: Clock) -> None:
        super().__init__(id=which, clock=clock)
        self._which = which
        self.border_title = which

    def show(self, state: State) -> None:
        super().show(state)
        self.set_class(self._part(state).gate.startswith("open"), "-serves")

    def _part(self, state: State) -> Part:
        now = course(state.phases)
        part = now.new if self._which == "new" else now.old
        owner = state.owner
        if not part.instance and owner and self._which == "old":
            return Part(owner.name, owner.release, "open")
        if part.instance and not state.busy and state.receipt is None:
            # Cut off: who owns the content now says how that ended.
            there = any(one.name == part.instance for one in state.instances)
            serves = owner is not None and owner.name == part.instance
            return replace(part, gate="open" if serves else part.gate if there else "removed")
        return part

    def made_of(self, state: State) -> Iterable[Content]:
        part = self._part(state)
        if not part.instance:
            words = "not started yet" if state.busy else "no hand-over yet: u begins one"
            return [Content.styled(words, "dim"), Content("")]
        serves = part.gate.startswith("open")
        glyph, style = ("●", "bold $success") if serves else ("▸", "$warning")
        if part.gate in ("ended", "failed", "removed"):
            glyph, style = ("✗", "bold $error") if part.gate == "failed" else ("○", "dim")
        return [
            Content.assemble((name(part.release), "bold"), f"  {part.instance}"),
            Content.styled(f"{glyph} {part.gate or 'starts'}", style),
        ]


class Numbers(Panel):
    """What is counted: requests held and relayed, the pause, the probe."""

    def made_of(self, state: State) -> Iterable[Content]:
        now = course(state.phases)
        if state.busy and (step := _running(state)):
            yield step
        yield _gates(now, _receipt(state), state.probe)
        yield _probe(state)


def _running(state: State) -> Content | None:
    steps = list(state.steps.values())
    for number, step in enumerate(steps, 1):
        if step.state == "running":
            words = (f"▸ step {number} of {len(steps)}: {step.title}", "bold $primary")
            return Content.assemble(words, (f"  {step.note}", "dim"))
    return None


def _gates(now: Course, receipt: Receipt | None, probe: Mapping[str, Any] | None) -> Content:
    """From the receipt once it is there: both journals, whole, know best."""
    held, relayed, closed = now.held, now.relayed, now.closed_ms
    if receipt:
        held, relayed, closed = receipt.held, receipt.relayed, receipt.closed_ms
    return Content.assemble(
        ("closed ", "dim"), _number(closed, " ms"), ("   held ", "dim"), _number(held),
        ("   relayed ", "dim"), _number(relayed), ("   longest pause ", "dim"),
        _number(probe["pause"] * 1000 if probe else None, " ms"),
        (f"   {now.waits}" if now.waits else "", "$warning"),
    )  # fmt: skip


def _probe(state: State) -> Content:
    counted: Mapping[str, Any] | None = state.probe
    if counted is None:
        words = "off: p starts it" if state.busy else "was off"
        return Content.assemble(("probe  ", "dim"), (words, "dim"))
    failed, lost = counted["failed"], counted.get("lost")
    parts: list[Run] = [
        ("probe  ", "dim"), (f"{counted['writers']}", "bold"), (" writers  acknowledged ", "dim"),
        (f"{counted['acknowledged']}", "bold"), ("  failed ", "dim"), (f"{failed}", _wrong(failed)),
    ]  # fmt: skip
    if counted.get("uncounted"):
        parts.append((f"  NOT COUNTED: {counted['uncounted']}", "bold $error"))
    elif lost is not None:
        parts += [("  lost ", "dim"), (f"{lost}", _wrong(lost))]
        parts += [("  twice ", "dim"), (f"{counted['duplicated']}", _wrong(counted["duplicated"]))]
    elif state.busy:
        parts.append(("  still writing", "dim"))
    return Content.assemble(*parts)


def _wrong(count: int) -> str:
    return "bold $error" if count else "bold $success"


def _number(value: float | None, unit: str = "") -> tuple[str, str]:
    return ("…", "dim") if value is None else (f"{value:,.0f}{unit}", "bold")


def _receipt(state: State) -> Receipt | None:
    return from_json(state.receipt.receipt) if state.receipt else None


class Verdict(Panel):
    DEFAULT_CSS = "Verdict { text-wrap: wrap; }"
    wraps = True

    def made_of(self, state: State) -> Iterable[Content]:
        receipt = _receipt(state)
        if receipt is None or state.receipt is None:
            return []
        path = home(state.receipt.path)
        if len(path) + 12 > self.size.width > 0:
            path = f"…/{Path(path).name}"
        return [*verdict(receipt), Content.styled(f"receipt: {path}", "dim")]


def verdict(receipt: Receipt) -> list[Content]:
    """Large, then the reason, then the tables."""
    word = "✓  CONTENT VERIFIED" if receipt.verified else "✗  CONTENT NOT VERIFIED"
    style = f"bold reverse {'$success' if receipt.verified else '$error'}"
    width = len(word) + 6
    banner = [Content.styled(text, style) for text in (" " * width, f"   {word}   ", " " * width)]
    return [*banner, Content(receipt.reason), *tables(receipt)]


def tables(receipt: Receipt) -> Sequence[Content]:
    named = [name(table.name) for table in receipt.tables]
    width = max(map(len, named), default=5)
    lines = [Content.styled(f"{'table':{width}}  {'before':>9}  {'after':>9}", "dim")]
    for words, table in zip(named, receipt.tables, strict=True):
        before, after = (("-" if count is None else f"{count:,}") for count in (table.before, table.after))
        mark, style = ("= same", "$success") if table.same else ("≠ DIFFERS", "bold $error")
        lines.append(Content.assemble(f"{words:{width}}  {before:>9}  {after:>9}  ", (mark, style)))
    return lines


class Phases(Panel):
    """Until the verdict the newest, so many as can be seen; then all, to be scrolled through."""

    def made_of(self, state: State) -> Iterable[Content]:
        if not state.phases:
            return []
        phases = sorted(state.phases, key=lambda one: one.ms)
        around = self.parent.size.height if isinstance(self.parent, HandOver) else 0
        room = max(_FEWEST_PHASES, around - self.virtual_region.y - 1)
        shown = phases if state.receipt else phases[-room:]
        head = Content.styled(f"{'ms':>9}  {'side':9} {'phase':12}", "dim")
        return [head, *(_phase(one) for one in shown)]


def _phase(one: PhaseReached) -> Content:
    style = "bold" if one.phase in ("closing", "closed", "moved", "opened") else ""
    return Content.assemble(
        (f"{one.ms:9.1f}  ", "dim"),
        f"{one.side:9} ",
        (f"{one.phase:12} ", style),
        (simple(one.details), "dim"),
    )
