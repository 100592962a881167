"""The side that has the database: its lease, what it refuses, and how it lets go."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devenv.handover import changes, database, snapshot
from devenv.handover import record as records
from devenv.handover.owner import TRIES, Owner
from devenv.handover.placement import Placement
from devenv.handover.problem import Problem
from devenv.handover.record import Role, Successor
from devenv.handover.settings import Settings
from devenv.handover.states import State
from devenv.handover.successor import Course
from devenv.handover.wire import Reply, Request
from tests.unit.handover.fakes import LEASE, Crash, FakeInstance, FakeServers, at_effect

Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
async def instance(settings: Settings, sql: Sql) -> FakeInstance:
    sql(settings.database, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('one')")
    return FakeInstance(settings)


@pytest.fixture
async def owner(instance: FakeInstance) -> Owner:
    return Owner(instance)  # type: ignore[arg-type]


def ask(verb: str, body: bytes = b"", token: str = "t1", **fields: Any) -> Request:
    return Request(verb, {"token": token, "format": 1, **fields}, body, "127.0.0.7")


def claim(token: str = "t1", uid: str = "next") -> Request:
    return ask("lease", token=token, uid=uid, release="v2", port=9000, control=9010)


async def hand_over(owner: Owner, token: str = "t1") -> tuple[Reply, Reply]:
    """All that a successor asks, to the end."""
    await owner.claim(claim(token))
    pages = await owner.pages(ask("pages", token=token))
    return pages, await owner.complete(ask("complete", token=token, sha256=pages.fields["sha256"]))


async def test_a_copy_is_whole_and_says_whose_it_is(owner: Owner, sql: Sql) -> None:
    reply = await owner.copy(ask("copy"))
    assert isinstance(reply.body, Path)
    assert sql(reply.body, "SELECT text FROM note") == [("one",)]
    assert (reply.fields["lineage"], reply.fields["epoch"], reply.fields["damage"]) == ("line", 4, [])
    assert reply.fields["size"] == reply.body.stat().st_size


def given_away(instance: FakeInstance) -> list[str]:
    """Files for successors that are still there."""
    return [path.name for path in instance.settings.state.glob(".devenv-scratch-*/*") if path.name != "lock"]


async def test_what_could_not_be_made_for_a_successor_takes_no_room(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await owner.claim(claim())
    for place, name in ((database, "check"), (database, "write_difference"), (changes, "pack")):
        monkeypatch.setattr(place, name, full)
    for verb in (owner.copy, owner.pages, owner.changes):
        with pytest.raises(OSError):
            await verb(ask("…", b"{}"))
    assert given_away(instance) == []


async def test_a_copy_of_what_was_never_written_is_empty(owner: Owner, instance: FakeInstance) -> None:
    instance.settings.database.unlink()
    reply = await owner.copy(ask("copy"))
    assert reply.fields["size"] == 0
    assert not instance.settings.database.exists()


async def test_a_lease_closes_before_it_is_answered(owner: Owner, instance: FakeInstance) -> None:
    reply = await owner.claim(claim())
    assert reply.fields["seconds"] == LEASE
    assert instance.steps == ["close"]
    assert instance.state is State.CLOSED
    assert instance.phases() == ["closing", "closed"]


async def test_the_course_to_its_end_moves_and_relays_to_the_address_that_asked(
    owner: Owner, instance: FakeInstance
) -> None:
    _, completed = await hand_over(owner)
    assert (completed.fields["lineage"], completed.fields["epoch"]) == ("line", 4)
    assert instance.record.role is Role.MOVED
    assert instance.record.successor == Successor("next", "127.0.0.7:9000", "127.0.0.7:9010", "t1")
    assert instance.steps == ["close", "hand over", "relay"]
    assert instance.settings.database.stat().st_mode & 0o222 == 0


async def test_the_move_is_on_the_disk_when_it_is_answered(owner: Owner, instance: FakeInstance) -> None:
    await hand_over(owner)
    loaded = records.load(instance.settings.state / "record.json")
    assert loaded == instance.record
    assert loaded is not None
    assert loaded.role is Role.MOVED


async def test_pages_make_an_old_copy_the_frozen_file(
    owner: Owner, instance: FakeInstance, tmp_path: Path, sql: Sql
) -> None:
    copy = (await owner.copy(ask("copy"))).body
    assert isinstance(copy, Path)
    sql(
        instance.settings.database,
        "INSERT INTO note VALUES ('two')",
        "CREATE TABLE more AS SELECT randomblob(90000)",
    )
    await owner.claim(claim())
    pages = await owner.pages(ask("pages", database.block_hashes(copy)))
    assert isinstance(pages.body, Path)
    database.apply_difference(copy, pages.body, pages.fields["size"])
    assert database.sha256(copy) == pages.fields["sha256"] == database.sha256(instance.settings.database)


# What needs a lease


@pytest.mark.parametrize("verb", ["renew", "pages", "changes", "complete"])
async def test_nothing_is_given_and_nothing_ends_without_a_lease(
    owner: Owner, instance: FakeInstance, verb: str
) -> None:
    with pytest.raises(Problem, match="the lease is over") as caught:
        await getattr(owner, verb)(ask(verb, b"{}", sha256=""))
    assert not caught.value.final
    assert instance.record.role is Role.OWNER
    assert instance.steps == []


@pytest.mark.parametrize("verb", ["renew", "pages", "changes", "complete"])
async def test_the_lease_of_another_is_no_lease(owner: Owner, instance: FakeInstance, verb: str) -> None:
    await owner.claim(claim("t1"))
    sha256 = database.sha256(instance.settings.database)
    with pytest.raises(Problem, match="the lease is over"):
        await getattr(owner, verb)(ask(verb, b"{}", token="t2", sha256=sha256))
    assert instance.record.role is Role.OWNER


async def test_changes_are_given_early_to_whoever_asks_but_only_most_of_them(owner: Owner) -> None:
    assert (await owner.changes(ask("changes", b"{}", early=True))).body


async def test_a_second_successor_is_told_that_it_is_busy_and_disturbs_nothing(
    owner: Owner, instance: FakeInstance
) -> None:
    await owner.claim(claim("t1"))
    with pytest.raises(Problem, match="another successor has the lease") as caught:
        await owner.claim(claim("t2", "third"))
    assert not caught.value.final
    pages = await owner.pages(ask("pages", token="t1"))
    await owner.complete(ask("complete", token="t1", sha256=pages.fields["sha256"]))
    assert instance.record.successor is not None
    assert instance.record.successor.uid == "next"


async def test_a_second_successor_is_busy_also_while_the_first_waits_for_the_drain(
    owner: Owner, instance: FakeInstance
) -> None:
    instance.servers.gate.clear()
    first = asyncio.create_task(owner.claim(claim("t1")))
    await asyncio.sleep(0.01)
    for token in ("t2", "t1"):
        with pytest.raises(Problem, match="another successor has the lease"):
            await owner.claim(claim(token))
    instance.servers.gate.set()
    await first
    assert instance.steps == ["close"]


async def test_a_lease_that_is_asked_for_again_by_its_holder_is_the_same_one(
    owner: Owner, instance: FakeInstance
) -> None:
    await owner.claim(claim())
    lease = owner.lease
    await owner.claim(claim())
    assert owner.lease is lease
    assert instance.steps == ["close"]


# How a lease ends


async def wait_for(condition: Callable[[], bool], timeout: float = 2) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_a_lease_without_a_word_ends_and_the_owner_serves_again(
    owner: Owner, instance: FakeInstance
) -> None:
    started = time.monotonic()
    await owner.claim(claim())
    await wait_for(lambda: instance.state is State.OPEN)
    assert time.monotonic() - started >= LEASE
    assert owner.lease is None
    assert instance.steps == ["close", "open"]


async def test_a_word_renews_the_lease(owner: Owner, instance: FakeInstance) -> None:
    await owner.claim(claim())
    started = time.monotonic()
    while time.monotonic() - started < LEASE * 2.5:
        await owner.renew(ask("renew"))
        await asyncio.sleep(LEASE / 5)
    assert instance.state is State.CLOSED
    await wait_for(lambda: instance.state is State.OPEN)


async def test_words_of_others_do_not_renew_it(owner: Owner, instance: FakeInstance) -> None:
    await owner.claim(claim())
    started = time.monotonic()
    while instance.state is State.CLOSED and time.monotonic() - started < 2:
        for call in (owner.renew(ask("renew", token="t2")), owner.claim(claim("t2"))):
            try:
                await call
            except Problem:
                continue
            break
        await asyncio.sleep(LEASE / 10)
    assert time.monotonic() - started < LEASE * 3


async def test_after_the_end_of_a_lease_nothing_of_it_is_good_any_more(
    owner: Owner, instance: FakeInstance
) -> None:
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))
    await wait_for(lambda: instance.state is State.OPEN)
    with pytest.raises(Problem, match="the lease is over"):
        await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert instance.record.role is Role.OWNER


async def test_an_end_that_nobody_has_acted_upon_yet_is_an_end(owner: Owner, instance: FakeInstance) -> None:
    """The machine slept: the lease is past its time, the task that opens has not run."""
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))
    assert owner.lease is not None
    owner.lease.expires = time.monotonic() - 0.001
    with pytest.raises(Problem, match="it has just ended"):
        await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert instance.record.role is Role.OWNER


async def test_pages_of_a_lease_do_not_complete_the_next_one(
    owner: Owner, instance: FakeInstance, sql: Sql
) -> None:
    """A write that was acknowledged between the two must not be left behind."""
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))
    await owner.release(ask("release"))
    sql(instance.settings.database, "INSERT INTO note VALUES ('acknowledged')")
    await owner.claim(claim())
    with pytest.raises(Problem, match="another database than the one it was given"):
        await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert instance.record.role is Role.OWNER


async def test_a_lease_that_ends_while_its_pages_are_read_is_not_completed(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = database.write_difference

    def slow(*arguments: Any) -> Any:
        time.sleep(LEASE * 2)
        return true(*arguments)

    monkeypatch.setattr(database, "write_difference", slow)
    await owner.claim(claim())
    with pytest.raises(Problem, match="the lease is over"):
        await owner.pages(ask("pages"))
    assert instance.state is State.OPEN
    assert given_away(instance) == []


async def test_a_released_lease_opens_at_once_and_only_for_its_holder(
    owner: Owner, instance: FakeInstance
) -> None:
    await owner.claim(claim())
    await owner.release(ask("release", token="t2"))
    assert instance.state is State.CLOSED
    await owner.release(ask("release", why="it changed its mind"))
    assert instance.state is State.OPEN
    await owner.release(ask("release"))
    assert instance.steps == ["close", "open"]


async def test_a_late_release_does_not_undo_a_move(owner: Owner, instance: FakeInstance) -> None:
    await hand_over(owner)
    await owner.release(ask("release"))
    await asyncio.sleep(LEASE * 1.5)
    assert (instance.record.role, instance.state) == (Role.MOVED, State.RELAYING)


# What a drain can meet


async def test_requests_that_do_not_end_open_again_are_named_and_end_it_after_a_few_tries(
    owner: Owner, instance: FakeInstance
) -> None:
    class Ending(FakeServers):
        async def drained(self, budget: float) -> bool:
            return instance.state is State.OPEN

    instance.servers = Ending()
    instance.servers.at_work = 1
    for number in range(1, TRIES + 1):
        with pytest.raises(Problem, match="GET /slow/0") as caught:
            await owner.claim(claim())
        assert caught.value.error == "requests do not end"
        assert caught.value.final == (number == TRIES)
        assert instance.state is State.OPEN
    with pytest.raises(Problem) as caught:
        await owner.claim(claim())
    assert caught.value.final
    assert instance.steps == ["close", "open"] * TRIES
    assert owner.lease is None
    # Another upgrade has its own tries.
    instance.servers = FakeServers()
    await owner.claim(claim("t2"))


async def test_what_an_earlier_drain_left_is_waited_for_while_others_are_served(
    owner: Owner, instance: FakeInstance
) -> None:
    instance.servers.at_work = 2
    with pytest.raises(Problem, match="requests do not end") as caught:
        await owner.claim(claim())
    assert not caught.value.final
    assert instance.steps == []


async def test_a_shell_program_that_does_not_end_holds_nobody_and_is_told(
    owner: Owner, instance: FakeInstance
) -> None:
    from devenv.handover.shell import shared

    with shared(instance.settings.state):
        with pytest.raises(Problem, match="a program in the instance uses the database"):
            await owner.claim(claim())
        assert instance.steps == []
    await owner.claim(claim())


async def test_a_database_that_cannot_be_frozen_is_served_on(owner: Owner, instance: FakeInstance) -> None:
    instance.settings.database.write_bytes(b"this is no database" * 1000)
    with pytest.raises(Problem, match="the database cannot be read"):
        await owner.claim(claim())
    assert instance.steps == ["close", "open"]
    assert owner.lease is None


async def test_after_a_refused_claim_programs_may_use_the_database_again(
    owner: Owner, instance: FakeInstance
) -> None:
    from devenv.handover.shell import ShellLock

    instance.settings.database.write_bytes(b"this is no database" * 1000)
    with pytest.raises(Problem):
        await owner.claim(claim())
    ShellLock(instance.settings.state).acquire(0)


# The move


async def test_a_completion_can_be_asked_again_when_its_answer_was_lost(
    owner: Owner, instance: FakeInstance
) -> None:
    pages, first = await hand_over(owner)
    steps = list(instance.steps)
    again = await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert again.fields == first.fields
    assert instance.steps == steps


async def test_a_completion_can_be_asked_again_of_an_owner_that_was_restarted(
    owner: Owner, instance: FakeInstance
) -> None:
    pages, first = await hand_over(owner)
    restarted = FakeInstance(instance.settings)
    loaded = records.load(instance.settings.state / "record.json")
    assert loaded is not None
    restarted.record = loaded
    again = await Owner(restarted).complete(ask("complete", sha256=pages.fields["sha256"]))  # type: ignore[arg-type]
    assert again.fields == first.fields


async def test_an_owner_that_was_restarted_knows_no_old_lease(owner: Owner, instance: FakeInstance) -> None:
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))
    restarted = FakeInstance(instance.settings)
    with pytest.raises(Problem, match="the lease is over"):
        await Owner(restarted).complete(ask("complete", sha256=pages.fields["sha256"]))  # type: ignore[arg-type]
    assert restarted.record.role is Role.OWNER


async def test_a_completion_is_answered_only_to_the_one_that_it_moved_to(owner: Owner) -> None:
    pages, _ = await hand_over(owner)
    with pytest.raises(Problem):
        await owner.complete(ask("complete", token="t2", sha256=pages.fields["sha256"]))


async def test_a_move_that_cannot_be_written_down_is_no_move(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(records, "save", full)
        with pytest.raises(OSError, match="No space"):
            await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert instance.record.role is Role.OWNER
    await wait_for(lambda: instance.state is State.OPEN)


@pytest.mark.parametrize("step", ["chmod", "relay", "journal"])
async def test_whatever_fails_after_the_move_was_written_down_it_is_never_answered_by_a_refusal(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A refused successor throws its database away, and then nobody would have it."""
    await owner.claim(claim())
    pages = await owner.pages(ask("pages"))

    def fail(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if step == "chmod":
        monkeypatch.setattr(Path, "chmod", fail)
    elif step == "relay":
        monkeypatch.setattr(instance, "relay_to", fail)
    else:
        instance.journal._file.close()
        instance.journal._file = Path("/dev/full").open("ab", buffering=0)
    completed = await owner.complete(ask("complete", sha256=pages.fields["sha256"]))
    assert completed.fields["epoch"] == 4
    assert instance.record.role is Role.MOVED
    if step != "relay":
        assert instance.steps[-1] == "relay"


@pytest.mark.parametrize("verb", ["copy", "claim"])
async def test_an_instance_that_has_moved_gives_nothing_more(owner: Owner, verb: str) -> None:
    await hand_over(owner)
    with pytest.raises(Problem, match="cannot hand a database over") as caught:
        await getattr(owner, verb)(claim("t2"))
    assert not caught.value.final


@pytest.mark.parametrize("state", [State.STARTING, State.INCOMING, State.ENDING])
async def test_an_owner_that_does_not_serve_gives_nothing(
    owner: Owner, instance: FakeInstance, state: State
) -> None:
    instance.state = state
    for call in (owner.copy(ask("copy")), owner.claim(claim())):
        with pytest.raises(Problem, match="cannot hand a database over"):
            await call


async def test_one_that_relays_follows_the_owner_of_its_own_database_only(
    owner: Owner, instance: FakeInstance
) -> None:
    await hand_over(owner)
    on = {"uid": "third", "address": "127.0.0.9:9000", "control": "127.0.0.9:9010"}
    await owner.moved(ask("moved", lineage="another", **on))
    assert instance.record.successor is not None
    assert instance.record.successor.uid == "next"
    await owner.moved(ask("moved", lineage="line", **on))
    # The token stays: the first successor may still ask for its answer.
    assert instance.record.successor == Successor("third", "127.0.0.9:9000", "127.0.0.9:9010", "t1")


async def test_an_owner_does_not_follow_anybody(owner: Owner, instance: FakeInstance) -> None:
    await owner.moved(
        ask("moved", lineage="line", uid="x", address="127.0.0.9:9000", control="127.0.0.9:9010")
    )
    assert instance.record.successor is None


async def test_the_fingerprint_after_the_next_move_is_not_that_of_the_one_before(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that took its database back hands it over a second time."""
    given = iter(["first", "second"])

    async def compute() -> dict[str, Any]:
        return {"total": next(given)}

    monkeypatch.setattr(owner, "_compute_fingerprint", compute)
    await hand_over(owner)
    for _ in range(2):
        assert (await owner.fingerprint(ask("fingerprint"))).fields["fingerprint"]["total"] == "first"
    instance.settings.database.chmod(0o644)
    instance.make("take back", token="t")
    instance.make("take over", successor=None, epoch=6)
    instance.open()
    await hand_over(owner, "t2")
    assert (await owner.fingerprint(ask("fingerprint"))).fields["fingerprint"]["total"] == "second"


# Restoring in place


@pytest.fixture
def saved(instance: FakeInstance) -> Path:
    assert instance.settings.snapshots is not None
    return instance.settings.snapshots / str(snapshot.save(instance.settings, instance.record)["file"])


def notes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM note ORDER BY rowid")]


async def test_a_restored_snapshot_begins_a_lineage(
    owner: Owner, instance: FakeInstance, saved: Path, sql: Sql
) -> None:
    sql(instance.settings.database, "INSERT INTO note VALUES ('two')")
    await owner.restore(saved)
    assert notes(instance.settings.database) == ["one"]
    assert instance.record.lineage not in ("", "line")
    assert (instance.record.role, instance.state) == (Role.OWNER, State.OPEN)


@pytest.mark.parametrize("step", [(snapshot, "stage"), (Placement, "put")])
async def test_nobody_gets_a_lease_while_a_snapshot_is_put_in_place(
    owner: Owner, instance: FakeInstance, saved: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    """The end of the restoring opens: under a lease that would lose what is written then."""
    true = getattr(*step)
    inside = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(inside.set)
        time.sleep(0.1)
        return true(*arguments)

    monkeypatch.setattr(*step, slow)
    restoring = asyncio.create_task(owner.restore(saved))
    await inside.wait()
    with pytest.raises(Problem) as caught:
        await owner.claim(claim())
    assert not caught.value.final
    await restoring
    assert instance.state is State.OPEN
    await owner.claim(claim())
    assert instance.state is State.CLOSED


async def test_two_snapshots_are_not_put_in_place_at_once(
    owner: Owner, instance: FakeInstance, saved: Path
) -> None:
    results = await asyncio.gather(owner.restore(saved), owner.restore(saved), return_exceptions=True)
    assert [isinstance(result, Problem) for result in results] == [False, True]
    assert instance.steps.count("close") == 1


async def test_an_owner_that_closes_for_another_reason_gives_no_lease(
    owner: Owner, instance: FakeInstance
) -> None:
    """At its end it drains and saves a snapshot: a lease that ends in the middle would open it again."""
    await instance.close(1)
    with pytest.raises(Problem) as caught:
        await owner.claim(claim())
    assert not caught.value.final
    assert instance.steps == ["close"]


async def test_a_damaged_snapshot_changes_nothing(
    owner: Owner, instance: FakeInstance, saved: Path, sql: Sql
) -> None:
    sql(instance.settings.database, "INSERT INTO note VALUES ('two')")
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(Problem, match="a snapshot cannot be used"):
        await owner.restore(saved)
    assert notes(instance.settings.database) == ["one", "two"]
    assert (instance.record.lineage, instance.state) == ("line", State.OPEN)


async def test_nothing_is_restored_under_a_lease(owner: Owner, instance: FakeInstance, saved: Path) -> None:
    await owner.claim(claim())
    with pytest.raises(Problem, match="a hand-over runs"):
        await owner.restore(saved)
    assert instance.state is State.CLOSED


def restarted(instance: FakeInstance) -> FakeInstance:
    """Another process with the same disk."""
    loaded = records.load(instance.settings.state / "record.json")
    again = FakeInstance(instance.settings)
    again.record, again.state = loaded or instance.record, State.STARTING
    return again


@pytest.mark.parametrize("kind", [Crash, OSError])
async def test_a_restore_that_fails_or_is_killed_at_any_effect_leaves_all_of_one_content(
    instance: FakeInstance,
    saved: Path,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
) -> None:
    """The old one or the new one, database and folders; never a mixture."""
    database_file, folder = instance.settings.database, instance.settings.writable[0].path / "uploads"
    (folder / "file").write_bytes(b"old upload")
    first = notes(database_file)
    seen = set()
    for number in range(1, 200):
        changes.remove(instance.settings.staging)
        changes.remove(instance.settings.state / "aside")
        changes.remove(folder)
        folder.mkdir()
        (folder / "file").write_bytes(b"old upload")
        database_file.unlink()
        sql(database_file, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('old')")
        now = FakeInstance(instance.settings)
        now.write_record(sha256=str(number))
        with at_effect(number, kind(), monkeypatch):
            try:
                await Owner(now).restore(saved)  # type: ignore[arg-type]
            except (kind, SystemExit):
                pass
            else:
                assert seen == {"old", "new"}
                return
        if kind is Crash or "die" in now.steps:
            now = restarted(now)
            await Course(now).run()  # type: ignore[arg-type]
        content = notes(database_file), (folder / "file").exists()
        assert content in ((["old"], True), (first, False)), f"at effect {number}: {now.steps}"
        seen.add("old" if content[1] else "new")
        assert (now.record.lineage == "line") is content[1], f"at effect {number}"
        assert now.state is State.OPEN, f"at effect {number}"
    raise AssertionError("it has no end")


async def test_an_owner_does_not_open_again_once_its_end_has_begun(
    owner: Owner, instance: FakeInstance
) -> None:
    await owner.claim(claim())
    instance.terminating = True
    owner.revoke()
    instance.make("end")
    await owner.release(ask("release"))
    owner._reopen("its lease is over")
    assert instance.state is State.ENDING
    assert "open" not in instance.steps
    assert "stays-closed" in instance.phases()


async def test_a_task_of_the_owner_that_fails_ends_the_process(
    owner: Owner, instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be closed for ever: nobody else ends a lease."""
    died: list[str] = []
    monkeypatch.setattr(instance, "die", died.append)

    def fail(why: str) -> None:
        raise RuntimeError("it cannot open")

    monkeypatch.setattr(owner, "_reopen", fail)
    await owner.claim(claim())
    await wait_for(lambda: bool(died))
    assert "it cannot open" in died[0]
