"""Snapshots lie where the application can write: whatever is found there is one, or is passed over."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import archive, changes, database, snapshot
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role
from devenv.handover.settings import Settings

Sql = Callable[..., list[tuple[object, ...]]]
Member = tuple[tarfile.TarInfo, bytes]
OWNER = Record(uid="u1", role=Role.OWNER, lineage="line", epoch=3, served=True)
KINDS = {
    "a hard link": tarfile.LNKTYPE,
    "a symbolic link": tarfile.SYMTYPE,
    "a device": tarfile.CHRTYPE,
    "a block device": tarfile.BLKTYPE,
    "a folder": tarfile.DIRTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "a file with holes": tarfile.GNUTYPE_SPARSE,
}
quick = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def content(settings: Settings, sql: Sql) -> Settings:
    sql(settings.database, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('one')")
    (settings.writable[0].path / "uploads" / "file").write_bytes(b"upload")
    return settings


@pytest.fixture
def whole(content: Settings) -> list[Member]:
    """The members of a snapshot that is right."""
    assert content.snapshots is not None
    path = content.snapshots / str(snapshot.save(content, OWNER)["file"])
    with tarfile.open(path) as tar:
        members = [(info, read(tar, info)) for info in tar]
    path.unlink()
    return members


def read(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> Member:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.linkname = "snapshot.json" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return info, data


def tar_of(path: Path, members: list[Member]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def saying(members: list[Member], **changes: Any) -> list[Member]:
    """The same, but that snapshot.json says something else of it."""
    said = {**json.loads(members[0][1]), **changes}
    return [member("snapshot.json", json.dumps(said).encode()), *members[1:]]


def is_passed_over(content: Settings, path: Path) -> str:
    """That nothing comes of it, and nothing is changed by it; why."""
    before = database.sha256(content.database)
    with pytest.raises(snapshot.Unusable) as described:
        snapshot.stage(path, content)
    assert described.value.error == "a snapshot cannot be used"
    assert database.sha256(content.database) == before
    assert (content.writable[0].path / "uploads" / "file").read_bytes() == b"upload"
    return described.value.why


def test_what_is_rebuilt_of_its_own_members_is_a_snapshot(
    content: Settings, whole: list[Member], tmp_path: Path
) -> None:
    """So that each of the refusals here has no other cause than the one that it tells of."""
    path = tar_of(tmp_path / "a.tar", saying(whole))
    assert snapshot.stage(path, content)["lineage"] == "line"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_that_is_no_regular_file_is_refused(
    content: Settings, whole: list[Member], tmp_path: Path, part: int, kind: bytes
) -> None:
    whole[part] = member(whole[part][0].name, b"", kind)
    is_passed_over(content, tar_of(tmp_path / "a.tar", whole))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"bytes": "12"}, "bytes"), ({"bytes": -1}, "bytes"), ({"bytes": 1 << 70}, "bytes"),
        ({"bytes": True}, "bytes"), ({"bytes": 3.5}, "bytes"), ({"bytes": 7}, "not as large"),
        ({"epoch": "3"}, "epoch"), ({"epoch": None}, "epoch"), ({"epoch": [3]}, "epoch"),
        ({"epoch": 1e400}, "epoch"), ({"lineage": None}, "lineage"), ({"lineage": ["line"]}, "lineage"),
        ({"lineage": "x" * 1000}, "lineage"), ({"lineage": "a\x1b]0;b"}, "lineage"),
        ({"time": 12}, "time"), ({"time": "yesterday"}, "time"), ({"release": {}}, "release"),
        ({"sha256": None}, "sha256"), ({"sha256": "x" * 64}, "sha256"), ({"damage": "much"}, "damage"),
        ({"damage": [7]}, "damage"), ({"fingerprint": []}, "fingerprint"), ({"format": "1"}, "what it is"),
        ({"format": -1}, "what it is"), ({"format": True}, "what it is"),
    ],
)  # fmt: skip
def test_one_that_says_something_of_another_kind_is_refused(
    content: Settings, whole: list[Member], tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    assert words in is_passed_over(content, tar_of(tmp_path / "a.tar", saying(whole, **said)))


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"null", b"\xff\xfe", b"", b" " * (9 << 20)],
    ids=["lists", "objects", "number", "null", "bytes", "empty", "large"],
)
def test_one_whose_description_cannot_be_read_is_refused(
    content: Settings, whole: list[Member], tmp_path: Path, text: bytes
) -> None:
    path = tar_of(tmp_path / "a.tar", [member("snapshot.json", text), *whole[1:]])
    assert "snapshot.json" in is_passed_over(content, path)


def test_one_that_is_packed_is_refused_before_it_is_unpacked(
    content: Settings, whole: list[Member], tmp_path: Path
) -> None:
    path = tar_of(tmp_path / "a.tar", whole)
    path.write_bytes(gzip.compress(path.read_bytes()))
    is_passed_over(content, path)


def test_folders_that_are_packed_within_are_refused_before_they_are_unpacked(
    content: Settings, whole: list[Member], tmp_path: Path
) -> None:
    """A megabyte that becomes a gigabyte would fill the disk."""
    whole[2] = member("changes.tar", gzip.compress(whole[2][1]))
    is_passed_over(content, tar_of(tmp_path / "a.tar", whole))


@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_one_that_lacks_a_part_is_refused(
    content: Settings, whole: list[Member], tmp_path: Path, lacks: int
) -> None:
    del whole[lacks]
    is_passed_over(content, tar_of(tmp_path / "a.tar", whole))


def test_one_that_has_a_part_twice_is_refused(content: Settings, whole: list[Member], tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", [*whole, whole[1]])
    assert "twice" in is_passed_over(content, path)


def test_one_with_more_members_than_any_has_is_refused(
    content: Settings, whole: list[Member], tmp_path: Path
) -> None:
    more = [member(f"more{number}") for number in range(20)]
    assert "more than 16 members" in is_passed_over(content, tar_of(tmp_path / "a.tar", [*whole, *more]))


def test_all_that_it_holds_must_have_room_not_the_database_alone(
    content: Settings, whole: list[Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[int] = []
    monkeypatch.setattr(database, "need_space", lambda folder, size: wanted.append(size))
    path = tar_of(tmp_path / "a.tar", whole)
    snapshot.stage(path, content)
    assert wanted == [len(whole[1][1]) + 2 * len(whole[2][1])]


def made_to_trip(header: bytes, **fields: tuple[int, bytes]) -> bytes:
    """A header with some of its bytes replaced, and its checksum made right again."""
    raw = bytearray(header)
    for offset, value in fields.values():
        raw[offset : offset + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


def header(kind: bytes, size: int) -> bytes:
    """Of a member that is said to be of any size, also less than none."""
    plain = tarfile.TarInfo("snapshot.json").tobuf(tarfile.GNU_FORMAT)
    said = struct.pack(">Iq", 0xFFFFFFFF if size < 0 else 0x80000000, size)
    return made_to_trip(plain, size=(124, said), kind=(156, kind))


TRAPS = {
    "a file of less than no bytes": header(tarfile.REGTYPE, -1024),
    "a file that goes on behind the end": header(tarfile.REGTYPE, 1 << 60),
    "a header of less than no bytes": header(tarfile.XHDTYPE, -512),
    "a header of a gigabyte": header(tarfile.XHDTYPE, 1 << 30),
    "a name of a gigabyte": header(tarfile.GNUTYPE_LONGNAME, 1 << 30),
    "headers of headers": header(tarfile.XHDTYPE, 0) * 5000,
    "holes without end": made_to_trip(header(tarfile.GNUTYPE_SPARSE, 0), more=(482, b"\1"))
    + (b"\1" * 512) * 5000,
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_one_that_is_made_to_trip_who_reads_it_is_refused(
    content: Settings, tmp_path: Path, trap: bytes
) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(trap)
        file.truncate(2 << 30)
    tracemalloc.start()
    try:
        is_passed_over(content, path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_folders_that_are_made_to_trip_who_unpacks_them_are_refused(
    settings: Settings, tmp_path: Path, trap: bytes
) -> None:
    path = tmp_path / "changes.tar"
    with path.open("wb") as file:
        file.write(trap)
        file.truncate(2 << 30)
    with pytest.raises(Problem, match="not whole|does not belong"):
        changes.unpack(path, settings)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"[]", b"7", b"{", b"\xff"])
def test_folders_whose_list_is_none_are_refused(settings: Settings, tmp_path: Path, text: bytes) -> None:
    path = tar_of(tmp_path / "changes.tar", [member(changes.MANIFEST, text)])
    with pytest.raises(Problem, match="not whole"):
        changes.unpack(path, settings)


def left_by(folder: Path) -> Iterator[Path]:
    """What has the name of a snapshot, and is no file."""
    os.mkfifo(fifo := folder / "9.tar")
    yield fifo
    (inner := folder / "8.tar").mkdir()
    yield inner
    (dangling := folder / "7.tar").symlink_to("nowhere")
    yield dangling
    (device := folder / "6.tar").symlink_to("/dev/zero")
    yield device


def test_what_is_no_file_keeps_no_new_instance_from_its_content(content: Settings, sql: Sql) -> None:
    assert content.snapshots is not None
    saved = snapshot.save(content, OWNER)["file"]
    sql(content.database, "INSERT INTO note VALUES ('two')")
    others = list(left_by(content.snapshots))
    passed_over: list[Path] = []
    found = snapshot.stage_last(content, lambda path, problem: passed_over.append(path))
    assert found is not None
    assert found[0].name == saved
    assert set(passed_over) == set(others)
    assert sql(content.staged, "SELECT count(*) FROM note") == [(1,)]


def test_a_folder_with_the_name_of_an_old_snapshot_spoils_no_new_one(content: Settings) -> None:
    assert content.snapshots is not None
    for number in range(snapshot.KEPT + 1):
        (content.snapshots / f"0{number}.tar").mkdir()
    assert (content.snapshots / snapshot.save(content, OWNER)["file"]).is_file()


def test_a_full_disk_while_it_is_put_in_place_does_not_make_it_unusable(
    content: Settings, whole: list[Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one would be taken instead."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.Archive, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        path = tar_of(tmp_path / "a.tar", whole)
        snapshot.stage(path, content)


@quick
@given(st.binary(max_size=3000))
def test_whatever_bytes_lie_there_are_passed_over(content: Settings, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(raw)
    with pytest.raises(snapshot.Unusable):
        snapshot.describe(path)


@quick
@given(data=st.data())
def test_a_snapshot_with_wrong_bytes_in_its_headers_is_one_or_is_passed_over(
    content: Settings, whole: list[Member], tmp_path: Path, data: st.DataObject
) -> None:
    path = tar_of(tmp_path / "a.tar", whole)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, 1500))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with suppress(Problem):
        snapshot.describe(path)
    with suppress(Problem):
        snapshot.stage(path, content)


SAID = ("format", "lineage", "epoch", "release", "time", "sha256", "bytes", "damage", "fingerprint")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@quick
@given(said=st.dictionaries(st.sampled_from(SAID), JSON) | JSON)
def test_whatever_it_says_of_itself_it_is_one_or_is_passed_over(
    content: Settings, whole: list[Member], tmp_path: Path, said: Any
) -> None:
    about = {**json.loads(whole[0][1]), **said} if isinstance(said, dict) else said
    members = [member("snapshot.json", json.dumps(about).encode()), *whole[1:]]
    with suppress(Problem):
        found = snapshot.describe(tar_of(tmp_path / "a.tar", members))
        # What everybody counts on who reads it.
        assert found["bytes"] == len(whole[1][1])
        assert sorted([(found["epoch"], "name"), (3, "other")])
        assert len(found["sha256"]) == 64
