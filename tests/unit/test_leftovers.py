"""What a devenv that was killed has left on this machine, and what grows while things go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.backends import settings
from devenv.engine.store import KEPT_RECEIPTS, Store
from devenv.errors import DevenvError
from devenv.images import building
from devenv.images.building import BuiltImages
from devenv.model.receipt import Receipt, Side
from devenv.model.stack import Stack
from devenv.tools import daemons, scratch

ROOT = Path(__file__).parents[2]
DOCKER = """#!/bin/sh
case "$*" in
version*) echo "1.51 linux/amd64" ;;
"context show") echo default ;;
*--output*)
    while [ "$1" != --output ]; do shift; done
    head -c 3000000 /dev/zero >"$2"
    touch "$TMPDIR/saved"
    exec sleep 60 ;;
esac
"""
ARCHIVE = "async with kind.archive(['image:v1']): pass"
BASE = "async with base.given('base', 'another', asyncio.Lock()): pass"
WORK = """
import asyncio
from devenv.images import base
from devenv.tools import kind

async def work():
    {work}

asyncio.run(work())
"""


@pytest.fixture
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def store(tmp_path: Path, tmpdir: Path) -> Store:
    return Store(tmp_path / "state")


@pytest.fixture
def env(tmp_path: Path, tmpdir: Path) -> dict[str, str]:
    """With a docker that writes an image and does not come to its end."""
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def wait_for(path: Path) -> None:
    ends = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < ends
        time.sleep(0.01)


def kill_all_with(environment: str) -> None:
    """What a process that was killed had started."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if environment.encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


@pytest.mark.parametrize("work", [ARCHIVE, BASE])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_an_image_in_tmpdir_goes_with_the_next_action_after_a_kill(
    store: Store, tmpdir: Path, env: dict[str, str], work: str, how: str
) -> None:
    name = f"{os.getpid()}-{time.monotonic_ns()}"
    process = subprocess.Popen(
        [sys.executable, "-c", WORK.format(work=work)], env={**env, "LEFTOVERS_OF": name}, cwd=ROOT
    )
    try:
        wait_for(tmpdir / "saved")
        # While it is at work, nobody takes it away.
        with store.locked("up"):
            pass
        assert sum(file.stat().st_size for file in tmpdir.glob("*/*")) >= 3_000_000
        process.send_signal(signal.Signals[how])
        process.wait()
    finally:
        process.kill()
        process.wait()
        kill_all_with(f"LEFTOVERS_OF={name}")
    with store.locked("up"):
        assert [path.name for path in tmpdir.iterdir()] == ["saved"]


