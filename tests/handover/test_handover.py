"""The hand-over between real processes: gates, php-fpm, Apache, and a second application under load."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

import pytest

from devenv.handover.deadlines import Deadlines
from devenv.handover.wire import Refused
from devenv.model.probe import ProbeReport
from tests.handover.conftest import Load
from tests.handover.instances import Instance, Stack

LoadFactory = Callable[..., AbstractContextManager[Load]]


def get(stack: Stack, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class InBackground(threading.Thread):
    """A request that goes on while something else happens."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except OSError as error:
            self.error = error

    def wait(self) -> Any:
        self.join(60)
        assert not self.is_alive()
        assert self.error is None
        return self.result


def assert_clean(report: ProbeReport) -> None:
    assert [f"{sample.failure} after {sample.seconds:.2f} s" for sample in report.failures] == []
    assert (report.lost, report.duplicated, report.uncounted) == ((), (), None)


def wait_for_roles(instances: list[Instance]) -> list[str]:
    """Until one of two has moved, and the other owns."""
    deadline = time.monotonic() + 30
    roles: list[str] = []
    while time.monotonic() < deadline and roles != ["moved", "owner"]:
        roles = sorted(instance.wait_for(bool)["role"] for instance in instances)
        time.sleep(0.05)
    return roles


@pytest.fixture
def first(stack: Stack) -> Instance:
    instance = stack.start("v1")
    instance.wait_owner()
    stack.start_apache()
    return instance


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_no_write_is_lost_and_no_request_fails_back_and_forth_under_load(
    stack: Stack, load: LoadFactory, journal: str
) -> None:
    stack.env["SECOND_JOURNAL"] = journal
    owner = stack.start("v1")
    owner.wait_owner()
    stack.start_apache()
    with load() as result:
        for release in ("v2", "v1", "v2", "v1"):
            time.sleep(0.3)
            old, owner = owner, stack.start(release)
            owner.wait_owner()
            # While both are there, the old one relays: those that it held, and then others.
            old.wait_for(lambda status: status["relayed"] > status["held"])
            old.stop()
        time.sleep(0.3)
    report = result.report
    assert (report.failures, report.lost, report.duplicated) == ([], (), ())
    for old, new in zip(stack.instances, stack.instances[1:], strict=False):
        closing = old.events("closing")[-1]["time"]
        moved = old.events("moved")[-1]["time"]
        ended = old.events("ending")[-1]["time"]
        phases = report.by_phase(closing, moved, ended)
        assert all(phases.values()), phases
        assert old.events("relaying")[-1]["held"] > 0
        assert old.events("ending")[-1]["relayed"] > 0
        assert new.events("completed")[-1]["epoch"] == old.events("opened")[-1]["epoch"] + 1


