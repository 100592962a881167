"""What a kill leaves behind: found, and removed, by whoever comes next; never what somebody still holds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devenv.handover import record as records
from devenv.handover import scratch
from devenv.handover.record import Record, Role
from devenv.handover.scratch import Scratch
from devenv.handover.settings import Settings

Sql = Callable[..., list[tuple[object, ...]]]
ROOT = Path(__file__).parents[3]
OWNER = Record(uid="u1", role=Role.OWNER, lineage="line", epoch=3, served=True)
HOLD = (
    "import sys, time; from pathlib import Path; from devenv.handover.scratch import Scratch\n"
    "with Scratch(Path(sys.argv[1])) as folder:\n"
    "    (folder / 'much').write_bytes(bytes(1000))\n"
    "    print(folder, flush=True); time.sleep(60)\n"
)
KILLED_AT = (
    "import os, signal, sys\n"
    "from importlib import import_module\n"
    "from devenv.handover.__main__ import main\n"
    "module, name = sys.argv.pop(1).split(':')\n"
    "place = import_module(module)\n"
    "*folders, name = name.split('.')\n"
    "for folder in folders: place = getattr(place, folder)\n"
    "setattr(place, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))\n"
    "sys.exit(main())\n"
)
SNAPSHOT_POINTS = [
    "devenv.handover.scratch:_lock_of",
    "devenv.handover.scratch:os.path.samestat",
    "devenv.handover.database:_copied",
    "devenv.handover.database:sqlite3.connect",
    "devenv.handover.database:check",
    "devenv.handover.snapshot:fingerprint",
    "devenv.handover.changes:pack",
    "devenv.handover.snapshot:json.dumps",
    "devenv.handover.snapshot:tarfile.open",
    "devenv.handover.snapshot:os.fsync",
    "devenv.handover.snapshot:Path.rename",
    "devenv.handover.scratch:shutil.rmtree",
]


@pytest.fixture
def content(settings: Settings, sql: Sql) -> Settings:
    """An owner's, of some megabytes."""
    sql(settings.database, "CREATE TABLE t AS SELECT randomblob(3000000) AS b")
    (settings.writable[0].path / "uploads/file").write_bytes(b"upload")
    records.save(settings.state / "record.json", OWNER)
    return settings


@pytest.fixture
def env(content: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GATE_DATABASE": str(content.database),
        "GATE_SNAPSHOTS": str(content.snapshots),
        "GATE_SECRET_FILE": str(content.secret_file),
        "GATE_CONTROL": "127.0.0.1:1",
    }


def gate(env: dict[str, str], *arguments: str) -> int:
    """The exit code of `gate`."""
    argv = [sys.executable, "-m", "devenv.handover", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, cwd=ROOT).returncode


def all_files(settings: Settings) -> list[str]:
    root = settings.database.parent.parent
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@contextmanager
def held(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is at work in a folder of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("where", SNAPSHOT_POINTS)
def test_a_snapshot_that_was_killed_at_a_point_leaves_nothing_beside_the_next_one(
    content: Settings, env: dict[str, str], where: str
) -> None:
    (content.state / "shell.lock").touch()
    before = all_files(content)
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, where, "snapshot"], env=env, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    done = [path for path in all_files(content) if path.endswith(".tar") and ".devenv-scratch" not in path]
    assert gate(env, "snapshot") == 0
    now = {path.name for path in content.snapshots.glob("*.tar")} if content.snapshots else set()
    assert all_files(content) == sorted({*before, *done, *(f"snapshots/{name}" for name in now)})


@pytest.mark.parametrize(
    "where",
    [
        "devenv.handover.scratch:os.path.samestat",
        "devenv.handover.database:_copied",
        "devenv.handover.__main__:fingerprint",
        "devenv.handover.scratch:shutil.rmtree",
    ],
)
def test_a_fingerprint_that_was_killed_leaves_nothing_beside_the_next_one(
    content: Settings, env: dict[str, str], where: str
) -> None:
    (content.state / "shell.lock").touch()
    before = all_files(content)
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, where, "fingerprint"], env=env, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert gate(env, "fingerprint") == 0
    assert all_files(content) == before


