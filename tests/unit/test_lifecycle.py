"""Up, down and reset against the fake backend."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.backends.protocol import RESTORE, Kept
from devenv.engine import content
from devenv.engine import store as store_module
from devenv.engine.context import Context
from devenv.engine.lifecycle import down, reset, up
from devenv.engine.settle import settle
from devenv.engine.store import FORK, KEPT, Store
from devenv.errors import DevenvError
from devenv.model.events import Answer, Notice
from devenv.model.instance import Instance
from tests.backends.fake import FakeBackend
from tests.unit.conftest import Told


async def test_up_starts_everything_and_tells_where_the_content_comes_from(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    assert [one.service for one in backend.containers] == ["httpd", "php-fpm"]
    assert any("a new database" in notice.text for notice in told.of(Notice))  # type: ignore[attr-defined]


async def test_up_again_changes_nothing(ctx: Context, backend: FakeBackend) -> None:
    await up(ctx)
    before = [one.id for one in backend.containers]
    await up(ctx)
    assert [one.id for one in backend.containers] == before


async def test_up_replaces_httpd_alone_when_its_port_is_another_one(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    assert "start httpd" not in backend.calls
    backend.port = 9090
    await up(ctx)
    assert "start httpd" in backend.calls


async def test_down_saves_the_content_and_up_restores_it(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    backend.owner.content["post"].append("kept")
    await down(ctx)
    assert backend.containers == []
    assert [saved.reason for saved in ctx.store.snapshots()] == ["down"]
    await up(ctx)
    assert backend.owner.content["post"][-1] == "kept"
    assert any("restored from the snapshot" in notice.text for notice in told.of(Notice))  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", ["check", "instances", "httpd"])
async def test_a_down_that_is_interrupted_before_the_owner_ends_leaves_one_that_waits_for_a_successor(
    ctx: Context, backend: FakeBackend, call: str
) -> None:
    await up(ctx)
    backend.pause[call] = asyncio.Event()
    task = asyncio.create_task(down(ctx))
    async with asyncio.timeout(5):
        await backend.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.owner.state == "running"
    assert not backend.owner.retired
    del backend.pause[call]
    await up(ctx)
    await down(ctx)
    assert [saved.reason for saved in ctx.store.snapshots()] == ["down"]


async def test_down_tells_the_owner_that_no_successor_comes_when_no_request_comes_any_more(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    backend.pause["retired"] = asyncio.Event()
    task = asyncio.create_task(down(ctx))
    async with asyncio.timeout(5):
        await backend.reached.wait()
    assert [(one.service, one.state, one.retired) for one in backend.containers] == [
        ("httpd", "exited", False), ("php-fpm", "running", True),
    ]  # fmt: skip
    assert "retire" not in backend.calls
    backend.pause["retired"].set()
    await task


async def test_down_keeps_the_container_whose_content_was_not_saved(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    backend.fail["unsaved"] = DevenvError("", "", "")
    with pytest.raises(DevenvError, match="without saving"):
        await down(ctx)
    assert "remove_all" not in backend.calls
    assert any(one.role == "owner" for one in backend.containers)


async def test_down_takes_no_snapshot_of_an_earlier_end_for_the_last_one(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    [owner] = [one for one in await backend.instances() if one.service == "php-fpm"]
    await backend.stop_one(owner)
    await backend.revive(owner)
    backend.owner.content["post"].append("after the restart")
    backend.fill_volume(owner)
    with pytest.raises(DevenvError, match="without saving"):
        await down(ctx)
    assert backend.containers[-1].content["post"][-1] == "after the restart"


async def test_content_that_went_with_its_instance_is_missed_once_and_the_newest_snapshot_offered(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    def warnings() -> list[str]:
        return [one.text for one in told.of(Notice) if one.level == "warning"]  # type: ignore[attr-defined]

    await up(ctx)
    await content.save(ctx)
    [saved] = ctx.store.snapshots()
    backend.containers.remove(backend.owner)  # by force: its engine makes another one
    await up(ctx)
    [missed] = warnings()
    assert "the instance that had the content is gone" in missed
    assert f"devenv snapshot restore {saved.path.name}" in missed
    assert "0 minutes old" in missed
    await up(ctx)
    await down(ctx)
    assert len(warnings()) == 1


async def test_content_that_a_person_has_replaced_is_not_missed(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    await reset(ctx)
    await up(ctx)
    await content.save(ctx)
    await content.restore(ctx, "latest")
    backend.owner.lineage = "that of a restored one"
    await up(ctx)
    assert not [one for one in told.of(Notice) if one.level == "warning"]  # type: ignore[attr-defined]


async def test_down_with_nothing_there_is_no_error(ctx: Context, backend: FakeBackend) -> None:
    await down(ctx)
    assert "stop" not in backend.calls


async def test_down_starts_an_owner_that_was_not_running_to_save_its_content(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    backend.owner.state = "exited"
    await down(ctx)
    assert backend.volume


async def test_reset_forgets_the_content_and_keeps_a_last_snapshot(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    backend.owner.content["post"].append("gone")
    await reset(ctx)
    await up(ctx)
    assert backend.owner.content == {"post": ["first"]}
    assert [saved.reason for saved in ctx.store.snapshots()] == ["before-reset"]


async def test_reset_works_on_a_broken_stack(ctx: Context, backend: FakeBackend) -> None:
    await up(ctx)
    backend.fail["snapshot"] = DevenvError("no snapshot", "corrupt", "none")
    await reset(ctx)
    assert backend.containers == []


async def test_an_instance_that_never_answers_is_an_error_with_its_log(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.engine.settle._ANSWER", 0.0)
    await up(ctx)
    backend.owner.answers = False
    with pytest.raises(DevenvError, match="does not answer") as silent:
        await up(ctx)
    assert silent.value.log_tail == "the last line"


async def test_an_instance_that_ends_again_and_again_is_an_error_in_its_own_words(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.engine.settle._ANSWER", 0.0)
    await up(ctx)
    backend.owner.answers = False
    true = backend.instances
    words = {"error": "it is not there", "why": "it is gone", "next": "devenv recover"}

    async def instances(*, ask_gates: bool = True) -> list[Instance]:
        return [replace(one, failed=words) for one in await true(ask_gates=ask_gates)]

    monkeypatch.setattr(backend, "instances", instances)
    with pytest.raises(DevenvError, match="it is not there") as failed:
        await up(ctx)
    assert (failed.value.why, failed.value.next_step) == ("it is gone", "devenv recover")


async def test_an_instance_that_is_started_again_since_it_waits_in_vain_is_asked_once(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes ends the container of one whose hook has failed."""
    await up(ctx)
    backend.owner.role = "fresh"
    [waiting] = [one for one in backend.containers if one.service == "php-fpm"]
    asked = []

    async def hook(instance: Instance) -> None:
        asked.append(instance.name)
        waiting.state = "restarting" if waiting.state == "running" else "running"
        raise DevenvError("the instance that has the content is not there", "it is gone", "devenv recover")

    monkeypatch.setattr(backend, "hook", hook)
    with pytest.raises(DevenvError, match="the instance that has the content is not there"):
        await settle(ctx)
    assert asked == [waiting.name]