def test_the_fingerprint_of_the_old_one_is_that_of_the_new_one(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=one")
    before = json.loads(first.gate("fingerprint").stdout)
    second = stack.start("v2")
    second.wait_owner()
    told = second.wait_event("fingerprint")["fingerprint"]
    after = json.loads(second.gate("fingerprint").stdout)
    frozen = json.loads(first.gate("fingerprint").stdout)
    assert before["tables"]["note"]["rows"] == 1
    assert before["total"] == told["total"] == after["total"] == frozen["total"]


def test_uploads_streams_and_slow_clients_pass_through_it_unharmed(stack: Stack, first: Instance) -> None:
    content = os.urandom(50 << 20)
    expected = hashlib.sha256(content).hexdigest()
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    body = head + content + b"\r\n--x--\r\n"

    def upload(pause: float) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        for start in range(0, len(body), 5 << 20):
            connection.send(body[start : start + (5 << 20)])
            time.sleep(pause)
        with closing(connection):
            return connection.getresponse().read().decode()

    at_work = [
        InBackground(lambda: upload(0.02)),
        InBackground(lambda: upload(0.25)),
        InBackground(lambda: get(stack, "/stream?chunks=60")[1]),
        InBackground(lambda: get(stack, "/slow?seconds=2.5&nonce=slow")[1]),
    ]
    time.sleep(0.3)
    second = stack.upgrade(first, "v2")
    stack.upgrade(second, "v1")
    fast, slow, stream, long = (work.wait() for work in at_work)
    assert fast == slow == expected
    assert stream.count("chunk ") == 60
    assert long == "done"
    assert "note slow" in get(stack, "/notes")[1]
    assert get(stack, "/files")[1].splitlines() == [f"whole {expected}"] * 2


def test_requests_that_do_not_end_are_named_and_nobody_waits_for_them(stack: Stack) -> None:
    first = stack.start("v1", GATE_DEADLINE_DRAIN="0.3")
    first.wait_owner()
    stack.start_apache()
    stop = time.monotonic() + 100

    def keep_asking() -> None:
        while time.monotonic() < stop and not ended.is_set():
            get(stack, "/slow?seconds=2&nonce=x")

    ended = threading.Event()
    # Apart from each other: at any moment one of them has a second left, which is longer than a drain.
    askers = []
    for _ in range(2):
        askers.append(InBackground(keep_asking))
        time.sleep(1)
    second = stack.start("v2", GATE_DEADLINE_HOOK="60")
    failed = second.wait_failed(80)
    assert get(stack, "/")[0] == 200
    ended.set()
    for asker in askers:
        asker.wait()
    assert failed["error"] == "requests do not end"
    assert "seconds=2&nonce=x" in failed["why"]
    assert first.status()["state"] == "open"
    assert len(first.events("reopened")) == 3


def test_a_release_that_cannot_serve_changes_nothing(
    stack: Stack, first: Instance, load: LoadFactory
) -> None:
    with load() as result:
        second = stack.start("v2", SECOND_BROKEN="1")
        failed = second.wait_failed()
        second.stop()
    assert failed["error"] == "the new release cannot serve"
    assert "this release is broken" in failed["why"]
    assert_clean(result.report)
    assert first.events("closing") == []


def test_a_successor_with_another_secret_gets_nothing(stack: Stack, first: Instance) -> None:
    other = stack.folder / "other-secret"
    other.write_text("x" * 64)
    second = stack.start("v2", GATE_SECRET_FILE=str(other))
    second.wait_event("failed")
    log = second.log.read_text()
    second.remove()
    assert "the peer does not accept our secret" in log
    assert not (second.data / "database.sqlite").exists()
    assert first.status()["state"] == "open"


def test_a_full_disk_fails_the_new_instance_and_leaves_the_old_one_serving(
    stack: Stack, first: Instance, load: LoadFactory
) -> None:
    with closing(sqlite3.connect(first.data / "database.sqlite")) as database:
        database.execute("CREATE TABLE filler AS SELECT randomblob(40000000) AS bytes")
        database.commit()
    with load() as result:
        second = Instance(stack, len(stack.instances), "v2")
        stack.instances.append(second)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", second.data], check=True)
        try:
            (second.data / "uploads").mkdir()
            second.start()
            failed = second.wait_failed()
            second.stop()
        finally:
            subprocess.run(["umount", second.data], check=True)
    assert failed["error"] == "the disk of the new instance is full"
    assert_clean(result.report)


BEFORE_MOVED = ["found", "copy", "checked", "warmed", "lease", "leased", "pages", "verified", "installed"]


@pytest.mark.parametrize("phase", BEFORE_MOVED)
def test_a_successor_killed_before_completion_costs_no_request(
    stack: Stack, first: Instance, load: LoadFactory, phase: str
) -> None:
    with load() as result:
        second = stack.start("v2", GATE_FAULT=f"successor.{phase}")
        second.wait_event(phase)
        assert second.process is not None
        assert second.process.wait(10) == 137
        second.remove()
        time.sleep(0.2)
        third = stack.upgrade(first, "v2")
    assert_clean(result.report)
    assert third.status()["epoch"] == 2


@pytest.mark.parametrize("phase", [*BEFORE_MOVED, "completed", "opened"])
def test_a_killed_successor_goes_on_where_it_was(
    stack: Stack, first: Instance, load: LoadFactory, phase: str
) -> None:
    with load() as result:
        second = stack.start("v2", GATE_FAULT=f"successor.{phase}")
        second.wait_event(phase)
        assert second.process is not None
        second.process.wait(10)
        second.start()
        second.wait_owner()
        time.sleep(0.3)
        first.stop()
    report = result.report
    assert (report.lost, report.duplicated, report.uncounted) == ((), (), None)
    if phase != "opened":  # there it had requests in its hands
        assert report.failures == []


@pytest.mark.parametrize("phase", ["copy-served", "closing", "closed", "moved", "relaying"])
def test_an_owner_killed_in_the_hand_over_loses_nothing_that_it_acknowledged(
    stack: Stack, load: LoadFactory, phase: str
) -> None:
    first = stack.start("v1", GATE_FAULT=f"owner.{phase}")
    first.wait_owner()
    stack.start_apache()
    with load() as result:
        second = stack.start("v2")
        first.wait_event(phase)
        assert first.process is not None
        first.process.wait(10)
        time.sleep(0.2)
        first.start()
        second.wait_owner(60)
        first.stop()
        time.sleep(0.3)
    report = result.report
    assert (report.lost, report.duplicated, report.uncounted) == ((), (), None)
    assert second.status()["epoch"] == 2


def test_a_sole_owner_saves_a_snapshot_and_the_next_start_restores_it(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=kept")
    first.stop()
    second = stack.start("v2")
    status = second.wait_owner()
    assert status["restored"]["file"].endswith("-v1.tar")
    assert status["epoch"] == 2
    assert get(stack, "/notes")[1] == "note kept\n"


QUICK = {"GATE_DEADLINE_LEASE": "0.9", "GATE_DEADLINE_ABSENT": "1.5"}


@pytest.mark.parametrize("snapshots", [0, 2])
def test_a_new_one_waits_for_an_owner_that_was_killed_and_takes_the_content_from_it(
    stack: Stack, first: Instance, snapshots: int
) -> None:
    """The engine starts it again after a second, and its name is not listed meanwhile."""
    get(stack, "/slow?seconds=0&nonce=saved")
    for _ in range(snapshots):
        assert first.gate("snapshot").returncode == 0
    get(stack, "/slow?seconds=0&nonce=acknowledged")
    lineage = first.status()["lineage"]
    first.remove()
    second = stack.start("v2")
    assert second.wait_event("waiting")["error"] == "the instance that has the content is not there"
    time.sleep(1)
    assert second.status()["role"] == "fresh"
    first.start()
    status = second.wait_owner()
    assert (status["epoch"], status["lineage"]) == (2, lineage)
    first.stop()
    assert get(stack, "/notes")[1] == "note saved\nnote acknowledged\n"


def test_content_whose_owner_is_gone_for_good_is_given_up_by_a_person_alone(
    stack: Stack, first: Instance
) -> None:
    get(stack, "/slow?seconds=0&nonce=saved")
    assert first.gate("snapshot").returncode == 0
    get(stack, "/slow?seconds=0&nonce=later")
    first.remove()
    second = stack.start("v2", **QUICK)
    failed = second.wait_failed()
    assert failed["error"] == "the instance that has the content is not there"
    assert "the newest snapshot is of 20" in failed["why"]
    assert "devenv recover --from" in failed["next"]
    assert second.gate("hook").returncode == 1  # tried again, it waits again
    assert json.loads(second.gate("recover").stdout)["role"] == "owner"
    assert get(stack, "/notes")[1] == "note saved\n"

    # It was not gone for good after all: it keeps what it has, and serves nobody.
    first.start()
    held = first.wait_failed()
    assert held["error"] == "another instance has gone on with the content"
    assert not first.status()["ready"]
    assert get(stack, "/notes")[1] == "note saved\n"
    second.remove()
    assert first.gate("recover").returncode == 0
    assert first.wait_owner()
    assert get(stack, "/notes")[1] == "note saved\nnote later\n"


def test_content_that_was_recovered_and_never_saved_can_be_recovered_again(
    stack: Stack, first: Instance
) -> None:
    get(stack, "/slow?seconds=0&nonce=saved")
    assert first.gate("snapshot").returncode == 0
    first.remove()
    for release in ("v2", "v3"):
        again = stack.start(release, **QUICK)
        again.wait_failed()
        assert again.gate("recover").returncode == 0
        assert get(stack, "/notes")[1] == "note saved\n"
        again.remove()


def test_an_owner_that_comes_again_after_another_has_restored_what_it_saved_keeps_out_of_the_way(
    stack: Stack, first: Instance
) -> None:
    """As `docker restart` of an owner can go when a new one comes just then."""
    get(stack, "/slow?seconds=0&nonce=kept")
    first.stop()
    second = stack.start("v2")
    second.wait_owner()
    get(stack, "/slow?seconds=0&nonce=later")
    first.start()
    assert first.wait_failed()["error"] == "another instance has gone on with the content"
    assert (first.status()["state"], second.status()["state"]) == ("starting", "open")
    # What it saves at its own end is older, and does not stand in the way of what is newer.
    first.stop()
    second.stop()
    assert stack.start("v3").wait_owner()["restored"]["file"].endswith("-0002-v2.tar")
    assert get(stack, "/notes")[1] == "note kept\nnote later\n"


def test_a_restarted_owner_opens_and_one_that_never_wrote_anything_leaves_room_for_the_next(
    stack: Stack,
) -> None:
    first = stack.start("v1")
    first.wait_owner()
    for end in (first.stop, first.remove):
        end()
        first.start()
        first.wait_owner()
    first.stop()
    assert stack.start("v2").wait_owner()["epoch"] == 1


def spoil(instance: Instance) -> None:
    """One page of a table, in the middle of the file: as a bad block does."""
    path = instance.data / "database.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE filler AS SELECT randomblob(100000) AS bytes")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [root] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'filler'").fetchone()
        [size] = database.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 200)


