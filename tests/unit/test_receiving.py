"""What comes out of an instance: taken through a pipe, into a file of our own, whole or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tarfile
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from devenv.backends import snapshots
from devenv.errors import CommandFailed, DevenvError
from devenv.tools import pipe, process

DATABASE = bytes(range(256)) * 4000


def sending(script: str) -> pipe.Send:
    """A program that does what `script` says, whose output goes to the pipe."""
    argv = [sys.executable, "-c", f"import os, sys, time; out = sys.stdout.buffer\n{script}"]
    return lambda sink: process.run(argv, stdout=sink, timeout=30)


def writing(path: Path) -> pipe.Send:
    return sending(f"out.write(open({str(path)!r}, 'rb').read())")


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    said = {
        "format": 2, "lineage": "a", "epoch": 1, "release": "v1", "time": "2026-01-31T12:00:00Z",
        "sha256": "0" * 64, "bytes": len(DATABASE),
    }  # fmt: skip
    (folder := tmp_path / "made").mkdir()
    (folder / "snapshot.json").write_text(json.dumps(said))
    (folder / "database.sqlite").write_bytes(DATABASE)
    (folder / "changes.tar").touch()
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        for name in ("snapshot.json", "database.sqlite", "changes.tar"):
            tar.add(folder / name, name)
    return tmp_path / "made.tar"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (folder := tmp_path / "snapshots").mkdir()
    return folder / "a.tar"


def nothing_is_left(into: Path) -> bool:
    return list(into.parent.iterdir()) == []


async def test_what_is_written_is_taken() -> None:
    assert (
        await pipe.through(sending("out.write(b'all of it')"), lambda source: source.read()) == b"all of it"
    )


async def test_who_has_enough_ends_the_program_and_says_why() -> None:
    def enough(source: IO[bytes]) -> None:
        source.read(1000)
        raise ValueError("a thousand is enough")

    with pytest.raises(ValueError, match="a thousand is enough"):
        await pipe.through(sending("while True: out.write(bytes(1 << 20))"), enough)


async def test_a_program_that_fails_is_not_taken_for_one_that_said_little() -> None:
    def parsed(source: IO[bytes]) -> Any:
        return json.loads(source.read())

    with pytest.raises(CommandFailed, match="the cause"):
        await pipe.through(sending("sys.exit('the cause')"), parsed)


async def test_nothing_of_it_is_left_when_it_is_cancelled() -> None:
    began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ended = threading.Event()

    def reading(source: IO[bytes]) -> None:
        began.get_loop().call_soon_threadsafe(began.set_result, int(source.readline()))
        source.read()
        ended.set()

    send = sending("out.write(b'%d\\n' % os.getpid()); out.flush(); time.sleep(60)")
    work = asyncio.create_task(pipe.through(send, reading))
    writer = await began
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended.is_set()
    with pytest.raises(ProcessLookupError):
        os.kill(writer, 0)


async def test_a_snapshot_is_received_whole(snapshot: Path, into: Path) -> None:
    about = await snapshots.receive(into, writing(snapshot))
    assert about["bytes"] == len(DATABASE)
    assert into.read_bytes() == snapshot.read_bytes()
    assert into.stat().st_mode & 0o777 == 0o600
    assert list(into.parent.iterdir()) == [into]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
async def test_half_a_snapshot_is_none(snapshot: Path, into: Path, share: float) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[: int(len(DATABASE) * share)])
    with pytest.raises(DevenvError, match="not whole"):
        await snapshots.receive(into, writing(snapshot))
    assert nothing_is_left(into)


async def test_a_link_that_lies_where_it_is_written_leads_nowhere(
    snapshot: Path, into: Path, tmp_path: Path
) -> None:
    """The name is one that a killed run has left, at most; but what it leads to may be anything."""
    (other := tmp_path / "other").write_text("of somebody else")
    other.chmod(0o644)
    into.with_name("a.tar.part").symlink_to(other)
    await snapshots.receive(into, writing(snapshot))
    assert other.read_text() == "of somebody else"
    assert other.stat().st_mode & 0o777 == 0o644
    assert not into.is_symlink()


async def test_what_the_disk_has_no_room_for_is_refused_and_not_cut(
    snapshot: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = shutil.disk_usage(into.parent)._replace(free=snapshots.RESERVE + 100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(DevenvError, match="the snapshot is too large.*has room for"):
        await snapshots.receive(into, writing(snapshot))
    assert nothing_is_left(into)


async def test_what_is_larger_than_any_snapshot_is_refused(
    snapshot: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MOST", 100_000)
    with pytest.raises(DevenvError, match="the snapshot is too large.*may have"):
        await snapshots.receive(into, sending("while True: out.write(bytes(1 << 20))"))
    assert nothing_is_left(into)


async def test_what_the_disk_refuses_is_told_with_the_folder(snapshot: Path, into: Path) -> None:
    into.with_name("a.tar.part").mkdir()
    with pytest.raises(DevenvError, match="cannot be saved on this machine") as refused:
        await snapshots.receive(into, writing(snapshot))
    assert str(into.parent) in refused.value.why


async def test_a_program_that_fails_leaves_nothing(snapshot: Path, into: Path) -> None:
    """Though all of it came: who has sent it says that it has not."""
    send = sending(f"out.write(open({str(snapshot)!r}, 'rb').read()); out.flush(); sys.exit('half of it')")
    with pytest.raises(CommandFailed, match="half of it"):
        await snapshots.receive(into, send)
    assert nothing_is_left(into)
