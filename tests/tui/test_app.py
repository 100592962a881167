"""The terminal interface against the fake engine: keys in, what is done and what is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual._context import active_app
from textual.pilot import Pilot
from textual.widgets import Button

from devenv.engine.context import Context
from devenv.engine.desk import Desk, Lines
from devenv.engine.store import Store
from devenv.errors import DevenvError
from devenv.model import events as e
from devenv.model.actions import ACTIONS
from devenv.model.preferences import Preferences
from devenv.model.stack import Stack, StackSection
from devenv.tui import dialogs
from devenv.tui.app import DevenvApp
from devenv.tui.intents import INTENTS
from tests.backends.fake import FakeBackend
from tests.tui.site import PROBE, serving
from tests.tui.story import came_up, compared
from tests.unit.conftest import FakeImages, FakeRegistry

Opened = tuple[DevenvApp, Pilot[None]]


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def desk(backend: FakeBackend, port: int, tmp_path: Path) -> Desk:
    stack = Stack(stack=StackSection(port=port), probe=PROBE)
    store = Store(tmp_path / "state")
    return Desk(
        Context(stack, backend, FakeImages(backend), FakeRegistry(), store, lambda event: None),
        crash=tmp_path / "crash.log",
    )


@asynccontextmanager
async def opened(
    desk: Desk, *, size: tuple[int, int] = (80, 24), preferences: Preferences | None = None, first: str = "up"
) -> AsyncIterator[Opened]:
    app = DevenvApp(desk, preferences, architecture="amd64", first=first)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            if first:
                # What is told is drawn a moment later, and an action that begins chooses the view.
                await until(pilot, lambda: app.state.exit_code is not None and not app._news)
            yield app, pilot
        await desk.finished()
        assert app.crash is None
    finally:
        desk.cancel()
        await desk.close()


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what the loop is about to do; a screen of the moment where it does not come."""
    for _ in range(int(seconds / 0.02)):
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"it did not come:\n{shown(pilot.app)}")  # type: ignore[arg-type]


