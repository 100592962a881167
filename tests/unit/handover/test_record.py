"""The record of an instance on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import record as records
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role, Successor

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RECORDS = st.builds(
    Record,
    uid=TEXT,
    role=st.sampled_from(Role),
    lineage=TEXT,
    epoch=st.integers(0, 1 << 40),
    token=TEXT,
    staged=st.booleans(),
    predecessor=TEXT,
    served=st.booleans(),
    successor=st.none() | st.builds(Successor, uid=TEXT, address=TEXT, control=TEXT, token=TEXT),
    sha256=TEXT,
    format=st.just(records.FORMAT),
)
FULL = Record(
    uid="u1",
    role=Role.MOVED,
    lineage="abc",
    epoch=7,
    served=True,
    successor=Successor("u2", "10.0.0.2:9000", "10.0.0.2:9010", "t"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/record.json"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(record=RECORDS)
def test_what_is_saved_is_what_is_loaded(path: Path, record: Record) -> None:
    records.save(path, record)
    loaded = records.load(path)
    assert loaded == record
    assert loaded is not None
    assert isinstance(loaded.role, Role)


def test_no_file_is_no_record(path: Path) -> None:
    assert records.load(path) is None


def test_each_new_instance_has_a_uid_of_its_own_and_nothing_else() -> None:
    one, other = Record(), Record()
    assert one.uid != other.uid
    assert (one.role, one.epoch, one.served, one.successor) == (Role.FRESH, 0, False, None)


def _raw(**changes: object) -> str:
    return json.dumps({**asdict(FULL), **changes})


def _without(key: str) -> str:
    return json.dumps({name: value for name, value in asdict(FULL).items() if name != key})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 400,
        b"\xff\xfe",
        _raw().encode()[:-1],
        _raw().encode()[: len(_raw()) // 2],
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        _raw(format=records.FORMAT + 1).encode(),
        _raw(format="1").encode(),
        _raw(format=None).encode(),
        _raw(role="king").encode(),
        _raw(unheard_of=1).encode(),
        _raw(successor={"uid": "only"}).encode(),
        _raw(successor="somebody").encode(),
        _without("successor").encode(),
        _without("format").encode(),
    ],
)
def test_a_damaged_or_foreign_record_is_a_problem_and_never_a_fresh_instance(
    path: Path, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        records.load(path)
    assert caught.value.error == "the record of this instance cannot be read"
    assert str(path) in caught.value.why
    assert caught.value.final


def test_a_newer_record_says_that_it_is_newer(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(_raw(format=records.FORMAT + 1))
    with pytest.raises(Problem, match="newer than this release knows"):
        records.load(path)


class Crash(Exception):
    pass


@pytest.mark.parametrize("step", ["write", "sync", "rename"])
def test_a_crash_at_any_step_of_saving_leaves_the_old_record(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    records.save(path, FULL)

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        if step == "write":
            patched.setattr(json, "dump", crash)
        elif step == "sync":
            patched.setattr(os, "fsync", crash)
        else:
            patched.setattr(Path, "rename", crash)
        with pytest.raises(Crash):
            records.save(path, FULL.evolve(role=Role.OWNER, epoch=8))
    assert records.load(path) == FULL
    # What the crash left behind does not stand in the way of the next one.
    records.save(path, FULL.evolve(epoch=9))
    assert records.load(path) == FULL.evolve(epoch=9)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What saving does, in order, with the size of what is synced."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def recorded_fsync(fd: int) -> None:
        is_folder = Path(f"/proc/self/fd/{fd}").resolve().is_dir()
        done.append("sync folder" if is_folder else f"sync {os.fstat(fd).st_size > 0}")
        fsync(fd)

    def recorded_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    return done


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_anyone_is_told(
    path: Path, steps: list[str]
) -> None:
    records.save(path, FULL)
    assert steps == ["sync True", "rename", "sync folder"]
