"""The side that fetches the database, against a real owner and real messages; only servers are missing."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devenv.handover import database, snapshot
from devenv.handover import mark as marks
from devenv.handover import record as records
from devenv.handover.attempt import Attempt
from devenv.handover.control import Server
from devenv.handover.discovery import View
from devenv.handover.instance import Instance
from devenv.handover.mark import Mark
from devenv.handover.owner import Owner
from devenv.handover.placement import Placement
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role, Successor
from devenv.handover.recovery import Recovery
from devenv.handover.settings import Settings, writable_folder
from devenv.handover.states import State
from devenv.handover.successor import LOOKS, Course
from devenv.handover.wire import Reply, Request
from tests.unit.handover.fakes import LEASE, Crash, FakeInstance, at_effect

Sql = Callable[..., list[tuple[object, ...]]]


class Relay:
    def __init__(self) -> None:
        self.accepting = True

    def stop_accepting(self) -> None:
        self.accepting = False


class OwnerSide:
    """The owner behind real messages. `before` and `after` a verb is acted upon things can happen."""

    def __init__(self, settings: Settings) -> None:
        self.instance = FakeInstance(settings)
        self.owner = Owner(self.instance)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self.server = Server(("127.0.0.1", 0), self.instance.secret, settings.deadlines, self._answer)
        self.control = ("127.0.0.1", int(self.server.server_address[1]))
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def _answer(self, request: Request) -> Reply:
        return asyncio.run_coroutine_threadsafe(self._do(request), self._loop).result()

    async def _do(self, request: Request) -> Reply:
        self.asked.append(request.verb)
        if act := self.before.get(request.verb):
            act()
        if request.verb == "status":
            reply = Reply(self.instance.status())
        elif request.verb == "fingerprint":
            reply = Reply({"fingerprint": {"total": "of the owner"}})
        else:
            verb = {"lease": "claim"}.get(request.verb, request.verb)
            reply = await getattr(self.owner, verb)(request)
        if act := self.after.get(request.verb):
            act()
        return reply


def lost() -> None:
    """The connection breaks: OSError in a handler closes it without an answer."""
    raise ConnectionResetError


def once(act: Callable[[], None]) -> Callable[[], None]:
    left = [act]
    return lambda: left.pop()() if left else None


@pytest.fixture
async def old(settings: Settings, sql: Sql) -> AsyncIterator[OwnerSide]:
    sql(settings.database, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('one')")
    (settings.writable[0].path / "uploads" / "file").write_bytes(b"upload")
    it = OwnerSide(settings)
    yield it
    it.server.shutdown()
    it.server.server_close()


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    """Where the new instance has its files."""
    data = tmp_path / "new/data"
    state = data / ".gate"
    state.mkdir(parents=True)
    here = writable_folder(data, tmp_path / "new", tmp_path / "pristine", data / "database.sqlite", state)
    return replace(
        settings,
        release="v2",
        database=data / "database.sqlite",
        state=data / ".gate",
        root=tmp_path / "new",
        writable=(here,),
        snapshots=None,
        deadlines=replace(settings.deadlines, poll=0.01, hook=5.0, connect=1.0, reply=5.0),
    )


@pytest.fixture
async def new(place: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeInstance:
    async def warm_up(self: Course) -> int:
        return 200

    monkeypatch.setattr(Course, "_warm_up", warm_up)
    it = FakeInstance(place)
    it.record = Record(uid="new")
    it.state = State.STARTING
    return it


def sees(instance: FakeInstance, old: OwnerSide) -> FakeInstance:
    instance.view = View((old.instance.as_seen(old.control),), found_self=True)
    return instance


def course(instance: FakeInstance) -> Course:
    return Course(instance)  # type: ignore[arg-type]


def phases(instance: FakeInstance) -> list[str]:
    lines = instance.journal.path.read_text().splitlines()
    return [event["phase"] for event in map(json.loads, lines) if event["side"] == "successor"]


async def test_the_whole_course(old: OwnerSide, new: FakeInstance, sql: Sql) -> None:
    await course(sees(new, old)).run()
    assert phases(new) == [
        "discover",
        "found",
        "copy",
        "changes",
        "checked",
        "warmed",
        "lease",
        "leased",
        "pages",
        "verified",
        "installed",
        "completed",
        "opened",
        "fingerprint",
    ]
    assert sql(new.settings.database, "SELECT text FROM note") == [("one",)]
    assert (new.settings.writable[0].path / "uploads" / "file").read_bytes() == b"upload"
    assert (new.record.role, new.record.epoch, new.record.lineage) == (Role.OWNER, 5, "line")
    assert (new.record.token, new.record.staged) == ("", False)
    assert old.instance.record.role is Role.MOVED
    assert not new.settings.staging.exists()


async def test_what_was_written_after_the_copy_is_there(old: OwnerSide, new: FakeInstance, sql: Sql) -> None:
    def write() -> None:
        sql(old.instance.settings.database, "INSERT INTO note VALUES ('late')")
        (old.instance.settings.writable[0].path / "uploads" / "late").touch()

    old.before["lease"] = once(write)
    await course(sees(new, old)).run()
    assert sql(new.settings.database, "SELECT text FROM note") == [("one",), ("late",)]
    assert (new.settings.writable[0].path / "uploads" / "late").exists()


async def test_the_owner_has_moved_on_its_disk_before_the_new_one_owns(
    old: OwnerSide, new: FakeInstance
) -> None:
    true = new.make
    seen: list[Role] = []

    def make(name: str, **changes: Any) -> None:
        if name == "take over":
            other = records.load(old.instance.settings.state / "record.json")
            assert other is not None
            seen.append(other.role)
        true(name, **changes)

    new.make = make  # type: ignore[method-assign]
    await course(sees(new, old)).run()
    assert seen == [Role.MOVED]
    assert new.steps[-1] == "open"


@pytest.mark.parametrize("verb", ["status", "copy", "changes", "lease", "pages"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_that_breaks_before_completion_is_begun_again(
    old: OwnerSide, new: FakeInstance, verb: str, when: str
) -> None:
    getattr(old, when)[verb] = once(lost)
    await course(sees(new, old)).run()
    assert new.record.role is Role.OWNER
    assert old.instance.record.role is Role.MOVED


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_answer_to_completion_is_asked_for_again(
    old: OwnerSide, new: FakeInstance, when: str
) -> None:
    getattr(old, when)["complete"] = once(lost)
    await course(sees(new, old)).run()
    assert old.asked.count("complete") == 2
    assert old.asked.count("copy") == 1
    assert (new.record.role, new.record.epoch) == (Role.OWNER, 5)


async def killed_after_completion(old: OwnerSide, new: FakeInstance) -> FakeInstance:
    """The owner has moved, and the new one was killed before it had the answer; now it comes again."""
    old.after["complete"] = lost
    running = asyncio.create_task(course(sees(new, old)).run())
    while "complete" not in old.asked:
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.wait([running])
    old.after.clear()
    assert old.instance.record.role is Role.MOVED
    loaded = records.load(new.settings.state / "record.json")
    assert loaded is not None
    assert (loaded.role, loaded.staged) == (Role.INCOMING, True)
    again = FakeInstance(new.settings)
    again.record, again.state = loaded, State.STARTING
    return sees(again, old)


async def test_one_that_was_killed_before_it_had_the_answer_asks_again(
    old: OwnerSide, new: FakeInstance
) -> None:
    again = await killed_after_completion(old, new)
    await course(again).run()
    assert (again.record.role, again.record.epoch) == (Role.OWNER, 5)


async def test_one_that_comes_again_and_is_ended_at_once_does_not_drop_what_is_its_own(
    old: OwnerSide, new: FakeInstance
) -> None:
    """The owner has moved: if the new one dropped its claim now, nobody would own the database."""
    again = await killed_after_completion(old, new)
    again.terminating = True
    await course(again).run()
    assert (again.record.role, again.record.epoch) == (Role.OWNER, 5)


async def test_one_that_comes_again_and_cannot_install_keeps_its_claim(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = await killed_after_completion(old, new)

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Placement, "put", fail)
        with pytest.raises(OSError, match="Input/output"):
            await course(again).run()
    assert again.record.staged
    await course(again).run()
    assert again.record.role is Role.OWNER


async def test_a_recovery_that_cannot_install_leaves_it_asking_the_one_that_may_come_back(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = await killed_after_completion(old, new)
    recovery = Recovery(again, Attempt(again))  # type: ignore[arg-type]

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Placement, "put", fail)
        with pytest.raises(OSError, match="No space left"):
            await recovery.run(force=True)
        assert (again.record.role, again.record.staged) == (Role.INCOMING, True)
    async with asyncio.timeout(5):
        while again.record.role is not Role.OWNER:
            await asyncio.sleep(0.01)
    assert (again.record.role, again.record.epoch) == (Role.OWNER, 5)


async def test_one_that_is_ended_before_it_asks_takes_nothing_and_gives_the_lease_back(
    old: OwnerSide, new: FakeInstance
) -> None:
    old.before["pages"] = lambda: setattr(new, "terminating", True)
    with pytest.raises(Problem, match="this instance is ending"):
        await course(sees(new, old)).run()
    assert "complete" not in old.asked
    assert old.instance.record.role is Role.OWNER
    assert old.instance.state is State.OPEN
    assert not new.record.staged


async def test_if_it_cannot_be_installed_the_lease_is_given_back_at_once(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when it ends by itself: requests are held all that time."""

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Placement, "put", fail)
    with pytest.raises(OSError, match="Input/output"):
        await course(sees(new, old)).run()
    assert old.asked[-1] == "release"
    assert old.instance.state is State.OPEN
    assert not new.record.staged