@pytest.mark.parametrize(
    "where", ["devenv.handover.__main__:shutil.copyfileobj", "devenv.handover.__main__:_ask"]
)
def test_a_restore_that_was_killed_leaves_nothing_beside_the_next_call(
    content: Settings, env: dict[str, str], where: str
) -> None:
    (content.state / "shell.lock").touch()
    before = all_files(content)
    argv = [sys.executable, "-c", KILLED_AT, where, "restore", str(content.database)]
    killed = subprocess.run(argv, env=env, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(all_files(content)) > len(before)
    assert gate(env, "fingerprint") == 0
    assert all_files(content) == before


def test_calls_that_are_killed_at_any_moment_leave_nothing_beside_the_next_ones(
    content: Settings, env: dict[str, str]
) -> None:
    (content.state / "shell.lock").touch()
    before = all_files(content)
    calls = [["snapshot"], ["fingerprint"], ["snapshot", "-o", "/dev/null"], ["restore", "/dev/zero"]]
    left = 0
    for number in range(16):
        process = subprocess.Popen(
            [sys.executable, "-m", "devenv.handover", *calls[number % len(calls)]],
            env=env,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ends = time.monotonic() + 10
        while not list(content.state.glob(".devenv-scratch-*")) and time.monotonic() < ends:
            if process.poll() is not None:
                break
        time.sleep(random.random() * 0.03)
        process.kill()
        process.wait()
        left += bool(list(content.state.glob(".devenv-scratch-*")))
    assert left > 0
    assert gate(env, "snapshot") == 0
    assert gate(env, "fingerprint") == 0
    assert content.snapshots is not None
    saved = {f"snapshots/{path.name}" for path in content.snapshots.glob("*.tar")}
    assert all_files(content) == sorted({*before, *saved})


def test_what_a_process_is_at_work_in_stays_and_goes_when_it_was_killed(tmp_path: Path) -> None:
    with held(tmp_path) as (process, folder):
        scratch.sweep(tmp_path)
        assert (folder / "much").stat().st_size == 1000
        process.kill()
        process.wait()
        scratch.sweep(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_age_says_nothing_about_whether_somebody_is_at_work(tmp_path: Path) -> None:
    with held(tmp_path) as (_, folder):
        for path in (folder, *folder.iterdir()):
            os.utime(path, (0, 0))
        scratch.sweep(tmp_path)
        assert (folder / "much").exists()


def test_many_that_begin_and_sweep_at_once_take_nothing_from_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from devenv.handover.scratch import Scratch\n"
        "for _ in range(150):\n"
        "    with Scratch(Path(sys.argv[1])) as folder:\n"
        "        (folder / 'a').write_bytes(b'a'); (folder / 'a').rename(folder / 'b')\n"
        "        assert (folder / 'b').read_bytes() == b'a'\n"
    )
    many = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [(one.communicate()[1], one.returncode) for one in many] == [(b"", 0)] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / ".devenv-scratch-link").symlink_to(precious)
    scratch.sweep(tmp_path)
    assert [path.name for path in precious.iterdir()] == ["file"]


def test_what_belongs_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    foreign = tmp_path / ".devenv-scratch-foreign"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    with Scratch(tmp_path):
        assert list(foreign.iterdir()) == []


def test_what_is_in_a_folder_of_its_own_goes_with_it_whatever_happened(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Scratch(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep/file").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "stays"),
    [
        (Record(role=Role.INCOMING, token="t", staged=True), True),
        (Record(role=Role.INCOMING, token="t"), False),
        (OWNER, False),
        (Record(), False),
    ],
)
def test_a_gate_that_starts_keeps_what_is_staged_and_no_other_leftovers(
    settings: Settings, record: Record, stays: bool
) -> None:
    settings.staging.mkdir()
    (settings.staging / "database.sqlite").write_bytes(b"all that there is")
    assert settings.snapshots is not None
    for folder in (settings.state, settings.snapshots):
        (folder / ".devenv-scratch-killed").mkdir()
    with held(settings.snapshots) as (_, other):
        scratch.clear(settings, record)
        assert settings.staging.exists() is stays
        assert [path.name for path in settings.state.iterdir()] == (["incoming"] if stays else [])
        assert list(settings.snapshots.iterdir()) == [other]


def test_a_file_that_could_not_be_made_is_given_to_nobody(tmp_path: Path) -> None:
    with scratch.passed_on(tmp_path) as path:
        path.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(OSError), scratch.passed_on(tmp_path) as half:
        half.write_bytes(b"half")
        raise OSError
    assert list(tmp_path.iterdir()) == [path]
