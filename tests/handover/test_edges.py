"""Around the hand-over: an end, a restore, a recovery, each cut off or in the way of another."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devenv.handover.deadlines import Deadlines
from devenv.handover.shell import shared
from devenv.handover.wire import Refused
from tests.handover.instances import Instance, Stack
from tests.handover.test_handover import QUICK, InBackground, get

CLAIM = {"token": "t", "uid": "next", "release": "v2", "port": 9000, "control": 9010}
"""What a successor asks, whose place the test takes: so it decides how long the lease lasts."""


@pytest.fixture
def first(stack: Stack) -> Instance:
    instance = stack.start("v1")
    instance.wait_owner()
    stack.start_apache()
    return instance


def write(stack: Stack, nonce: str) -> int:
    body = urllib.parse.urlencode({"nonce": nonce}).encode()
    with urllib.request.urlopen(f"{stack.url}/write", body, timeout=60) as response:
        return int(response.status)


def notes(stack: Stack) -> list[str]:
    return [line.removeprefix("note ") for line in get(stack, "/notes")[1].splitlines()]


def next_one(stack: Stack) -> Instance:
    instance = stack.start("v2")
    instance.wait_owner()
    return instance


# The end


@pytest.mark.parametrize("how", ["gives it back", "is not heard of any more"])
def test_what_an_ending_owner_acknowledges_is_in_its_last_snapshot_whenever_a_lease_ends(
    stack: Stack, how: str
) -> None:
    first = stack.start("v1", GATE_DEADLINE_LEASE="1.5")
    first.wait_owner()
    stack.start_apache()
    write(stack, "early")
    first.ask("lease", **CLAIM)
    first.ask("retire")
    held = InBackground(lambda: write(stack, "held"))
    time.sleep(0.1)
    first.signal(signal.SIGTERM)
    first.wait_event("terminating")
    if how == "gives it back":
        first.ask("release", token="t")
    assert held.wait() == 201
    first.stop()
    next_one(stack)
    assert notes(stack) == ["early", "held"]


def test_nothing_is_opened_again_after_the_last_snapshot(stack: Stack) -> None:
    """The end waits for it, and what it acknowledges when it is given back is saved."""
    first = stack.start(
        "v1", GATE_DEADLINE_TERMINATION="95", GATE_DEADLINE_LEASE="60", GATE_DEADLINE_ABSENT="70"
    )
    first.wait_owner()
    first.ask("lease", **CLAIM)
    first.signal(signal.SIGTERM)
    first.wait_event("terminating")
    first.ask("release", token="t", why="the test")
    first.stop()
    phases = [event["phase"] for event in first.events()]
    assert phases.index("snapshot") > phases.index("reopened")


def test_an_end_waits_for_a_restore_and_saves_what_it_brought(stack: Stack, first: Instance) -> None:
    write(stack, "saved")
    saved = first.gate("snapshot", "-o", "-").stdout
    write(stack, "replaced")
    # The restore waits for a program in a shell; the end comes meanwhile.
    with shared(first.data / ".gate"):
        restoring = InBackground(lambda: first.gate("restore", "-", input=saved))
        first.wait_event("restoring")
        first.signal(signal.SIGTERM)
        first.wait_event("terminating")
    assert restoring.wait().returncode == 0
    first.stop()
    next_one(stack)
    assert notes(stack) == ["saved"]


def test_nothing_is_restored_into_an_instance_that_ends(stack: Stack, first: Instance) -> None:
    write(stack, "kept")
    saved = first.gate("snapshot", "-o", "-").stdout
    write(stack, "later")
    first.signal(signal.SIGTERM)
    first.wait_event("terminating")
    refused = first.gate("restore", "-", input=saved)
    assert json.loads(refused.stderr)["error"] == "the instance is ending"
    first.stop()
    next_one(stack)
    assert notes(stack) == ["kept", "later"]


def test_nobody_gets_a_lease_from_a_retired_owner_that_ends(stack: Stack) -> None:
    first = stack.start("v1", GATE_DEADLINE_SHELL="30", GATE_DEADLINE_FINISH="5")
    first.wait_owner()
    stack.start_apache()
    write(stack, "kept")
    saved = first.gate("snapshot", "-o", "-").stdout
    with shared(first.data / ".gate"):
        restoring = InBackground(lambda: first.gate("restore", "-", input=saved))
        first.wait_event("restoring")
        first.ask("retire")
        first.signal(signal.SIGTERM)
        first.wait_event("terminating")
        with pytest.raises(Refused, match="cannot close now"):
            first.ask("lease", **CLAIM)
    assert restoring.wait().returncode == 1
    first.stop()


def test_what_a_shell_program_writes_at_the_end_is_in_the_last_snapshot(
    stack: Stack, first: Instance
) -> None:
    write(stack, "page")
    program = first.php(
        "touch(getenv('SECOND_DATA').'/at-work'); usleep(1000000);"
        "$db = new PDO('sqlite:'.getenv('SECOND_DATA').'/database.sqlite');"
        "$db->exec(\"INSERT INTO note (nonce) VALUES ('shell')\");"
    )
    until(lambda: (first.data / "at-work").exists())
    first.ask("retire")
    first.stop()
    program.communicate(timeout=10)
    assert program.returncode == 0
    next_one(stack)
    assert notes(stack) == ["page", "shell"]


@pytest.mark.parametrize("after", [0, 0.02, 0.1, 0.2, 0.4])
def test_one_that_is_told_to_end_in_its_first_moments_ends(stack: Stack, after: float) -> None:
    """A container's first process does not get a signal that it has no handler for yet; and an engine that
    waits for its end kills it later, by when it may have the content.
    """
    instance = stack.start("v1")
    time.sleep(after)
    instance.stop(20)


def test_a_shell_program_that_does_not_end_is_ended_before_the_last_snapshot(stack: Stack) -> None:
    first = stack.start("v1", GATE_DEADLINE_SHELL="0.5")
    first.wait_owner()
    stack.start_apache()
    write(stack, "page")
    program = first.php("touch(getenv('SECOND_DATA').'/at-work'); while (true) { usleep(1000); }")
    until(lambda: (first.data / "at-work").exists())
    first.ask("retire")
    first.stop()
    program.communicate(timeout=10)
    assert program.returncode != 0
    assert first.events("snapshot")
    next_one(stack)
    assert notes(stack) == ["page"]


@pytest.mark.parametrize("undone", ["time", "start"])
def test_who_has_not_come_to_the_end_that_was_announced_waits_for_a_successor_again(
    stack: Stack, undone: str
) -> None:
    """A `down` that was interrupted must not make a later end, days after, one without a successor."""
    first = stack.start("v1", GATE_DEADLINE_RETIREMENT="0.5" if undone == "time" else "60")
    first.wait_owner()
    first.ask("retire")
    if undone == "time":
        time.sleep(0.6)
    else:
        first.ask("start")
    began = time.monotonic()
    first.stop()
    assert time.monotonic() - began > Deadlines().successor


# Snapshots


def two_ends(stack: Stack, first: Instance) -> tuple[Path, Path]:
    """Snapshots of two ends of one owner; by its name the first is newer, as after a clock that jumped."""
    write(stack, "one")
    first.stop()
    [early] = stack.snapshots.glob("*.tar")
    early = early.rename(stack.snapshots / f"29990101T000000Z{early.name[16:]}")
    first.start()
    first.wait_owner()
    write(stack, "two")
    first.stop()
    [late] = set(stack.snapshots.glob("*.tar")) - {early}
    return early, late


def test_the_snapshot_that_the_owner_named_is_restored_whatever_its_clock_said(
    stack: Stack, first: Instance
) -> None:
    _, late = two_ends(stack, first)
    assert next_one(stack).status()["restored"]["file"] == late.name
    assert notes(stack) == ["one", "two"]


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_where_the_named_one_cannot_be_used_a_person_is_asked(
    stack: Stack, first: Instance, harm: str
) -> None:
    early, late = two_ends(stack, first)
    if harm == "cut":
        late.write_bytes(late.read_bytes()[:20000])
    else:
        late.unlink()
    second = stack.start("v2")
    failed = second.wait_failed()
    assert failed["error"] == "the last content cannot be restored"
    assert late.name in failed["why"]
    assert "recover" in failed["next"]
    assert second.status()["role"] == "fresh"
    assert second.gate("recover").returncode == 0
    assert notes(stack) == ["one"]
    assert second.status()["restored"]["file"] == early.name


def test_a_restore_that_was_cut_off_is_completed_by_the_next_start(stack: Stack) -> None:
    first = stack.start("v1", GATE_FAULT="owner.reopened")
    first.wait_owner()
    stack.start_apache()
    write(stack, "saved")
    (first.data / "uploads/saved").touch()
    saved = first.gate("snapshot", "-o", "-").stdout
    write(stack, "replaced")
    (first.data / "uploads/replaced").touch()
    first.gate("restore", "-", input=saved)
    first.kill()
    first.start()
    first.wait_owner()
    assert notes(stack) == ["saved"]
    assert [path.name for path in (first.data / "uploads").iterdir()] == ["saved"]


# Recovering


def test_nobody_recovers_beside_an_owner_that_serves_unless_they_insist(stack: Stack) -> None:
    first = stack.start("v1", GATE_DEADLINE_SIGN="0.3")
    first.wait_owner()
    stack.start_apache()
    write(stack, "saved")
    assert first.gate("snapshot").returncode == 0
    first.remove()
    second = stack.start("v2", GATE_DEADLINE_SIGN="0.3", **QUICK)
    second.wait_failed()
    assert second.gate("recover").returncode == 0
    write(stack, "second")

    first.start()
    first.wait_failed()
    refused = json.loads(first.gate("recover").stderr)
    assert refused["error"] == "another instance owns the content and serves it"
    assert second.status()["uid"][:8] in refused["why"]
    assert "--force" in refused["next"]
    assert (first.status()["state"], notes(stack)) == ("starting", ["saved", "second"])

    # A person insists: then the other one finds out, and serves nobody any more.
    assert first.gate("recover", "--force").returncode == 0
    assert second.process is not None
    assert second.process.wait(10) == 0
    assert second.events("superseded")
    assert notes(stack) == ["saved"]
    second.start()
    assert second.wait_failed()["error"] == "another instance has gone on with the content"
    assert not second.status()["ready"]
    assert notes(stack) == ["saved"]


def test_nobody_recovers_beside_one_that_does_not_answer_unless_they_insist(stack: Stack) -> None:
    """It may be the owner, that is only paused."""
    first = stack.start("v1")
    first.wait_owner()
    second = stack.start("v2")
    second.wait_owner()
    second.signal(signal.SIGSTOP)
    refused = json.loads(first.gate("recover").stderr)
    assert refused["error"] == "it is not sure that the owner is gone"
    assert first.status()["role"] == "moved"
    second.signal(signal.SIGCONT)
    assert json.loads(first.gate("recover").stderr)["error"].startswith("another instance owns")


def test_a_successor_that_has_all_of_it_can_be_recovered_when_its_giver_is_gone(stack: Stack) -> None:
    first = stack.start("v1", GATE_FAULT="owner.moved")
    first.wait_owner()
    stack.start_apache()
    write(stack, "all")
    second = stack.start("v2")
    second.wait_event("waiting")
    first.remove()
    assert second.status()["staged"]
    recovered = second.gate("recover")
    assert recovered.returncode == 0, recovered.stderr
    assert second.wait_owner()
    assert notes(stack) == ["all"]


def test_an_older_instance_is_not_recovered_where_another_one_has_newer_content(stack: Stack) -> None:
    first = stack.start("v1", GATE_FAULT="owner.moved")
    first.wait_owner()
    second = stack.start("v2")
    second.wait_event("waiting")
    second.signal(signal.SIGSTOP)  # so that it does not just go on
    first.kill()
    first.start()
    first.wait_for(lambda status: status["state"] == "relaying")
    second.signal(signal.SIGCONT)
    refused = json.loads(first.gate("recover").stderr)
    assert "another instance" in refused["error"]


# Disks


def test_a_copy_of_a_disk_is_another_instance_and_does_not_open_beside_the_first(
    stack: Stack, first: Instance
) -> None:
    """As `docker commit` of an instance, and a container of that image, would be."""
    write(stack, "one")
    copy = Instance(stack, len(stack.instances), "v1", GATE_SNAPSHOTS="")
    stack.instances.append(copy)
    with closing(sqlite3.connect(first.data / "database.sqlite")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(first.data, copy.data, dirs_exist_ok=True)
    copy.start()
    waiting = copy.wait_event("waiting")
    assert waiting["error"] == "this instance is a copy of another one"
    assert copy.status()["uid"] != first.status()["uid"]
    assert copy.status()["state"] == "starting"
    write(stack, "two")
    assert notes(stack) == ["one", "two"]


def until(true: Callable[[], Any], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
