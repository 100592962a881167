"""Whatever others say, the screen stays in command of the terminal and of its lines."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import OptionList

from devenv.engine.context import Context
from devenv.engine.desk import Lines
from devenv.engine.store import Saved, Store
from devenv.model import events as e
from devenv.model.preferences import Preferences
from devenv.model.receipt import Receipt, from_json
from devenv.model.stack import Stack
from devenv.tui.app import DevenvApp
from devenv.tui.lines import Words, line, lines
from tests import hostile
from tests.backends.fake import FakeBackend
from tests.hostile import FORGED, STEERS, WORDS, forged, unsafe
from tests.tui.scenes import StillDesk
from tests.unit.conftest import FakeImages, FakeRegistry

VIEWS = ("view stack", "view upgrade", "view commands", "view receipts", "logs")
DIALOGS = (
    *("upgrade", "build", "recover", "down", "reset", "snapshot restore", "receipt show", "failure"),
    *("help", "config show", "config path", "palette"),
)


class HostileDesk(StillDesk):
    """What lies on the disk is as hostile as what is told."""

    words = ""

    def receipts(self) -> list[tuple[Path, Receipt]]:
        return [(Path(f"/state/{FORGED}"), from_json(hostile.receipt(self.words)))]

    def snapshots(self) -> list[Saved]:
        return [Saved(Path(f"/state/{STEERS}\n{FORGED}.tar"), "saved", self.words, 0.0, 1)]

    def watch(self, lines: Lines) -> None:
        lines([e.LogLine("httpd-1", self.words)])


@asynccontextmanager
async def opened(words: str, folder: Path) -> AsyncIterator[tuple[DevenvApp, Pilot[None]]]:
    backend = FakeBackend()
    store = Store(folder)
    ctx = Context(Stack(), backend, FakeImages(backend), FakeRegistry(), store, lambda event: None)
    desk = HostileDesk(ctx, crash=folder / "crash.log")
    desk.words = words
    app = DevenvApp(desk, Preferences(motion=False), first="", paths={"config": words})
    async with app.run_test(size=(160, 45), notifications=True) as pilot:
        yield app, pilot
        await pilot.pause()
    assert app.crash is None


async def look(app: DevenvApp, pilot: Pilot[None], where: str) -> str:
    """Check every row of the screen, every line of its widgets, and every toast."""
    app._draw()
    app.main.logs.flush()
    await pilot.pause()
    rows = ["".join(part.text for part in strip) for strip in app.screen._compositor.render_strips()]
    for row in rows:
        assert not unsafe(row), (where, ascii(row))
    written = [one.content.plain for one in app.screen.query(Words) if isinstance(one.content, Content)]
    written += [str(option.prompt) for one in app.screen.query(OptionList) for option in one.options]
    for one in "\n".join(written).split("\n"):
        assert not forged(one), (where, one)
        assert len(one) < 40_000, (where, "a value can fill the screen")
    for toast in app._notifications:
        assert not unsafe(toast.message), (where, ascii(toast.message))
        assert len(toast.message) < 5000
    app.clear_notifications()
    return "\n".join(rows)


@pytest.mark.parametrize("words", WORDS, ids=["directly", "on lines of its own", "after a break", "long"])
async def test_no_event_steers_the_terminal_or_begins_a_line_of_its_own(words: str, tmp_path: Path) -> None:
    owner = hostile.made(e.InstancesSeen, words, role="owner", state="running", service="php-fpm")
    shown = ""
    async with opened(words, tmp_path) as (app, pilot):
        told = [event for _, event in hostile.events(words)]
        over = [event for event in told if isinstance(event, e.Answer)]
        rest = [event for event in told if event not in over and not isinstance(event, e.EngineLost)]
        lost = hostile.made(e.EngineLost, words)
        # Those that come last are there to be seen: who serves, what has failed, and that no engine answers.
        for events in (rest, [e.ActionStarted("upgrade"), *rest], [owner], [lost]):
            for event in events:
                app.take(event)
            for view in VIEWS:
                app.act(view)
                await pilot.pause()
                shown += await look(app, pilot, view)
        for event in over:
            app.take(event)
            shown += await look(app, pilot, f"answer {event.about}")
            while len(app.screen_stack) > 2:
                app.pop_screen()
    assert "FORGED" in shown or words.startswith("x"), "what was said is told"


@pytest.mark.parametrize("words", WORDS[:2], ids=["directly", "on lines of its own"])
async def test_no_question_or_text_over_the_rest_does_so_either(words: str, tmp_path: Path) -> None:
    seen = hostile.made(e.InstancesSeen, words, role="owner", state="running", service="php-fpm")
    moved = hostile.made(e.InstancesSeen, words, role="moved", state="running", service="php-fpm")
    # No engine has two of one name.
    another = dataclasses.replace(moved.instances[0], name=f"{words} too")
    both = dataclasses.replace(seen, instances=(seen.instances[0], another))
    async with opened(words, tmp_path) as (app, pilot):
        for event in (e.ActionStarted("up"), e.ActionEnded("up", 1, 1.0), both):
            app.take(event)
        app.take(hostile.made(e.ActionFailed, words))
        await look(app, pilot, "before")
        for name in DIALOGS:
            app.act(name)
            await pilot.pause()
            assert len(app.screen_stack) > 2, name
            await look(app, pilot, name)
            await pilot.press("escape")
            await pilot.pause()


async def test_what_is_pasted_steers_nothing(tmp_path: Path) -> None:
    async with opened("x", tmp_path) as (app, pilot):
        await pilot.press("slash")
        field = app.main.logs.prompt.query_one("PromptInput")
        field.value = f"{STEERS}a"  # type: ignore[attr-defined]
        assert "52;c;" in await look(app, pilot, "prompt")


async def test_what_a_container_advises_stands_apart_from_our_own_advice(tmp_path: Path) -> None:
    async with opened("x", tmp_path) as (app, pilot):
        app.take(
            e.ActionFailed("a: no room", "it is full", "see its log", "one\n✓ two", instance_says="rm -rf /")
        )
        for name in ("before", "failure"):
            if name == "failure":
                app.act(name)
                await pilot.pause()
            rows = [row.strip(" │") for row in (await look(app, pilot, name)).split("\n")]
            assert "the instance says: rm -rf /" in rows
            assert "next: see its log" in rows
        assert rows[rows.index("| one") + 1] == "| ✓ two", "a line of a log has its mark"
        assert any("the instance says: rm -rf /; next: see its log" in one for one in app.summary())


def test_a_line_keeps_the_looks_of_its_parts() -> None:
    made = line(("a\nb", "bold"), " plain ", ("\x1b", "dim"))
    assert made.plain == "a⏎b plain ␛"
    looks = {(made.plain[span.start : span.end], span.style) for span in made.spans}
    assert looks == {("a⏎b", "bold"), ("␛", "dim")}
    assert lines(["one\ntwo", ""]).plain == "one⏎two\n"