def test_a_damaged_database_is_told_and_comes_back_as_it_was(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=readable")
    spoil(first)
    asked = first.gate("fingerprint")
    assert asked.returncode == 1
    told = json.loads(asked.stderr)
    assert told["error"] == "the database cannot be read"
    assert "malformed" in told["why"]
    assert told["next"]
    first.stop()
    second = stack.start("v2")
    assert second.wait_owner()["restored"]
    assert get(stack, "/notes")[1] == "note readable\n"
    with closing(sqlite3.connect(second.data / "database.sqlite")) as database:
        with pytest.raises(sqlite3.DatabaseError):
            database.execute("SELECT * FROM filler").fetchall()


def test_a_damaged_database_is_handed_over_as_it_is_and_it_is_said_that_nothing_proves_it(
    stack: Stack, first: Instance
) -> None:
    get(stack, "/slow?seconds=0&nonce=readable")
    spoil(first)
    second = stack.start("v2")
    second.wait_owner()
    assert "the database cannot be read" in second.wait_event("unproved")["why"]
    assert second.events("checked")[-1]["damage"]
    first.stop()
    assert get(stack, "/notes")[1] == "note readable\n"


def test_a_long_request_that_is_relayed_outlives_the_end_of_its_relay(stack: Stack) -> None:
    """It may last as long as the engine's grace period, however short a reply of a peer may be."""
    first = stack.start("v1", GATE_DEADLINE_REPLY="1")
    first.wait_owner()
    stack.start_apache()
    stack.start("v2").wait_owner()
    long = InBackground(lambda: get(stack, "/slow?seconds=4&nonce=long"))
    first.wait_for(lambda status: status["relayed"] > 0)
    first.stop()
    assert long.wait() == (200, "done")


def test_a_retired_owner_does_not_wait_for_anybody(stack: Stack, first: Instance) -> None:
    get(stack, "/")
    first.ask("retire")
    first.stop()
    # It has saved before it would have given up waiting for a successor.
    saved = first.events("snapshot")[-1]["time"]
    assert saved - first.events("terminating")[-1]["time"] < Deadlines().successor
    assert len(list(stack.snapshots.glob("*.tar"))) == 1


def test_an_ending_owner_waits_for_the_successor_that_comes(
    stack: Stack, first: Instance, load: LoadFactory
) -> None:
    with load() as result:
        second = stack.start("v2")
        second.wait_event("discover")
        first.signal(signal.SIGTERM)
        second.wait_owner()
        first.stop()
        time.sleep(0.2)
    assert_clean(result.report)
    assert list(stack.snapshots.glob("*.tar")) == []


def test_an_ending_successor_hands_back_to_the_one_it_came_from(
    stack: Stack, first: Instance, load: LoadFactory
) -> None:
    with load() as result:
        second = stack.start("v2")
        second.wait_owner()
        time.sleep(0.3)
        second.stop()
        time.sleep(0.3)
    assert_clean(result.report)
    status = first.status()
    assert (status["role"], status["state"], status["epoch"]) == ("owner", "open", 3)


@pytest.mark.parametrize("phase", ["copy", "warmed", "leased", "verified"])
def test_a_successor_that_is_ended_in_the_middle_leaves_the_old_one_serving(
    stack: Stack, first: Instance, load: LoadFactory, phase: str
) -> None:
    with load() as result:
        second = stack.start("v2")
        second.wait_event(phase)
        second.stop()
        time.sleep(0.2)
    assert_clean(result.report)
    # Whichever way the race with its end went, the old one has the content, and serves.
    assert first.status()["role"] == "owner"


def test_two_successors_at_once_end_with_one_owner(stack: Stack, first: Instance, load: LoadFactory) -> None:
    with load() as result:
        new = [stack.start("v2"), stack.start("v3")]
        assert wait_for_roles(new) == ["moved", "owner"]
        owner = next(instance for instance in new if instance.status()["role"] == "owner")
        assert owner.wait_owner()["epoch"] == 3
        for instance in (first, *new):
            if instance is not owner:
                instance.stop()
        time.sleep(0.2)
    assert_clean(result.report)


def test_two_first_instances_at_once_end_with_one_database(stack: Stack) -> None:
    both = [stack.start("v1"), stack.start("v1")]
    assert wait_for_roles(both) == ["moved", "owner"]
    assert both[0].status()["lineage"] == both[1].status()["lineage"]


def test_a_shell_program_is_waited_for_and_one_that_is_too_late_is_refused(
    stack: Stack, first: Instance
) -> None:
    get(stack, "/")
    insert = (
        "$db = new PDO('sqlite:'.getenv('GATE_DATABASE'));"
        "$db->exec(\"INSERT INTO note (nonce) VALUES ('begun')\"); sleep(1);"
        "$db->exec(\"INSERT INTO note (nonce) VALUES ('ended')\");"
    )
    with first.php(insert) as program:
        time.sleep(0.4)
        second = stack.start("v2")
        second.wait_owner()
    assert program.returncode == 0
    with first.php("echo 'never';") as late:
        _, refusal = late.communicate(timeout=5)
    assert late.returncode == 75
    assert b"does not own the database (its role is moved)" in refusal
    first.stop()
    assert get(stack, "/notes")[1] == "note begun\nnote ended\n"


def test_a_server_that_has_just_started_can_be_told_to_end_whoever_started_the_gate(first: Instance) -> None:
    assert not first.ignores(signal.SIGQUIT)


def test_a_killed_server_is_started_again(stack: Stack, first: Instance) -> None:
    get(stack, "/")
    os.kill(first.server_pid(), signal.SIGKILL)
    first.wait_event("died")
    time.sleep(0.5)
    assert get(stack, "/")[0] == 200


def test_a_restarted_moved_instance_relays_again(stack: Stack, first: Instance, load: LoadFactory) -> None:
    second = stack.start("v2")
    second.wait_owner()
    first.kill()
    first.start()
    first.wait_for(lambda status: status["state"] == "relaying" and status["ready"])
    with urllib.request.urlopen(f"{stack.url}/") as answer:
        assert answer.headers["X-Release"] == "v2"
    assert second.status()["role"] == "owner"


def swap_addresses(one: Instance, other: Instance) -> None:
    """As an engine does that is started anew: it gives addresses in the order of the starts."""
    one.kill()
    other.kill()
    here, there = one.address, other.address
    one.move_to(there)
    other.move_to(here)


def test_a_relay_whose_successors_address_is_its_own_by_now_finds_it_again(
    stack: Stack, first: Instance
) -> None:
    second = stack.start("v2")
    second.wait_owner()
    swap_addresses(first, second)
    first.start()
    first.wait_for(lambda status: status["state"] == "relaying")
    held = InBackground(lambda: values_of_server(first))
    time.sleep(0.5)
    second.start()
    second.wait_owner()
    assert b"FCGI_MPXS_CONNS" in held.wait()
    assert first.status()["successor"]["address"] == f"{second.address}:9000"
    assert first.status()["relayed"] == 1


def values_of_server(instance: Instance) -> bytes:
    """What php-fpm answers to FCGI_GET_VALUES through this very instance."""
    name = b"FCGI_MPXS_CONNS"
    pair = bytes([len(name), 0]) + name
    with socket.create_connection((instance.address, 9000), timeout=20) as connection:
        connection.sendall(struct.pack(">BBHHBx", 1, 9, 0, len(pair), 0) + pair)
        return connection.recv(65536)


def test_a_stranger_at_the_owners_address_cannot_refuse_what_it_has_given(
    stack: Stack,
) -> None:
    """The owner has moved, its successor has not heard of it, and then all addresses change hands."""
    first = stack.start("v1", GATE_FAULT="owner.moved")
    first.wait_owner()
    second = stack.start("v2")
    first.wait_event("moved")
    assert first.process is not None
    first.process.wait(10)
    second.wait_event("installed")
    second.kill()
    third = stack.start("v3")
    swap_addresses(first, third)
    third.start()
    third.wait_for(bool)
    second.start()
    time.sleep(1)
    assert json.loads((second.data / ".gate/record.json").read_text())["staged"]
    first.start()
    assert second.wait_event("completed")["epoch"] == 2
    assert first.status()["role"] == "moved"


def test_what_was_handed_over_can_be_recovered_by_hand(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=early")
    second = stack.start("v2")
    second.wait_owner()
    second.remove()
    assert first.gate("recover").returncode == 0
    assert get(stack, "/notes")[1] == "note early\n"
    get(stack, "/slow?seconds=0&nonce=later")
    assert get(stack, "/notes")[1] == "note early\nnote later\n"


def test_a_snapshot_can_be_saved_and_restored_in_place(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=saved")
    saved = first.gate("snapshot", "-o", "-")
    get(stack, "/slow?seconds=0&nonce=after")
    lineage = first.status()["lineage"]
    restored = first.gate("restore", "-", input=saved.stdout)
    assert restored.returncode == 0, restored.stderr
    assert get(stack, "/notes")[1] == "note saved\n"
    assert first.status()["lineage"] != lineage
    # Whoever comes next knows that what was replaced is not the content any more.
    signed = json.loads((stack.snapshots / "owner.json").read_text())
    assert (signed["lineage"], signed["saved"]) == (first.status()["lineage"], "")
    damaged = bytearray(saved.stdout)
    damaged[-20000] ^= 1
    refused = first.gate("restore", "-", input=bytes(damaged[: len(damaged) // 2]))
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["error"] == "a snapshot cannot be used"
    assert get(stack, "/notes")[1] == "note saved\n"


def test_a_snapshot_that_nobody_reads_to_its_end_keeps_no_hand_over_waiting(
    stack: Stack, first: Instance
) -> None:
    """As where a terminal goes away: the engine lets the program run on, and takes nothing from it."""
    get(stack, "/slow?seconds=0&nonce=saved")
    reading, writing = os.pipe()
    # The least there is: not all of a snapshot goes into it.
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    blocked = subprocess.Popen(first.gate_argv("snapshot", "-o", "-"), env=first.env, stdout=writing)
    os.close(writing)
    try:
        assert select.select([reading], [], [], 20)[0]
        stack.start("v2").wait_owner()
        assert blocked.poll() is None
    finally:
        os.close(reading)
        blocked.wait(20)


def test_a_snapshot_that_nobody_reads_at_all_ends_and_leaves_nothing(stack: Stack, first: Instance) -> None:
    get(stack, "/slow?seconds=0&nonce=saved")
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    hasty = "import sys; from devenv.handover import __main__ as gate; gate._READ = 1; sys.exit(gate.main())"
    argv = first.gate_argv("snapshot", "-o", "-")
    place = argv.index("-m", argv.index(sys.executable))
    argv[place : place + 2] = ["-c", hasty]
    before = set((first.data / ".gate").iterdir())
    ended = subprocess.run(argv, env=first.env, stdout=writing, stderr=subprocess.PIPE, timeout=20)
    os.close(writing)
    os.close(reading)
    assert ended.returncode == 1
    assert json.loads(ended.stderr)["error"] == "nobody reads the snapshot"
    assert set((first.data / ".gate").iterdir()) == before


def test_the_hook_ends_when_the_instance_owns_the_database_and_tells_why_it_does_not(
    stack: Stack, first: Instance
) -> None:
    second = stack.start("v2")
    assert second.gate("hook").returncode == 0
    assert second.gate("ready").returncode == 0
    third = stack.start("v3", SECOND_BROKEN="1")
    hook = third.gate("hook")
    assert hook.returncode == 1
    assert json.loads(hook.stderr)["error"] == "the new release cannot serve"
    assert third.gate("ready").returncode == 1
    assert third.gate("live").returncode == 0


def test_a_silent_instance_under_our_name_is_never_taken_for_none(stack: Stack) -> None:
    stack.list_name("127.0.9.9")
    instance = stack.start("v1")
    assert instance.wait_event("waiting")["why"] == "127.0.9.9"
    time.sleep(1)
    assert instance.status()["role"] == "fresh"
    stack.unlist_name("127.0.9.9")
    instance.wait_owner()


def test_an_instance_that_cannot_find_itself_never_becomes_ready(stack: Stack) -> None:
    instance = Instance(stack, 0, "v1")
    stack.instances.append(instance)
    instance.start()
    stack.unlist_name(instance.address)
    instance.wait_for(bool)
    time.sleep(1)
    assert not instance.status()["ready"]
    stack.list_name(instance.address)
    instance.wait_owner()


def test_an_owner_refuses_what_is_not_asked_under_its_lease(stack: Stack, first: Instance) -> None:
    for verb in ("pages", "complete"):
        with pytest.raises(Refused, match="the lease is over"):
            first.ask(verb, token="forged", sha256="")
    assert first.status()["role"] == "owner"