def shown(app: DevenvApp) -> str:
    """The text on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def told(app: DevenvApp) -> list[str]:
    return [one.message for one in app._notifications]


def releases(backend: FakeBackend) -> list[str]:
    return [f"{one.release} {one.role}" for one in backend.containers if one.service == "php-fpm"]


async def test_the_first_picture_is_there_before_the_engine_is_asked(
    desk: Desk, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []
    watch = Desk.watch

    def noted(of: Desk, lines: Lines) -> None:
        seen.append((shown(active_app.get()), list(backend.calls)))  # type: ignore[arg-type]
        watch(of, lines)

    monkeypatch.setattr(Desk, "watch", noted)
    async with opened(desk):
        [(picture, calls)] = seen
    assert "devenv" in picture
    assert "compose" in picture
    assert calls == []


async def test_it_brings_the_stack_up_before_ones_eyes(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):
        await until(pilot, lambda: "healthy" in shown(app))
        picture = shown(app)
    assert "✓ up" in picture
    assert "owner, epoch 1, open" in picture
    assert desk.stack.url in picture
    assert releases(backend) == ["v1 owner"]


async def test_an_upgrade_is_asked_shown_and_proved(
    desk: Desk, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.engine.probing.AFTER", 0.3)
    async with opened(desk) as (app, pilot):
        await pilot.press("u")
        await pilot.pause()
        assert "hand-over to v2" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "CONTENT VERIFIED" in shown(app))
        picture = shown(app)
        assert "old" in picture
        assert "new" in picture
        assert "lost 0" in picture
        assert "failed 0" in picture
        assert "= same" in picture
        assert app.state.receipt is not None
        written = json.loads(Path(app.state.receipt.path).read_text())
        assert written["verified"]
        assert written["probe"]["acknowledged"] > 0
        assert releases(backend) == ["v2 owner"]

        await pilot.press("b", "enter")
        await until(pilot, lambda: releases(backend) == ["v1 owner"] and not app.state.busy)

        await pilot.press("4", "enter")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        assert "v2 → v1" in shown(app)


async def test_the_probe_can_be_started_and_stopped_during_an_upgrade(
    desk: Desk, backend: FakeBackend
) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        assert app.state.probe is None
        await pilot.press("p")
        await until(pilot, lambda: app.state.probe is not None and app.state.probe["acknowledged"] > 0)
        await pilot.press("p")
        await until(pilot, lambda: app.state.probe is not None and "lost" in app.state.probe)
        backend.pause["leased"].set()
        await until(pilot, lambda: app.state.receipt is not None)
        assert app.state.receipt is not None
        assert app.state.receipt.receipt["probe"]["lost"] == 0


async def test_a_second_start_is_refused_and_says_what_is_at_work(desk: Desk, backend: FakeBackend) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        await pilot.press("v")
        await until(pilot, lambda: "Verify: upgrade is at work" in shown(app))
        assert not desk.start("down")
        backend.pause["leased"].set()
        await until(pilot, lambda: not app.state.busy)
    assert releases(backend) == ["v2 owner"]


async def test_what_is_at_work_can_be_cancelled_and_the_old_one_serves_on(
    desk: Desk, backend: FakeBackend
) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert app.state.busy, "the default is to go on"
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: not app.state.busy)
        assert app.state.exit_code == 130
    assert releases(backend) == ["v1 owner"]


@pytest.mark.parametrize("keys", [["enter"], ["escape"], ["n"], ["q"]], ids=lambda keys: keys[0])
async def test_what_destroys_names_what_goes_and_its_default_is_to_leave_it(
    desk: Desk, backend: FakeBackend, keys: list[str]
) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("R")
        await pilot.pause()
        picture = shown(app)
        for name in (*(one.name for one in backend.containers), "devenv_snapshots", "devenv_default"):
            assert name in picture
        assert isinstance(app.focused, Button)
        assert app.focused.id == "no"
        await pilot.press(*keys)
        await pilot.pause()
        assert not app.state.busy
    assert releases(backend) == ["v1 owner"]


async def test_reset_and_down_after_a_yes(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("d")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: not backend.containers and not app.state.busy)
        assert backend.volume
        await until(pilot, lambda: "nothing runs" in shown(app))
        await pilot.press("U")
        await until(pilot, lambda: bool(backend.containers) and not app.state.busy)
        await until(pilot, lambda: "content restored from the snapshot" in shown(app))
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: not backend.containers and not app.state.busy)
    assert not backend.volume


async def test_a_snapshot_is_saved_and_restored(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("s")
        await until(pilot, lambda: app.state.action == "snapshot save" and not app.state.busy)
        backend.owner.content["post"].append("later")
        await pilot.press("r")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: app.state.action == "snapshot restore" and not app.state.busy)
    assert backend.owner.content["post"] == ["first"]


async def test_verify_shows_what_it_compared(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        assert "✓ verified" in shown(app)


async def test_an_error_stays_on_the_screen_with_its_next_step(desk: Desk, backend: FakeBackend) -> None:
    backend.fail["start"] = DevenvError("port 8080 is taken", "nginx has it", "end it", "the log's tail")
    async with opened(desk) as (app, pilot):
        await pilot.pause(0.2)
        picture = shown(app)
        assert "✗ port 8080 is taken" in picture
        assert "nginx has it" in picture
        assert "next: end it" in picture
        await pilot.press("E")
        await pilot.pause()
        assert "the log's tail" in shown(app)
        await pilot.press("escape")
        del backend.fail["start"]
        await pilot.press("U")
        await until(pilot, lambda: app.state.exit_code == 0)
        assert "port 8080" not in shown(app)


async def test_a_rollback_without_a_past_says_so(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("b")
        await until(pilot, lambda: any("no receipt tells" in one for one in told(app)))


async def test_leaving_asks_only_while_something_is_at_work(desk: Desk, backend: FakeBackend) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, dialogs.Choose)
        await pilot.press("enter")
        await pilot.pause()
        assert app.state.busy
        assert app.is_running, "the first choice is to stay"
        await pilot.press("q")
        await pilot.pause()
        await pilot.press("down", "enter")
        await until(pilot, lambda: not app.is_running)
        assert desk.busy, "it goes on without the screen"
        backend.pause["leased"].set()
    assert desk.last_code == 0
    assert releases(backend) == ["v2 owner"]


async def test_leaving_leaves_the_stack_running(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)
        [goes_on] = app.summary()
        assert desk.stack.url in goes_on
    assert releases(backend) == ["v1 owner"]


async def test_leaving_can_be_decided_beforehand(desk: Desk, backend: FakeBackend) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk, preferences=Preferences(quit="cancel")) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)
    assert desk.last_code == 130
    assert releases(backend) == ["v1 owner"]


async def test_commands_are_shown_with_exit_code_and_duration_and_can_be_copied(desk: Desk) -> None:
    async with opened(desk, size=(120, 40)) as (app, pilot):
        app.take(e.CommandStarted(9001, ("docker", "compose", "up", "--detach", "a b")))
        app.take(e.CommandEnded(9001, ("docker", "compose", "up", "--detach", "a b"), 17, 2.5))
        app.take(e.CommandStarted(9002, ("docker", "ps", "--all")))
        await pilot.press("3")
        await until(pilot, lambda: "docker compose up" in shown(app))
        row = next(line for line in shown(app).splitlines() if "docker compose up" in line)
        assert "17" in row
        assert "2.5 s" in row
        assert "docker ps" not in shown(app)
        await pilot.press("Y")
        assert app.clipboard == "docker compose up --detach 'a b'"
        await pilot.press("e")
        await until(pilot, lambda: "docker ps" in shown(app))


async def test_an_engine_that_goes_away_is_said_and_found_again(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):

        def said() -> bool:
            # Again and again, as the watch does: a last look after the start can come behind the first.
            app.take(e.EngineLost("the container engine does not answer", "no socket", "devenv doctor --fix"))
            return all(words in shown(app) for words in ("engine does not answer", "devenv doctor --fix"))

        await until(pilot, said)
        backend.add("httpd", "v1")
        await until(pilot, lambda: "healthy" in shown(app))


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5)], ids=str)
async def test_a_screen_that_is_too_small_says_so_and_takes_no_orders(
    desk: Desk, backend: FakeBackend, size: tuple[int, int]
) -> None:
    async with opened(desk, size=size) as (app, pilot):
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("y")
        await pilot.pause()
        words = " ".join(shown(app).split())
        assert "too small" in words
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "healthy" in shown(app))
    assert releases(backend) == ["v1 owner"]


async def test_a_storm_of_resizes_leaves_a_whole_picture(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        for number in range(20):
            await pilot.resize_terminal(20 + number * 37 % 180, 5 + number * 7 % 50)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "healthy" in shown(app) and "Quit" in shown(app))


MOVES = [
    key for one in ACTIONS if one.scope == "move" for key in one.keys.split(",") if one.name != "move in"
]


@pytest.mark.parametrize("view", ["1", "2", "3", "4", "5"])
async def test_every_key_that_moves_does_no_harm_anywhere(desk: Desk, view: str) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press(view)
        for key in MOVES:
            await pilot.press(key)
        await pilot.press("escape")
        await until(pilot, lambda: app.main.view == "stack")
        assert not app.state.busy


async def test_an_upgrade_dialogue_takes_only_what_can_be_done(desk: Desk, backend: FakeBackend) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("u", "tab", "tab", "backspace", "-", "enter")
        await until(pilot, lambda: "from 1 to" in shown(app))
        await pilot.press("shift+tab", "space", "shift+tab", "enter")
        await until(pilot, lambda: releases(backend) == ["v2 owner"] and not app.state.busy)
        assert app.state.probe is None


async def test_nothing_that_a_program_said_steers_the_terminal(desk: Desk) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b\x08"
    async with opened(desk) as (app, pilot):
        app.take(e.ActionFailed(evil, evil, evil, f"{evil}\n{evil}"))
        app.take(e.Notice(evil, "warning"))
        app.take(e.EngineLost(evil, evil, evil))
        await until(pilot, lambda: "52;c;" in shown(app))
        pictures = [shown(app)]
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        pictures.append(shown(app))
    for picture in pictures:
        assert not set(picture) & set("\x1b\x07\x9b\x08")


async def test_a_prompt_is_never_left_open_behind_ones_back(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        for leaving in ("tab", "escape"):
            await pilot.press("slash", "x")
            assert app.main.logs.prompt.is_open
            await pilot.press(leaving)
            await until(pilot, lambda: not app.main.logs.prompt.is_open)


async def test_ctrl_q_leaves_from_everywhere_and_ctrl_c_says_how(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        await pilot.press("ctrl+c")
        await until(pilot, lambda: any("q ^q leaves" in one for one in told(app)))
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)


async def test_doctor_names_what_it_would_do_before_it_does_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    mends = [{"name": "apt", "title": "packages", "does": ["apt-get install docker.io"]}]
    checks = [{"name": "engine", "status": "fail", "reason": "none", "mend": "install", "fix": "apt"}]
    async with opened(desk) as (app, pilot):
        begun: list[str] = []
        monkeypatch.setattr(desk, "start", lambda name, **options: begun.append(f"{name} {options}") or True)
        app.take(e.Answer("doctor", {"checks": checks, "mends": mends}))
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        await pilot.press("f")
        await until(pilot, lambda: "apt-get install docker.io" in shown(app))
        await pilot.press("enter")
        await pilot.pause()
        assert begun == []
        app.take(e.Answer("doctor", {"checks": checks, "mends": mends}))
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Confirm))
        await pilot.press("y")
        await until(pilot, lambda: begun == ["doctor {'fix': True}"])


async def test_recover_is_refused_while_another_instance_serves_and_asks_when_none_does(
    desk: Desk, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(desk) as (app, pilot):
        old = backend.owner
        await backend.start_beside("v2", lambda instance: None)
        new = backend.owner
        await until(pilot, lambda: app.state.owner is not None and app.state.owner.name == new.name)
        begun: list[str] = []
        INTENTS["recover"](app)
        await until(pilot, lambda: isinstance(app.screen, dialogs.Choose))
        await pilot.press("enter")
        await until(pilot, lambda: any(f"{new.name} owns the content and serves" in one for one in told(app)))
        assert not isinstance(app.screen, dialogs.Confirm)

        backend.containers.remove(new)
        await until(pilot, lambda: app.state.owner is None)
        monkeypatch.setattr(desk, "start", lambda name, **options: begun.append(f"{name} {options}") or True)
        INTENTS["recover"](app)
        await until(pilot, lambda: isinstance(app.screen, dialogs.Choose))
        await pilot.press("enter")
        await until(pilot, lambda: "what it handed on as the owner of epoch 1" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: begun == [f"recover {{'from_': '{old.name}'}}"])


async def test_after_a_cancel_the_hand_over_says_how_it_ended(desk: Desk, backend: FakeBackend) -> None:
    backend.pause["leased"] = asyncio.Event()
    async with opened(desk) as (app, pilot):
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        await until(pilot, lambda: "looks for the owner" in shown(app))
        desk.cancel()
        await until(pilot, lambda: not app.state.busy and "○ removed" in shown(app))
        assert "● open" in shown(app)


async def test_keys_of_ones_own_are_bound_and_shown(desk: Desk) -> None:
    async with opened(desk, preferences=Preferences(keys={"verify": "f9"})) as (app, pilot):
        assert "f9 Verify" in shown(app)
        await pilot.press("v")
        await pilot.pause()
        assert not isinstance(app.screen, dialogs.Text)
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))


async def test_nothing_moves_where_no_motion_is_wanted(desk: Desk) -> None:
    async with opened(desk, preferences=Preferences(motion=False)) as (app, _):
        assert app.animation_level == "none"


async def test_words_of_programs_are_never_markup(desk: Desk) -> None:
    async with opened(desk) as (app, pilot):
        app.take(e.Notice("[red]x[/red] [/]"))
        app.take(e.ActionFailed("a [b]", "c [/d]", "[e", "[/f]"))
        await until(pilot, lambda: "✗ a [b]" in shown(app))
        assert "[red]x[/red] [/]" in shown(app)
        await pilot.press("E")
        await pilot.pause()
        assert "[/f]" in shown(app)


async def test_a_mistake_of_ours_ends_the_screen_without_a_trace_on_it(
    desk: Desk, backend: FakeBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.pause["leased"] = asyncio.Event()
    app = DevenvApp(desk, architecture="amd64")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.state.exit_code is not None)
        desk.start("upgrade", to="v2")
        await backend.reached.wait()
        app.call_later(lambda: 1 / 0)
        async with asyncio.timeout(10):
            while app.crash is None:
                await asyncio.sleep(0.01)
    assert desk.busy, "what is at work goes on"
    backend.pause["leased"].set()
    assert await desk.finished() == 0
    await desk.close()
    app.write_crash(tmp_path / "crash.log")
    assert "ZeroDivisionError" in (tmp_path / "crash.log").read_text()
    assert "Traceback" not in "".join(capsys.readouterr())


def test_every_action_has_an_intent_and_every_intent_an_action() -> None:
    assert set(INTENTS) == {one.name for one in ACTIONS}


@pytest.mark.parametrize("action", [one for one in ACTIONS if one.keys], ids=lambda one: one.name)
def test_every_key_of_the_table_is_bound_to_its_action(action: object) -> None:
    bound = {key: found for found in DevenvApp.BINDINGS for key in found.key.split(",")}  # type: ignore[union-attr]
    for key in action.keys.split(","):  # type: ignore[attr-defined]
        assert bound[key].action == f"act({action.name!r})"  # type: ignore[attr-defined]
        assert bound[key].tooltip == action.help  # type: ignore[attr-defined]


async def test_the_help_and_the_palette_know_every_action(desk: Desk) -> None:
    async with opened(desk, size=(140, 100)) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, dialogs.Text)
        for one in ACTIONS:
            assert one.help in app.screen.plain
        assert "not now: nothing is at work" in app.screen.plain
        await pilot.press("escape")
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"config schema")
        await until(pilot, lambda: "Print the JSON schema" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, dialogs.Text))
        assert "JSON schema" in shown(app)


# The last line: keys, then whether what runs is what the working tree would build


async def last_line(desk: Desk, width: int, *events: e.Event) -> str:
    async with opened(desk, size=(width, 24), first="") as (app, pilot):
        for event in (*came_up(), *events):
            desk._tell(event)
        await until(pilot, lambda: app.state.images != () and not app._news)
        return shown(app).splitlines()[-1]


@pytest.mark.parametrize(
    ("width", "tree", "words"),
    [
        (80, "tree", "images current"),
        (80, "changed", "php-fpm stale"),
        (100, "changed", " stale"),
        (140, "tree", " current"),
    ],
)
async def test_what_runs_stands_at_its_end(desk: Desk, width: int, tree: str, words: str) -> None:
    line = await last_line(desk, width, compared("v1", tree=tree))
    assert line.endswith(words)
    assert "q Quit" in line
    assert len(line) <= width


async def test_a_wide_one_has_every_service_with_its_digest(desk: Desk) -> None:
    event = compared("v1", tree="changed")
    line = await last_line(desk, 160, event)
    for one in event.images:  # type: ignore[union-attr]
        assert f"{one.service} {one.running.partition(':')[2][:12]} {one.verdict}" in line


async def test_where_there_is_no_room_the_keys_are_what_stays(desk: Desk) -> None:
    line = await last_line(desk, 70)
    assert "q Quit" in line
    assert "current" not in line
