"""An action is told to end whatever the disk says, and a bad state folder is told as what it is."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.engine.context import Context
from devenv.engine.desk import Desk
from devenv.engine.outcome import failure, outcome
from devenv.engine.store import Store
from devenv.errors import DevenvError
from devenv.model import events as e
from tests.unit.conftest import Told


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A folder that cannot be made, whoever we are."""
    (tmp_path / "file").write_text("where a folder should be")
    return tmp_path / "file" / "devenv"


async def _mistake() -> int:
    raise ZeroDivisionError("ours")


async def test_a_trace_that_cannot_be_kept_is_told_and_the_action_ends(refused: Path, told: Told) -> None:
    crash = refused / "crash.log"
    assert await outcome("up", _mistake(), told.append, crash=crash) == 1
    (failed,) = told.of(e.ActionFailed)
    assert isinstance(failed, e.ActionFailed)
    assert "ZeroDivisionError" in failed.why
    assert f"could not be kept in {crash}" in failed.next
    assert "_mistake" in failed.log_tail
    assert isinstance(told[-1], e.ActionEnded)


async def test_a_state_folder_that_cannot_be_used_is_no_mistake_of_ours(
    refused: Path, ctx: Context, told: Told
) -> None:
    desk = Desk(replace(ctx, store=Store(refused / "demo")), crash=refused / "crash.log")
    desk.listen(told.append)
    desk.start("up")
    assert await desk.finished() == 1
    (failed,) = told.of(e.ActionFailed)
    assert isinstance(failed, e.ActionFailed)
    assert str(refused / "demo") in failed.what
    assert "Not a directory" in failed.why
    assert "XDG_STATE_HOME" in failed.next
    assert isinstance(told[-1], e.ActionEnded)
    await desk.close()


def test_what_is_refused_anywhere_in_the_state_folder_is_told_with_it(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    ours = failure(PermissionError(13, "Permission denied", str(state / "demo" / "compose.env")), state / "c")
    assert "Permission denied" in ours.why
    assert f"chown -R $USER {state}" in ours.next
    full = failure(OSError(28, "No space left on device", str(state / "x")), state / "crash.log")
    assert "free some space" in full.next
    theirs = failure(PermissionError(13, "Permission denied", str(elsewhere)), state / "crash.log")
    assert theirs.what == "devenv itself failed"


def test_every_write_to_the_state_folder_says_what_is_wrong_with_it(refused: Path) -> None:
    store = Store(refused)
    with pytest.raises(DevenvError, match="cannot be used"), store.locked("up"):
        pass
    with pytest.raises(DevenvError, match="cannot be used"):
        store.new_snapshot("compose", "saved", "v1")
    with pytest.raises(DevenvError, match="cannot be used"):
        store.at_work()
    assert store.receipts() == []
    assert store.snapshots() == []


def test_a_lock_that_another_one_holds_is_not_waited_for_by_the_screen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked("upgrade"):
        began = time.monotonic()
        with pytest.raises(DevenvError, match="at work") as refusal, store.locked("up"):
            pass
        assert time.monotonic() - began < 0.3
        assert "devenv upgrade" in refusal.value.why
        assert "devenv upgrade" in store.at_work()
    assert store.at_work() == ""
    assert (tmp_path / "lock").read_text() == ""