async def test_a_folder_that_cannot_be_replaced_is_told_before_anybody_waits(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = new.settings.writable[0].path / "uploads"
    mount.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == mount)
    with pytest.raises(Problem, match="something is mounted in a writable folder"):
        await course(sees(new, old)).run()
    assert "lease" not in old.asked


async def test_a_copy_that_changed_on_the_way_is_not_completed(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = database.apply_difference

    def spoil(path: Path, difference: Path, size: int) -> None:
        true(path, difference, size)
        with path.open("r+b") as file:
            file.seek(size - 1)
            file.write(b"\x01")

    monkeypatch.setattr(database, "apply_difference", spoil)
    new.settings = replace(new.settings, deadlines=replace(new.settings.deadlines, hook=0.1))
    with pytest.raises(Problem, match="is not the owner's"):
        await course(sees(new, old)).run()
    assert "complete" not in old.asked
    assert old.instance.state is State.OPEN


async def test_a_release_that_cannot_serve_never_asks_for_a_lease(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Course) -> int:
        raise Problem("the new release cannot serve", "it answers 500", "look at its log")

    monkeypatch.setattr(Course, "_warm_up", broken)
    with pytest.raises(Problem, match="cannot serve"):
        await course(sees(new, old)).run()
    assert "lease" not in old.asked
    assert old.instance.steps == []


async def test_a_lease_that_ended_before_completion_begins_it_again_with_what_was_written_since(
    old: OwnerSide, new: FakeInstance, sql: Sql
) -> None:
    def over() -> None:
        old.owner.lease = None
        old.instance.open()
        old.owner._lock.release()
        sql(old.instance.settings.database, "INSERT INTO note VALUES ('acknowledged')")

    old.before["complete"] = once(over)
    await course(sees(new, old)).run()
    assert sql(new.settings.database, "SELECT text FROM note") == [("one",), ("acknowledged",)]
    assert old.asked.count("copy") == 2


async def test_nothing_to_hand_over_is_a_hand_over_too(old: OwnerSide, new: FakeInstance) -> None:
    old.instance.settings.database.unlink()
    await course(sees(new, old)).run()
    assert new.settings.database.stat().st_size == 0
    assert new.record.epoch == 5


async def test_an_owner_that_does_not_answer_for_as_long_as_the_hook_lasts_is_a_failure_that_changes_nothing(
    old: OwnerSide, new: FakeInstance
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        new.view = View((old.instance.as_seen(nobody.getsockname()),), found_self=True)
        new.settings = replace(new.settings, deadlines=replace(new.settings.deadlines, hook=0.1))
        with pytest.raises(Problem, match="the owner does not answer"):
            await course(new).run()
    assert not new.settings.database.exists()


# Taking it back


@pytest.fixture
async def moved(place: Settings, new: FakeInstance, sql: Sql) -> FakeInstance:
    """One that has handed its database to `old`, and relays to it."""
    sql(place.database, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('before the move')")
    successor = Successor("owner", "127.0.0.1:9000", "127.0.0.1:9010", "earlier")
    new.record = Record(uid="new", role=Role.MOVED, lineage="line", epoch=3, served=True, successor=successor)
    new.state = State.RELAYING
    new.relay = Relay()
    return new


async def test_one_that_moved_takes_it_back_from_the_one_that_ends(
    old: OwnerSide, moved: FakeInstance, sql: Sql
) -> None:
    await course(moved).run(taking_back=old.control)
    assert (moved.record.role, moved.record.epoch, moved.record.successor) == (Role.OWNER, 5, None)
    assert sql(moved.settings.database, "SELECT text FROM note") == [("one",)]
    assert not moved.relay.accepting


async def test_if_it_cannot_take_it_back_it_relays_as_before(
    old: OwnerSide, moved: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved.settings = replace(moved.settings, deadlines=replace(moved.settings.deadlines, hook=0.1))
    monkeypatch.setattr(
        database, "check", lambda path: (["damage"], "") if "incoming" in str(path) else ([], "")
    )
    with pytest.raises(Problem):
        await course(moved).run(taking_back=old.control)
    assert (moved.record.role, moved.steps[-1]) == (Role.MOVED, "relay")


async def test_one_that_was_killed_while_it_took_it_back_and_finds_nobody_can_be_recovered(
    old: OwnerSide, moved: FakeInstance
) -> None:
    """`recover` asks for one that has moved."""
    moved.record = moved.record.evolve(role=Role.INCOMING, token="t", predecessor="127.0.0.1:1")
    moved.view = View(found_self=True)
    moved.settings = replace(moved.settings, deadlines=replace(moved.settings.deadlines, hook=0.1))
    with pytest.raises(Problem, match="the owner of the database is gone"):
        await course(moved).run()
    assert (moved.record.role, moved.record.token, moved.steps[-1]) == (Role.MOVED, "", "relay")


async def test_one_that_has_moved_never_begins_anew_though_it_finds_nobody(moved: FakeInstance) -> None:
    moved.view = View(found_self=True)
    moved.settings = replace(moved.settings, deadlines=replace(moved.settings.deadlines, hook=0.1))
    with pytest.raises(Problem):
        await course(moved).run()
    assert moved.record.role is Role.MOVED


# A first deployment


async def test_the_first_one_believes_that_nobody_is_there_after_some_looks(new: FakeInstance) -> None:
    looks = []
    true = new.look

    async def look() -> View:
        looks.append(new.record.role)
        return await true()

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert looks == [Role.FRESH] * LOOKS + [Role.OWNER]
    assert (new.record.role, new.record.epoch, new.steps[-1]) == (Role.OWNER, 1, "open")


async def test_the_looks_begin_again_after_one_that_was_uncertain(new: FakeInstance) -> None:
    views = [View(found_self=True)] * (LOOKS - 1) + [View(silent=("10.0.0.9",))] + [View(found_self=True)] * 9
    seen: list[View] = []

    async def look() -> View:
        seen.append(views.pop(0))
        return seen[-1]

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert len(seen) == LOOKS - 1 + 1 + LOOKS + 1


def told(instance: FakeInstance, folder: Path, data: dict[str, str], **deadlines: float) -> FakeInstance:
    """It is in Kubernetes, where devenv tells this."""
    folder.mkdir()
    for name, text in data.items():
        (folder / name).write_text(text)
    wanted = replace(instance.settings.deadlines, **deadlines)
    instance.settings = replace(instance.settings, mark=folder, deadlines=wanted)
    return instance


OF_OWNER = {"owner.json": '{"uid": "other", "host": "pod-1", "release": "v1", "lineage": "x", "epoch": 3}'}


async def test_nothing_begins_anew_where_devenv_has_seen_an_owner_that_is_not_found(
    new: FakeInstance, tmp_path: Path
) -> None:
    told(new, tmp_path / "mark", OF_OWNER, absent=0.1)
    with pytest.raises(
        Problem, match=r"the instance that has the content is not there: pod-1 \(v1, epoch 3\)"
    ):
        await course(new).run()
    assert new.record.role is Role.FRESH
    assert not new.settings.database.exists()


async def test_an_owner_that_devenv_has_seen_is_waited_for(
    old: OwnerSide, new: FakeInstance, tmp_path: Path
) -> None:
    told(new, tmp_path / "mark", OF_OWNER, absent=4.0)
    views = [View(found_self=True)] * 3 * LOOKS

    async def look() -> View:
        return views.pop(0) if views else View((old.instance.as_seen(old.control),), found_self=True)

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert (new.record.lineage, new.record.epoch) == ("line", 5)


async def test_what_devenv_has_seen_stops_nobody_who_is_told_that_the_owner_is_gone_for_good(
    new: FakeInstance, tmp_path: Path
) -> None:
    told(new, tmp_path / "mark", OF_OWNER, names=30.0)
    forsaking = course(new)
    forsaking.forsaken = True
    await asyncio.wait_for(forsaking.run(), 5)
    assert (new.record.role, new.record.epoch) == (Role.OWNER, 1)


async def test_an_owner_that_comes_again_serves_whatever_devenv_has_seen_since(
    new: FakeInstance, tmp_path: Path
) -> None:
    """It is of an earlier owner, or of before a snapshot was restored."""
    instance = told(new, tmp_path / "mark", OF_OWNER)
    true = Instance(instance.settings, ["true"])
    true.record = Record(uid="mine", role=Role.OWNER, lineage="restored", epoch=1, served=True)
    assert true.superseded() is None
    true.listener.close()


async def test_names_that_may_be_old_are_believed_only_when_they_have_said_nobody_for_that_long(
    new: FakeInstance, tmp_path: Path
) -> None:
    told(new, tmp_path / "mark", {}, names=0.5)
    began = time.monotonic()
    await course(new).run()
    assert time.monotonic() - began >= 0.5
    assert phases(new)[:2] == ["discover", "waiting"]


async def test_one_that_was_not_certain_begins_that_time_anew(new: FakeInstance, tmp_path: Path) -> None:
    told(new, tmp_path / "mark", {}, names=0.5)
    uncertain, began = 0.4, time.monotonic()
    silent = iter([View(silent=("10.0.0.9",))])

    async def look() -> View:
        found = View(found_self=True)
        return next(silent, found) if time.monotonic() - began > uncertain else found

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert time.monotonic() - began >= uncertain + 0.5


async def test_with_devenvs_word_that_there_is_nobody_the_first_one_begins_at_once(
    new: FakeInstance, tmp_path: Path
) -> None:
    told(new, tmp_path / "mark", {"nobody-until": f"{time.time() + 60:.0f}"}, names=4.0)
    await asyncio.wait_for(course(new).run(), 2)
    assert (new.record.role, new.record.epoch) == (Role.OWNER, 1)


async def test_a_word_of_long_ago_spares_no_look(new: FakeInstance, tmp_path: Path) -> None:
    told(new, tmp_path / "mark", {"nobody-until": f"{time.time() - 1:.0f}"}, names=0.3)
    began = time.monotonic()
    await course(new).run()
    assert time.monotonic() - began >= 0.3


async def test_the_seed_is_what_a_first_one_begins_with(new: FakeInstance, tmp_path: Path, sql: Sql) -> None:
    sql(tmp_path / "seed", "CREATE TABLE seed (a)")
    new.settings = replace(new.settings, seed=tmp_path / "seed")
    await course(new).run()
    assert sql(new.settings.database, "SELECT name FROM sqlite_master") == [("seed",)]
    assert (tmp_path / "seed").exists()


async def test_a_database_on_the_disk_is_kept_and_never_discarded(
    new: FakeInstance, tmp_path: Path, sql: Sql
) -> None:
    sql(new.settings.database, "CREATE TABLE mine (a)")
    sql(tmp_path / "seed", "CREATE TABLE seed (a)")
    new.settings = replace(new.settings, seed=tmp_path / "seed")
    await course(new).run()
    assert sql(new.settings.database, "SELECT name FROM sqlite_master") == [("mine",)]
    assert new.record.served


async def test_a_database_on_the_disk_is_kept_though_another_one_was_first(
    old: OwnerSide, new: FakeInstance, sql: Sql
) -> None:
    """A person decides which of the two it is to be."""
    sql(new.settings.database, "CREATE TABLE mine (a)")
    views = [View(found_self=True)] * LOOKS

    async def look() -> View:
        return views.pop(0) if views else View((old.instance.as_seen(old.control),), found_self=True)

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert sql(new.settings.database, "SELECT name FROM sqlite_master") == [("mine",)]


async def test_the_newest_snapshot_goes_on_in_its_line(old: OwnerSide, new: FakeInstance, sql: Sql) -> None:
    settings = old.instance.settings
    saved = snapshot.save(settings, old.instance.record)
    new.settings = replace(new.settings, snapshots=settings.snapshots)
    await course(new).run()
    assert (new.record.lineage, new.record.epoch) == ("line", 5)
    assert new.record.restored == {"file": saved["file"], "time": saved["time"]}
    assert sql(new.settings.database, "SELECT text FROM note") == [("one",)]


async def test_a_damaged_newest_snapshot_is_passed_over_and_that_is_told(
    old: OwnerSide, new: FakeInstance
) -> None:
    settings = old.instance.settings
    assert settings.snapshots is not None
    saved = snapshot.save(settings, old.instance.record)
    later = settings.snapshots / "29990101T000000Z-0005-v1.tar"
    later.write_bytes((settings.snapshots / saved["file"]).read_bytes()[:3000])
    new.settings = replace(new.settings, snapshots=settings.snapshots)
    await course(new).run()
    events = [json.loads(line) for line in new.journal.path.read_text().splitlines()]
    told = [event["file"] for event in events if event["phase"] == "passed-over"]
    assert told == [later.name]
    assert new.record.restored is not None
    assert new.record.restored["file"] == saved["file"]


async def test_if_another_was_first_what_was_begun_is_discarded_and_the_other_is_taken_from(
    old: OwnerSide, new: FakeInstance, sql: Sql
) -> None:
    views = [View(found_self=True)] * LOOKS

    async def look() -> View:
        return views.pop(0) if views else View((old.instance.as_seen(old.control),), found_self=True)

    new.look = look  # type: ignore[method-assign]
    await course(new).run()
    assert (new.record.lineage, new.record.epoch) == ("line", 5)
    assert sql(new.settings.database, "SELECT text FROM note") == [("one",)]


async def test_what_was_begun_after_another_is_discarded_even_by_a_restart_in_between(
    old: OwnerSide, new: FakeInstance, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not taken for a database that somebody has put there, which would be kept."""
    views = [View(found_self=True)] * LOOKS
    seen = View((old.instance.as_seen(old.control),), found_self=True)

    async def look() -> View:
        return views.pop(0) if views else seen

    def killed(self: Course) -> None:
        raise KeyboardInterrupt

    sql(new.settings.database.with_name("seed"), "CREATE TABLE seed (a)")
    new.settings = replace(new.settings, seed=new.settings.database.with_name("seed"))
    new.look = look  # type: ignore[method-assign]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Course, "_discard", killed)
        await course(new).run()
    assert new.settings.database.exists()
    again = restarted(new)
    again.view = View(found_self=True)
    await course(again).run()
    assert again.record.lineage not in ("line", new.record.lineage)
    assert sql(again.settings.database, "SELECT name FROM sqlite_master") == [("seed",)]
    assert not again.record.discard


def restarted(instance: FakeInstance) -> FakeInstance:
    """Another process with the same disk."""
    loaded = records.load(instance.settings.state / "record.json")
    assert loaded is not None
    again = FakeInstance(instance.settings)
    again.record, again.state = loaded, State.STARTING
    return again


async def test_a_first_start_that_is_killed_at_any_effect_begins_with_all_of_the_snapshot(
    old: OwnerSide, new: FakeInstance, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders and database are one: uploads must not be missing because the database came first."""
    settings = old.instance.settings
    saved = snapshot.save(settings, old.instance.record)
    assert settings.snapshots is not None
    mark = Mark("owner", "host", "v1", "line", 4, saved["file"])
    marks.save(settings.snapshots, mark)
    new.settings = replace(new.settings, snapshots=settings.snapshots)
    for number in range(1, 200):
        shutil.rmtree(new.settings.database.parent)
        new.settings.state.mkdir(parents=True)
        new.record, new.state = Record(uid="new"), State.STARTING
        with at_effect(number, Crash(), monkeypatch):
            try:
                await course(new).run()
            except Crash:
                pass
            else:
                assert number > 10
                return
        again = FakeInstance(new.settings)
        again.record = records.load(new.settings.state / "record.json") or Record(uid="new")
        again.state, again.view = State.STARTING, View(found_self=True)
        await course(again).run()
        at = f"killed at effect {number}"
        assert sql(again.settings.database, "SELECT text FROM note") == [("one",)], at
        assert (again.settings.writable[0].path / "uploads" / "file").read_bytes() == b"upload", at
        assert (again.record.lineage, again.record.epoch, again.record.staged) == ("line", 5, False), at
    raise AssertionError("it has no end")


async def test_the_lease_is_kept_while_the_content_is_put_in_place(
    old: OwnerSide, new: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large folders on a slow disk take longer than a lease."""
    true = Placement.put

    def slow(self: Placement) -> None:
        time.sleep(LEASE * 2.5)
        true(self)

    monkeypatch.setattr(Placement, "put", slow)
    await course(sees(new, old)).run()
    assert new.record.role is Role.OWNER
    assert old.asked.count("lease") == 1
    assert old.instance.steps.count("open") == 0


async def test_a_refused_completion_leaves_what_was_there_as_it_was(
    old: OwnerSide, moved: FakeInstance, sql: Sql
) -> None:
    """What it handed over is still what it handed over, and the owner goes on with the content."""
    frozen = moved.settings.database.read_bytes()

    def refuse() -> None:
        raise Problem("not you", "the test", "nothing")

    old.before["complete"] = refuse
    with pytest.raises(Problem, match="not you"):
        await course(moved).run(taking_back=old.control)
    assert moved.settings.database.read_bytes() == frozen
    assert (moved.record.role, moved.record.staged, moved.steps[-1]) == (Role.MOVED, False, "relay")


async def test_an_owner_whose_restore_was_cut_off_completes_it_before_it_opens(
    old: OwnerSide, new: FakeInstance, sql: Sql
) -> None:
    settings = new.settings
    sql(settings.database, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('replaced')")
    saved = snapshot.save(old.instance.settings, old.instance.record)
    assert old.instance.settings.snapshots is not None
    snapshot.stage(old.instance.settings.snapshots / saved["file"], settings)
    new.record = Record(uid="new", role=Role.OWNER, served=True, staged=True, lineage="restored", epoch=1)
    await course(new).run()
    assert sql(settings.database, "SELECT text FROM note") == [("one",)]
    assert (settings.writable[0].path / "uploads" / "file").read_bytes() == b"upload"
    assert (new.state, new.record.staged) == (State.OPEN, False)


async def test_an_owner_that_another_one_has_superseded_does_not_open(new: FakeInstance) -> None:
    new.record = Record(uid="new", role=Role.OWNER, served=True, lineage="line", epoch=1)
    new.newer = Problem("another instance has gone on", "the test", "a person decides")
    with pytest.raises(Problem, match="another instance has gone on"):
        await course(new).run()
    assert new.state is State.STARTING