def test_what_the_third_interrupt_leaves_goes_with_the_next_action(
    store: Store, tmpdir: Path, env: dict[str, str]
) -> None:
    program = (
        "import os; from devenv.tools import scratch\n"
        "with scratch.in_tmpdir() as folder:\n"
        "    (folder / 'images.tar').write_bytes(bytes(1000)); os._exit(130)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], env=env, cwd=ROOT).returncode == 130
    assert len(list(tmpdir.glob("*/images.tar"))) == 1
    with store.locked("up"):
        assert list(tmpdir.iterdir()) == []


def test_what_was_half_received_goes_with_the_next_action_and_nothing_else_does(store: Store) -> None:
    names = ["snapshots/1_saved_v1.tar", "receipts/1-v1-v2.json", "kind/ended-x.tar", "kind/portforward.part"]
    left = ["snapshots/2_down_v1.tar.part", "receipts/2-v1-v2.part", "kind/ended-y.tar.part"]
    for name in [*names, *left]:
        path = store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with store.locked("up"):
        files = {str(path.relative_to(store.folder)) for path in store.folder.glob("*/*")}
        assert files == set(names)
        late = store.folder / left[0]
        late.touch()
        # Whoever has the lock may be receiving it.
        with pytest.raises(DevenvError, match="at work"), Store(store.folder).locked("down"):
            pass
        assert late.exists()


def receipt(number: int) -> Receipt:
    side = Side("v1", "php-fpm-1", "id", "digest", 1)
    return Receipt(
        time=1e9 + number, old=side, new=replace(side, release="v2"), lineage="l", verified=True, reason="",
        tables=(), total_before="", total_after="", closed_ms=1.0, held=0, relayed=0, phases=(), seconds=1.0,
    )  # fmt: skip


def test_the_newest_receipts_stay(store: Store) -> None:
    for number in range(KEPT_RECEIPTS + 3):
        last = store.save_receipt(receipt(number))
    kept = store.receipts()
    assert len(kept) == KEPT_RECEIPTS
    assert kept[-1][0] == last
    assert kept[0][1].time == 1e9 + 3


@pytest.mark.parametrize("point", ["devenv.backends.settings.os.fdopen", "pathlib.Path.replace"])
def test_secrets_of_a_write_that_was_killed_go_with_the_next_look(tmp_path: Path, point: str) -> None:
    path = tmp_path / "compose/.env"
    settings.write(path, {"PORT": "1"})
    program = (
        "import os, signal, sys; from pathlib import Path; from unittest.mock import patch\n"
        "from devenv.backends import settings\n"
        "with patch(sys.argv[2], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):\n"
        "    settings.write(Path(sys.argv[1]), {'PORT': '2'})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path), point], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(path.parent.iterdir())) == 2
    assert not settings.write(path, {"PORT": "1"})
    assert list(path.parent.iterdir()) == [path]


def test_two_that_write_settings_at_once_are_both_done(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from devenv.backends import settings\n"
        "for number in range(60): settings.write(Path(sys.argv[1]), {sys.argv[2]: str(number)})\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / ".env"), name], cwd=ROOT, stderr=subprocess.PIPE
        )
        for name in ("A", "B")
    ]
    assert [(one.communicate()[1], one.returncode) for one in both] == [(b"", 0)] * 2
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


# The log of a program that goes on


TALKS = ["sh", "-c", "while :; do echo a line of some length or other; sleep 0.001; done"]


def test_the_log_of_a_program_that_goes_on_has_a_bound_while_it_runs(tmp_path: Path) -> None:
    log, limit = tmp_path / "daemon.log", 1000
    ended = daemons.start_bounded(TALKS, log, limit=limit, look=0.05)
    process = daemons._started[-2]
    try:
        began_anew, size = 0, 0
        ends = time.monotonic() + 60
        while began_anew < 3:
            assert time.monotonic() < ends
            before, size = size, log.stat().st_size
            began_anew += size < before
            time.sleep(0.005)
        earlier = log.with_name("daemon.log.1")
        assert 0 < earlier.stat().st_size <= limit
        assert ended() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert ended() == -signal.SIGKILL
    daemons.reap()
    assert daemons._started == []
    assert not [one for one in Path("/proc").glob("[0-9]*") if _of(one, log)]


def _of(process: Path, log: Path) -> bool:
    try:
        return str(log).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_whoever_bounds_a_log_ends_with_the_program(tmp_path: Path) -> None:
    daemons.start_bounded(["true"], tmp_path / "daemon.log", look=0.05)
    program, guard = daemons._started[-2:]
    program.wait()
    guard.wait(10)
    daemons.reap()


# Builds


def test_the_logs_of_the_newest_builds_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_KEPT_LOGS", 3)
    images = BuiltImages(Stack(), tmp_path, tmp_path, tmp_path / "builds")
    for number in range(6):
        path = images._log(f"php-fpm-v{number}.log")
        path.touch()
        os.utime(path, (number, number))
    images._log("php-fpm-v4.log")
    names = sorted(path.name for path in (tmp_path / "builds").iterdir())
    assert names == ["php-fpm-v3.log", "php-fpm-v4.log", "php-fpm-v5.log"]


def test_a_folder_in_tmpdir_is_for_its_user_alone(tmpdir: Path) -> None:
    with scratch.in_tmpdir() as folder:
        assert folder.parent == tmpdir
        assert folder.stat().st_mode & 0o777 == 0o700
