"""One action at a time for a front end that stays; what it sees of the stack meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devenv.engine import watching
from devenv.engine.context import Context
from devenv.engine.desk import Desk
from devenv.errors import NotFit
from devenv.model import events as e
from devenv.model.events import LogLine
from devenv.model.state import State, fold
from tests.backends.fake import FakeBackend
from tests.unit.conftest import Told


@pytest.fixture
async def desk(ctx: Context, told: Told, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(ctx, crash=tmp_path / "crash.log")
    made.listen(told.append)
    yield made
    await made.finished()
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


def state(told: Told) -> State:
    return fold(told)


async def test_an_action_is_told_from_its_beginning_to_its_exit_code(desk: Desk, told: Told) -> None:
    assert desk.start("up")
    assert await desk.finished() == 0
    assert isinstance(told[0], e.ActionStarted)
    assert isinstance(told[-1], e.ActionEnded)
    assert told[-1].url == desk.stack.url


async def test_a_second_action_waits_for_nobody_and_is_refused(desk: Desk, backend: FakeBackend) -> None:
    desk.start("up")
    assert not desk.start("reset")
    await desk.finished()
    assert backend.containers


async def test_a_failure_is_an_event_and_the_exit_code_of_the_desk(
    desk: Desk, backend: FakeBackend, told: Told
) -> None:
    backend.fail["check"] = NotFit("no engine", "it is not installed", "install it")
    desk.start("up")
    assert await desk.finished() == 4
    failure = state(told).failure
    assert failure is not None
    assert failure.next == "install it"


async def test_a_mistake_of_ours_is_told_and_its_trace_is_kept(
    desk: Desk, backend: FakeBackend, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "check", _mistake)
    desk.start("up")
    assert await desk.finished() == 1
    failure = state(told).failure
    assert failure is not None
    assert "ZeroDivisionError" in failure.why
    assert "ZeroDivisionError" in (tmp_path / "crash.log").read_text()


async def test_what_is_at_work_goes_on_when_nobody_listens_any_more(desk: Desk, backend: FakeBackend) -> None:
    desk.start("up")
    await desk.finished()
    backend.pause["leased"] = asyncio.Event()
    desk.start("upgrade", to="v2")
    await backend.reached.wait()
    desk.listen(None)
    backend.pause["leased"].set()
    assert await desk.finished() == 0
    assert backend.owner.release == "v2"


async def test_only_what_has_a_probe_can_have_it_toggled(desk: Desk, backend: FakeBackend) -> None:
    assert not desk.toggle_probe()
    desk.start("up")
    assert not desk.toggle_probe()


async def test_a_probe_that_cannot_begin_fails_no_upgrade(
    desk: Desk, backend: FakeBackend, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.start("up")
    await desk.finished()
    monkeypatch.setattr("devenv.engine.probe.Probe.start", lambda probe: _refused())
    backend.pause["leased"] = asyncio.Event()
    desk.start("upgrade", to="v2")
    await backend.reached.wait()
    assert desk.toggle_probe()
    await until(lambda: state(told).failure is not None)
    backend.pause["leased"].set()
    assert await desk.finished() == 0
    receipt = state(told).receipt
    assert receipt is not None
    assert receipt.receipt["probe"] is None


async def _mistake() -> None:
    raise ZeroDivisionError


async def _refused() -> None:
    raise NotFit("the probe cannot begin", "nobody answers", "look")


async def test_the_watch_sees_what_changes_and_keeps_every_line(
    desk: Desk, backend: FakeBackend, told: Told
) -> None:
    seen: list[LogLine] = []
    desk.watch(seen.extend)
    await until(lambda: state(told).seen)
    assert state(told).health == "absent"
    desk.start("up")
    await desk.finished()
    await until(lambda: state(told).health == "serving")
    backend.lines.put_nowait([LogLine("devenv-httpd-1", "GET /", time=0.0)])
    await until(lambda: len(seen) == 1)
    assert desk.archive.path.read_text().endswith("devenv-httpd-1 | GET /\n")


async def test_an_engine_that_does_not_answer_is_asked_again(
    desk: Desk, backend: FakeBackend, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_AGAIN", (0.01,))
    backend.fail["instances"] = NotFit("the engine does not answer", "no socket", "start it")
    desk.watch(lambda lines: None)
    await until(lambda: state(told).health == "lost")
    del backend.fail["instances"]
    await until(lambda: state(told).health == "absent")


async def test_something_that_only_looks_goes_beside_what_is_at_work(
    desk: Desk, backend: FakeBackend, told: Told
) -> None:
    desk.start("up")
    await desk.finished()
    backend.pause["leased"] = asyncio.Event()
    desk.start("upgrade", to="v2")
    await backend.reached.wait()
    desk.ask("status")
    await until(lambda: "status" in state(told).answers)
    assert state(told).busy
    assert state(told).action == "upgrade"
    backend.pause["leased"].set()