async def test_status_tells_without_touching(ctx: Context, backend: FakeBackend, told: Told) -> None:
    assert await content.status(ctx) == 1
    await up(ctx)
    backend.calls.clear()
    assert await content.status(ctx) == 0
    assert backend.calls == ["instances"]
    [_, now] = told.of(Answer)
    assert isinstance(now, Answer)
    assert now.data["serves"]
    assert now.data["release"] == "v1"


async def test_a_restored_snapshot_replaces_the_content_and_saves_it_first(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    await content.save(ctx)
    backend.owner.content["post"].append("later")
    await content.restore(ctx, content.find_snapshot(ctx, "latest"))
    assert backend.owner.content == {"post": ["first"]}
    assert [saved.reason for saved in ctx.store.snapshots()] == ["saved", "before-restore"]


def test_only_automatic_snapshots_are_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(KEPT + 3):
        for reason in ("saved", "down"):
            store.new_snapshot("compose", reason, f"v{number}").touch()
    store.prune()
    kept = store.snapshots()
    assert len([saved for saved in kept if saved.reason == "saved"]) == KEPT + 3
    down = [saved.release for saved in kept if saved.reason == "down"]
    assert down == [f"v{number}" for number in range(3, KEPT + 3)]


def test_those_of_one_place_and_reason_do_not_push_out_those_of_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place, reason in (("kind", "down"), ("cluster-1", "down"), ("compose", "down")):
        store.new_snapshot(place, reason, "v1").touch()
    for _ in range(KEPT + 3):
        store.new_snapshot("compose", "before-upgrade", "v1").touch()
    store.prune()
    kept = [(saved.place, saved.reason) for saved in store.snapshots()]
    assert [one for one in kept if one[1] == "down"] == [
        ("kind", "down"),
        ("cluster-1", "down"),
        ("compose", "down"),
    ]
    assert kept.count(("compose", "before-upgrade")) == KEPT


def test_snapshots_of_an_earlier_devenv_are_still_found_and_pruned(tmp_path: Path) -> None:
    """Their names tell of no place."""
    store = Store(tmp_path)
    new = store.new_snapshot("compose", "down", "v1_2")
    new.touch()
    for number in range(KEPT + 3):
        (new.parent / f"2016{number:04}_down_v1_2.tar").touch()
    store.prune()
    kept = store.snapshots()
    assert [(saved.place, saved.reason, saved.release) for saved in kept[-2:]] == [
        ("", "down", "v1_2"), ("compose", "down", "v1_2")
    ]  # fmt: skip
    assert len(kept) == KEPT + 1


async def test_work_in_one_place_never_takes_what_the_next_start_in_another_begins_with(
    ctx: Context, backend: FakeBackend
) -> None:
    """The last `down` there saved the only copy, here by an earlier devenv, which tells of no place."""
    (folder := ctx.store.folder / "snapshots").mkdir(parents=True)
    awaited = folder / "20160101T000000.000000_before-upgrade_v1.tar"
    waits = ctx.store.cluster("kind") / RESTORE
    waits.parent.mkdir()
    waits.write_text(f"{awaited}\n")
    for number in range(KEPT + 3):
        (folder / f"201601{number:02}T000000.000000_before-upgrade_v1.tar").touch()
    awaited.touch()
    await up(ctx)
    await content.save(ctx)
    await content.restore(ctx, content.find_snapshot(ctx, "latest"))
    assert awaited.exists()
    # Once it has been restored it is one of many.
    waits.unlink()
    await content.restore(ctx, content.find_snapshot(ctx, "latest"))
    assert not awaited.exists()


def test_nothing_is_pruned_while_it_cannot_be_read_what_a_start_begins_with(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.cluster("kind") / RESTORE).mkdir(parents=True)  # reading it is an error of the disk
    for _ in range(KEPT + 3):
        store.new_snapshot("compose", "down", "v1").touch()
    store.prune()
    assert len(store.snapshots()) == KEPT + 3


def test_content_that_exists_nowhere_else_is_never_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(KEPT + 3):
        store.new_snapshot("compose", FORK, "v1").touch()
    store.prune()
    assert len(store.snapshots()) == KEPT + 3


@pytest.mark.parametrize(
    "release", ["../../../.bashrc", "/etc/passwd", "a/../b", "a\0b", "x" * 5000, "", ".."]
)
def test_what_an_instance_calls_itself_leads_to_no_other_folder(tmp_path: Path, release: str) -> None:
    store = Store(tmp_path)
    path = store.new_snapshot("compose", "down", release)
    path.touch()
    assert path.resolve().parent == tmp_path / "snapshots"
    assert [saved.path for saved in store.snapshots()] == [path]


async def test_status_names_the_action_that_is_at_work_instead_of_guessing(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    backend.add("php-fpm", "v2", role="incoming")
    with ctx.store.locked("upgrade"):
        await content.status(ctx)
    await content.status(ctx)
    during, after = (event.data for event in told.of(Answer))  # type: ignore[attr-defined]
    assert "devenv upgrade" in during["at_work"]
    assert not during["problem"]
    assert not after["at_work"]
    assert "interrupted" in after["problem"]


def test_two_actions_at_once_are_refused_and_the_second_names_the_first(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    with first.locked("upgrade"), pytest.raises(DevenvError, match="devenv upgrade"), second.locked("up"):
        pass
    with second.locked("up"):
        pass


def test_who_only_looks_at_the_lock_keeps_no_action_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` holds the lock for a moment, to see whether anybody else does."""
    # That moment is far shorter than a thread here may take to end it.
    monkeypatch.setattr(store_module, "_PATIENCE", 5)
    store = Store(tmp_path)
    with store.locked("down"):
        pass
    with (tmp_path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with store.locked("upgrade"):
            assert "devenv upgrade" in Store(tmp_path).at_work()


def test_an_action_that_is_done_is_not_named_any_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked("down"):
        pass
    with (tmp_path / "lock").open() as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)  # it has not written its words yet
        with pytest.raises(DevenvError, match="it has just started"), store.locked("up"):
            pass


async def test_reset_says_that_nobody_could_tell_what_was_there(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    backend.owner.answers = False
    await reset(ctx)
    assert any("does not say what it holds" in one.text for one in told.of(Notice) if isinstance(one, Notice))
    assert ctx.store.snapshots() == []


async def test_a_down_names_what_somebody_else_keeps(ctx: Context, backend: FakeBackend, told: Told) -> None:
    await up(ctx)
    backend.kept = [Kept("the network devenv_default", "blog-1", content=False)]
    await down(ctx)
    [warning] = [one.text for one in told.of(Notice) if one.level == "warning"]  # type: ignore[attr-defined]
    assert warning == "the network devenv_default is still there: blog-1 uses it"


async def test_a_reset_that_leaves_saved_content_is_none_and_says_who_keeps_it(
    ctx: Context, backend: FakeBackend
) -> None:
    await up(ctx)
    backend.kept = [Kept("the volume devenv_snapshots", "blog-1", content=True)]
    with pytest.raises(DevenvError, match="what was saved is not gone") as failed:
        await reset(ctx)
    assert "blog-1 uses it" in failed.value.why
    backend.kept = []
    await reset(ctx)
