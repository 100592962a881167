"""What happened, an event a line, for whoever watches while it is written."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

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
    journal._file = Path("/dev/full").open("a", buffering=1)
    journal.write("owner", "moved")
    assert capsys.readouterr().err == "gate: owner moved\n"


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
