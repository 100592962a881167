"""The lock between programs from a shell and whoever freezes the database."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devenv.handover.problem import Problem
from devenv.handover.shell import NAME, ShellLock, shared

ROOT = Path(__file__).parents[3]
Program = subprocess.Popen[str]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[], Program]]:
    """A process that holds the shared lock until its stdin ends."""
    started: list[Program] = []

    def start() -> Program:
        code = (
            "import sys; from pathlib import Path; from devenv.handover.shell import shared\n"
            "with shared(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def test_programs_do_not_wait_for_each_other(tmp_path: Path, program: Callable[[], Program]) -> None:
    program()
    program()
    with shared(tmp_path):
        pass


def test_the_bound_on_waiting_for_a_program_is_kept(tmp_path: Path, program: Callable[[], Program]) -> None:
    program()
    lock = ShellLock(tmp_path)
    started = time.monotonic()
    with pytest.raises(Problem) as caught:
        lock.acquire(0.1)
    assert 0.1 <= time.monotonic() - started < 1
    assert caught.value.error == "a program in the instance uses the database"
    assert "0.1 s" in caught.value.why
    assert not caught.value.final


def test_a_program_that_ends_in_time_is_waited_for(tmp_path: Path, program: Callable[[], Program]) -> None:
    at_work = program()
    assert at_work.stdin is not None
    timer = threading.Timer(0.1, at_work.stdin.close)
    timer.start()
    ShellLock(tmp_path).acquire(5)
    timer.join()


def test_a_killed_program_holds_nobody(tmp_path: Path, program: Callable[[], Program]) -> None:
    at_work = program()
    at_work.kill()
    at_work.wait()
    ShellLock(tmp_path).acquire(0)


def test_who_freezes_shuts_programs_out_until_it_lets_go(tmp_path: Path) -> None:
    lock = ShellLock(tmp_path)
    lock.acquire(0)
    got = threading.Event()

    def work() -> None:
        with shared(tmp_path):
            got.set()

    late = threading.Thread(target=work)
    late.start()
    assert not got.wait(0.1)
    lock.release()
    assert got.wait(5)
    late.join()


def test_two_that_freeze_shut_each_other_out(tmp_path: Path) -> None:
    first, second = ShellLock(tmp_path), ShellLock(tmp_path)
    first.acquire(0)
    with pytest.raises(Problem):
        second.acquire(0)
    first.release()
    second.acquire(0)


def test_what_is_held_can_be_asked_for_again_and_given_back_twice(tmp_path: Path) -> None:
    lock = ShellLock(tmp_path)
    lock.acquire(0)
    lock.acquire(0)
    lock.release()
    lock.release()
    ShellLock(tmp_path).acquire(0)


def test_it_is_the_file_that_the_prepended_program_locks() -> None:
    """docker/php-fpm/cli-prepend.php names it, and the record beside it, by itself."""
    prepend = (ROOT / "docker/php-fpm/cli-prepend.php").read_text()
    assert f"$state/{NAME}" in prepend
    assert "$state/record.json" in prepend
