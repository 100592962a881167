"""What happened, an event a line, for whoever watches while it is written."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from devenv.handover.journal import Event, Journal, read

ROOT = Path(__file__).parents[3]
FAST = 0.005


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/events.jsonl"


def phases(path: Path) -> list[str]:
    return [event["phase"] for event in read(path, follow=False, poll=FAST)]


def test_an_event_says_who_when_and_what(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_RELEASE", "v3")
    before = time.time()
    Journal(path, "u1").write("owner", "moved", successor="u2", fields={"deep": [1]})
    (event,) = read(path, follow=False, poll=FAST)
    assert before - 0.001 <= event.pop("time") <= time.time() + 0.001
    assert event == {
        "uid": "u1",
        "release": "v3",
        "side": "owner",
        "phase": "moved",
        "successor": "u2",
        "fields": {"deep": [1]},
    }


def test_each_event_is_also_a_line_of_the_log(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(path, "u1").write("owner", "closed", ms=1.5, fingerprint={"much": 1})
    assert capsys.readouterr().err == "gate: owner closed ms=1.5\n"


def test_text_with_line_ends_stays_one_event(path: Path) -> None:
    Journal(path, "u1").write("server", "died", why="one\ntwo\u2028three")
    Journal(path, "u1").write("server", "later")
    assert phases(path) == ["died", "later"]


def test_a_restarted_instance_goes_on_in_the_same_journal(path: Path) -> None:
    Journal(path, "u1").write("owner", "first")
    Journal(path, "u1").write("owner", "second")
    assert phases(path) == ["first", "second"]


def test_events_of_many_threads_are_whole_lines(path: Path) -> None:
    journal = Journal(path, "u1")
    threads = [
        threading.Thread(target=lambda: [journal.write("owner", "x", text="y" * 5000) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert phases(path) == ["x"] * 160


def test_a_full_disk_stops_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(path, "u1")
    journal._file.close()
    journal._file = Path("/dev/full").open("ab", buffering=0)
    journal.write("owner", "moved")
    assert capsys.readouterr().err == "gate: owner moved\n"


def test_a_log_that_cannot_be_written_keeps_no_event_out_of_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Path("/dev/full").open("w"))
    Journal(path, "u1").write("owner", "moved")
    assert phases(path) == ["moved"]
    with pytest.raises(OSError):
        sys.stderr.close()


def test_a_line_that_is_not_complete_yet_is_not_an_event(path: Path) -> None:
    Journal(path, "u1").write("owner", "first")
    with path.open("a") as file:
        file.write('{"phase": "half')
    assert phases(path) == ["first"]


def test_who_follows_gets_what_comes_when_its_line_is_complete(path: Path) -> None:
    got: list[Event] = []
    enough = threading.Event()

    def follow() -> None:
        for event in read(path, follow=True, poll=FAST):
            got.append(event)
            if event["phase"] == "last":
                enough.set()
                return

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    time.sleep(FAST * 3)  # it waits for the file
    journal = Journal(path, "u1")
    journal.write("owner", "first")
    line = json.dumps({"phase": "torn"})
    with path.open("a") as file:
        for part in (line[:5], line[5:], "\n"):
            file.write(part)
            file.flush()
            time.sleep(FAST * 3)
            wanted = ["first", "torn"] if part == "\n" else ["first"]
            ends = time.monotonic() + 5
            while [event["phase"] for event in got] != wanted and time.monotonic() < ends:
                time.sleep(FAST)
            assert [event["phase"] for event in got] == wanted
    journal.write("owner", "last")
    assert enough.wait(5)
    assert [event["phase"] for event in got] == ["first", "torn", "last"]


# Half a line: the machine went down, or the disk was full


JUNK = [
    b'{"time": 1, "uid": "u1", "side": "owner", "pha',
    bytes(4096),
    b"\xff\xfe\x00{",
    b"[" * 100_000,
    b'"text"',
    b"[1, 2]",
    b'{"time": 1}',
    b'{"phase": 7}',
]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_in_the_middle_hides_nothing_behind_it(path: Path, junk: bytes) -> None:
    Journal(path, "u1").write("owner", "first")
    with path.open("ab") as file:
        file.write(junk + b"\n")
    Journal(path, "u1").write("owner", "second")
    assert phases(path) == ["first", "second"]


@pytest.mark.parametrize("junk", JUNK)
def test_a_gate_that_starts_after_a_torn_line_does_not_lose_its_own_first_one(
    path: Path, junk: bytes
) -> None:
    Journal(path, "u1").write("owner", "first")
    with path.open("ab") as file:
        file.write(junk)
    Journal(path, "u1").write("owner", "second")
    assert phases(path) == ["first", "second"]


def test_who_follows_passes_over_a_torn_line_when_the_next_one_begins(path: Path) -> None:
    Journal(path, "u1").write("owner", "first")
    with path.open("ab") as file:
        file.write(b'{"phase": "to')
    events = read(path, follow=True, poll=FAST)
    assert next(events)["phase"] == "first"
    threading.Timer(FAST * 5, lambda: Journal(path, "u1").write("owner", "second")).start()
    assert next(events)["phase"] == "second"


def test_a_disk_that_takes_half_a_line_and_then_has_room_again_loses_only_that_line(path: Path) -> None:
    journal = Journal(path, "u1")
    journal.write("owner", "first")
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, before[1]))
    try:
        journal.write("owner", "half")
        journal.write("owner", "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.stat().st_size == size + 30
    journal.write("owner", "second")
    journal.write("owner", "third")
    assert phases(path) == ["first", "second", "third"]


# A bound


def test_a_journal_has_a_bound_and_keeps_the_newest_events(path: Path) -> None:
    journal = Journal(path, "u1", limit=10_000)
    for number in range(1000):
        journal.write("server", "died", number=number)
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 21_000
    numbers = [event["number"] for event in read(path, follow=False, poll=FAST)]
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 10_000 // 150
    assert sorted(file.name for file in path.parent.iterdir()) == ["events.jsonl", "events.jsonl.1"]


def test_who_follows_gets_each_event_once_over_new_files(path: Path) -> None:
    journal = Journal(path, "u1", limit=3000)
    got: list[int] = []

    def follow() -> None:
        for event in read(path, follow=True, poll=0.001):
            got.append(event["number"])
            if event["number"] == 2999:
                return

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    for number in range(3000):
        journal.write("owner", "x", number=number)
        ends = time.monotonic() + 10
        # Never a whole file behind: what nobody has read for so long is gone.
        while number - len(got) > 10 and time.monotonic() < ends:
            time.sleep(0.0005)
    watcher.join(10)
    assert got == list(range(3000))


def test_who_comes_just_as_a_new_file_begins_gets_each_event_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path, "u1", limit=60)
    journal.write("owner", "lost")
    journal.write("owner", "first")
    true = Path.open

    def opened(self: Path, *arguments: Any, **options: Any) -> Any:
        file = true(self, *arguments, **options)
        if self == path and arguments == ("rb",):
            monkeypatch.undo()
            journal.write("owner", "second")
        return file

    monkeypatch.setattr(Path, "open", opened)
    assert phases(path) == ["first", "second"]


def test_a_restarted_instance_knows_how_full_its_journal_is(path: Path) -> None:
    for number in range(300):
        journal = Journal(path, "u1", limit=1000)
        journal.write("owner", "x", number=number)
        journal._file.close()
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 2500


def test_events_go_on_where_no_new_file_can_be_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, "u1", limit=100)
    journal.write("owner", "first")
    true = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        if arguments[:1] == ("ab",):
            raise OSError(28, "full")
        return true(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        journal.write("owner", "second")
        assert phases(path) == ["first", "second"]
    journal.write("owner", "third")
    assert phases(path) == ["first", "second", "third"]


def test_of_a_journal_that_is_not_there_there_are_no_events(path: Path) -> None:
    assert phases(path) == []


def fault(path: Path, name: str, *phases: str) -> int:
    program = (
        "import sys; from pathlib import Path; from devenv.handover.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'u1')\n"
        "for phase in sys.argv[2:]: journal.write('owner', phase)\n"
    )
    env = {"PYTHONPATH": str(ROOT), "GATE_FAULT": name}
    return subprocess.run(
        [sys.executable, "-c", program, str(path), *phases], env=env, stderr=subprocess.DEVNULL
    ).returncode


def test_a_fault_ends_the_process_at_its_phase_the_first_time_only(path: Path) -> None:
    assert fault(path, "owner.moved", "closed", "moved", "relaying") == 137
    assert phases(path) == ["closed", "moved"]
    assert fault(path, "owner.moved", "closed", "moved", "relaying") == 0
    assert phases(path) == ["closed", "moved", "closed", "moved", "relaying"]


def test_a_fault_of_the_other_side_is_not_ours(path: Path) -> None:
    assert fault(path, "successor.moved", "moved") == 0
