"""Folders that move with the database, and archives that want to go elsewhere."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import changes
from devenv.handover.problem import Problem
from devenv.handover.settings import Settings

Moved = Callable[[changes.Manifest], changes.Manifest]


@pytest.fixture
def folder(settings: Settings) -> Path:
    """The owner's, in which all that there is has been made by it."""
    path = settings.writable[0].path / "uploads"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def new(tmp_path: Path) -> Settings:
    """Of the instance that takes the changes."""
    (secret := tmp_path / "secret").write_text("s" * 40)
    (tmp_path / "new/data").mkdir(parents=True)
    return Settings.from_env(
        {
            "GATE_DATABASE": str(tmp_path / "new/data/database.sqlite"),
            "GATE_PRISTINE": str(tmp_path / "pristine"),
            "GATE_SECRET_FILE": str(secret),
        }
    )


@pytest.fixture
def staging(new: Settings) -> Path:
    """Where the new instance has what came of the folder."""
    return new.writable[0].staged / "uploads"


@pytest.fixture
def move(settings: Settings, new: Settings, tmp_path: Path) -> Moved:
    """One exchange: pack what is not `known`, and unpack it."""

    def run(known: changes.Manifest) -> changes.Manifest:
        archive = tmp_path / "archive.tar"
        changes.pack(settings, known, archive)
        return changes.unpack(archive, new).has

    return run


def entries(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [name for name in tar.getnames() if name != changes.MANIFEST]


def tree(root: Path) -> dict[str, Any]:
    """path: content, link or folder, with its mode."""
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        kind: Any = (
            f"-> {path.readlink()}"
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "folder"
        )
        found[str(path.relative_to(root))] = (kind, path.lstat().st_mode)
    return found


def age() -> None:
    """Nothing that the clock could confuse: the next listing sees it as it is."""
    time.sleep(0.02)


def test_all_of_it_arrives_with_modes_times_and_links(folder: Path, staging: Path, move: Moved) -> None:
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_bytes(os.urandom(3000))
    (folder / "large").write_bytes(os.urandom((1 << 20) + 7))
    (folder / "empty").touch()
    (folder / "private").write_bytes(b"x")
    (folder / "private").chmod(0o600)
    (folder / "deep").chmod(0o750)
    os.utime(folder / "private", ns=(10**18, 10**18 + 123_456_789))
    (folder / "link").symlink_to("deep/er/file")
    (folder / "outside").symlink_to("/etc/hostname")
    (folder / "dangling").symlink_to("nowhere")
    move({})
    assert tree(staging) == tree(folder)
    assert (staging / "private").stat().st_mtime_ns == pytest.approx(10**18 + 123_456_789, abs=1000)


@pytest.mark.parametrize(
    "name",
    ["with space", "new\nline", "\u00fcml\u00e4ut", "-rf", "manifest", "a" * 200, "\udcff", "x\\y", "*"],
)
def test_files_of_any_name_arrive(folder: Path, staging: Path, move: Moved, name: str) -> None:
    (folder / name).write_bytes(b"content")
    move({})
    assert (staging / name).read_bytes() == b"content"


def test_the_owner_of_a_file_arrives(folder: Path, staging: Path, move: Moved) -> None:
    (folder / "file").touch()
    if os.geteuid() == 0:
        os.chown(folder / "file", 33, 33)
    move({})
    there = (staging / "file").stat()
    assert (there.st_uid, there.st_gid) == ((folder / "file").stat().st_uid, (folder / "file").stat().st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_of_a_file_is_its_number_whatever_name_that_has_here(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    owned = member("data/uploads/file")
    owned[0].uid, owned[0].uname = 33, "root"
    changes.unpack(archive_of(tmp_path / "a.tar", FOLDER, owned, manifest=mentioned(FOLDER, owned)), new)
    assert (staging / "file").stat().st_uid == 33


def test_a_folder_that_got_another_mode_has_it_there_too(folder: Path, staging: Path, move: Moved) -> None:
    (folder / "deep").mkdir()
    known = move({})
    folder.chmod(0o711)
    (folder / "deep").chmod(0o700)
    move(known)
    assert stat.S_IMODE(staging.stat().st_mode) == 0o711
    assert stat.S_IMODE((staging / "deep").stat().st_mode) == 0o700


def test_two_names_of_one_file_arrive_as_two_files(folder: Path, staging: Path, move: Moved) -> None:
    (folder / "one").write_bytes(b"content")
    os.link(folder / "one", folder / "two")
    (folder / "big").write_bytes(b"y" * (2 << 20))
    os.link(folder / "big", folder / "big too")
    move({})
    assert (staging / "one").read_bytes() == (staging / "two").read_bytes() == b"content"
    assert (staging / "big").read_bytes() == (staging / "big too").read_bytes() == b"y" * (2 << 20)


def test_a_writable_folder_that_is_itself_a_link_arrives_with_its_content(
    settings: Settings, folder: Path, staging: Path, move: Moved
) -> None:
    (folder / "file").write_bytes(b"content")
    data = settings.writable[0].path
    data.rename(data.with_name("elsewhere"))
    data.symlink_to("elsewhere")
    move({})
    assert (staging / "file").read_bytes() == b"content"


def test_pipes_and_sockets_stay_behind(folder: Path, staging: Path, move: Moved) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "file").touch()
    move({})
    assert list(tree(staging)) == ["file"]


def test_a_folder_in_which_nothing_has_changed_is_nothing(settings: Settings, move: Moved) -> None:
    changes.remove(settings.writable[0].path / "uploads")
    assert move({}) == {}


def test_only_what_differs_is_sent_the_second_time(
    folder: Path, staging: Path, move: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "RACY", 0.01)
    for name in ("same", "changed", "removed", "moded"):
        (folder / name).write_bytes(b"before")
    age()
    known = move({})
    (folder / "changed").write_bytes(b"behind")  # of the same size
    (folder / "removed").unlink()
    (folder / "moded").chmod(0o640)
    (folder / "added").write_bytes(b"new")
    move(known)
    assert sorted(entries(tmp_path / "archive.tar")) == [
        f"data/uploads/{name}" for name in ("added", "changed", "moded")
    ]
    assert tree(staging) == tree(folder)


def test_a_change_that_keeps_size_and_time_is_noticed(
    folder: Path, staging: Path, move: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "RACY", 0.01)
    (folder / "file").write_bytes(b"before")
    times = (folder / "file").stat()
    age()
    known = move({})
    (folder / "file").write_bytes(b"behind")
    os.utime(folder / "file", ns=(times.st_atime_ns, times.st_mtime_ns))
    age()
    move(known)
    assert (staging / "file").read_bytes() == b"behind"


def test_what_was_changed_just_before_it_was_listed_is_sent_again(
    folder: Path, move: Moved, tmp_path: Path
) -> None:
    (folder / "file").write_bytes(b"content")
    known = move({})
    move(known)
    assert entries(tmp_path / "archive.tar") == ["data/uploads/file"]


@pytest.mark.parametrize("before", ["file", "folder", "link"])
@pytest.mark.parametrize("after", ["file", "folder", "link"])
def test_what_was_one_thing_and_is_another_arrives_as_that(
    folder: Path, staging: Path, move: Moved, before: str, after: str
) -> None:
    def make(kind: str, number: int) -> None:
        if kind == "file":
            (folder / "it").write_bytes(b"%d" % number)
        elif kind == "link":
            (folder / "it").symlink_to(f"target-{number}")
        else:
            (folder / "it").mkdir()
            (folder / f"it/file-{number}").write_bytes(b"inside")

    make(before, 1)
    known = move({})
    changes.remove(folder / "it")
    make(after, 2)
    move(known)
    assert tree(staging) == tree(folder)


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "link", "mode"]), NAMES, st.binary(max_size=3)), max_size=8
)


def _apply(folder: Path, step: tuple[str, str, bytes]) -> None:
    what, name, content = step
    path = folder / name
    if what == "remove":
        changes.remove(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "mode":
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600 + len(content))
        return
    changes.remove(path)
    if what == "write":
        path.write_bytes(content)
    else:
        path.symlink_to(f"to-{len(content)}")


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(early=STEPS, late=STEPS)
def test_after_any_changes_both_sides_have_the_same(
    folder: Path, staging: Path, move: Moved, early: list[Any], late: list[Any]
) -> None:
    for path in folder.iterdir():
        changes.remove(path)
    changes.remove(staging)
    for step in early:
        _apply(folder, step)
    known = move({})
    for step in late:
        _apply(folder, step)
    has = move(known)
    assert tree(staging) == tree(folder)
    assert {f"data/uploads/{name}" for name in tree(folder)} | {"data/uploads"} == set(has)


# Archives that were not made by pack()


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], manifest: Any = None) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if manifest is not None:
            listed = json.dumps({"has": manifest, "images": [], "apart": []}).encode()
            info = tarfile.TarInfo(changes.MANIFEST)
            info.size = len(listed)
            tar.addfile(info, io.BytesIO(listed))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, linkname, 0o755
    return info, content


def mentioned(*members: tuple[tarfile.TarInfo, bytes]) -> dict[str, Any]:
    return {
        info.name: ["dir", 0o755]
        if info.isdir()
        else ["link", info.linkname]
        if info.issym()
        else [0, 0, 0, 0]
        for info, _ in members
    }


FOLDER = member("data/u", tarfile.DIRTYPE)
REFUSED = (
    "the owner sent something that does not belong", "there is something for which this release has no place",
    "the database of this release is a file like any other",
)  # fmt: skip


@pytest.mark.parametrize(
    "evil",
    [
        (member("../outside/x", content=b"evil"),),
        (member("data/u/../../outside/x", content=b"evil"),),
        (member("..", tarfile.DIRTYPE),),
        (member("{outside}/x", content=b"evil"),),
        (
            member("data/u/link", tarfile.SYMTYPE, "{outside}"),
            member("data/u/link/x", content=b"evil"),
        ),
        (
            member("data/u/link", tarfile.SYMTYPE, "../../outside"),
            member("data/u/link/x", content=b"evil"),
        ),
        (
            member("data/u/link", tarfile.SYMTYPE, "{outside}"),
            member("data/u/link/deep", tarfile.DIRTYPE),
        ),
        (
            member("data/u/a", tarfile.SYMTYPE, "{outside}"),
            member("data/u/b", tarfile.SYMTYPE, "a"),
            member("data/u/b/x", content=b"evil"),
        ),
        (member("data/u/hard", tarfile.LNKTYPE, "{outside}/file"),),
        (member("data/u/hard", tarfile.LNKTYPE, "../outside/file"),),
        (member("data/u/device", tarfile.CHRTYPE),),
        (member("data/u/block", tarfile.BLKTYPE),),
        (member("data/u/pipe", tarfile.FIFOTYPE),),
        (member("data/.gate/record.json", content=b"{}"),),
        (member("data/database.sqlite", content=b"evil"),),
        (member("data/database.sqlite-wal", content=b"evil"),),
        (member("data", tarfile.SYMTYPE, "/tmp"),),
    ],
    ids=lambda evil: ", ".join(info.name for info, _ in evil),
)
def test_an_archive_that_wants_to_go_elsewhere_is_refused_and_nothing_is_there(
    tmp_path: Path, new: Settings, staging: Path, evil: tuple[tuple[tarfile.TarInfo, bytes], ...]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"before")
    for info, _ in evil:
        info.name = info.name.replace("{outside}", str(outside))
        info.linkname = info.linkname.replace("{outside}", str(outside))
    members = (FOLDER, *evil)
    archive = archive_of(tmp_path / "evil.tar", *members, manifest=mentioned(*members))
    with pytest.raises(Problem) as caught:
        changes.unpack(archive, new)
    assert caught.value.error.startswith(REFUSED)
    assert sorted(path.name for path in outside.iterdir()) == ["file"]
    assert (outside / "file").read_bytes() == b"before"


def test_a_file_over_a_link_replaces_the_link_and_not_what_it_points_to(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    (tmp_path / "target").write_bytes(b"before")
    members = (
        FOLDER,
        member("data/u/it", tarfile.SYMTYPE, str(tmp_path / "target")),
        member("data/u/it", content=b"after"),
    )
    changes.unpack(archive_of(tmp_path / "a.tar", *members, manifest=mentioned(*members)), new)
    assert (tmp_path / "target").read_bytes() == b"before"
    assert (staging.with_name("u") / "it").read_bytes() == b"after"


def test_the_mode_of_what_a_link_points_to_is_left_alone(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "target").chmod(0o600)
    members = (FOLDER, member("data/u/it", tarfile.SYMTYPE, str(tmp_path / "target")))
    changes.unpack(archive_of(tmp_path / "a.tar", *members, manifest=mentioned(*members)), new)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o600


def test_an_entry_that_the_manifest_does_not_name_does_not_stay(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    archive = archive_of(tmp_path / "a.tar", FOLDER, member("data/u/extra"), manifest=mentioned(FOLDER))
    changes.unpack(archive, new)
    assert list(tree(new.writable[0].staged)) == ["u"]


def test_an_archive_without_a_manifest_is_refused_and_takes_nothing_away(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    """A header that is damaged ends an archive, as tarfile reads it; what followed would be gone."""
    staging.mkdir(parents=True)
    (staging / "kept").write_bytes(b"content")
    with pytest.raises(Problem, match="not whole"):
        changes.unpack(archive_of(tmp_path / "a.tar", FOLDER), new)
    assert (staging / "kept").read_bytes() == b"content"


def test_a_manifest_that_names_what_is_not_there_is_refused(
    tmp_path: Path, new: Settings, staging: Path
) -> None:
    manifest = mentioned(FOLDER, member("data/u/missing"))
    with pytest.raises(Problem, match="data/u/missing") as caught:
        changes.unpack(archive_of(tmp_path / "a.tar", FOLDER, manifest=manifest), new)
    assert not caught.value.final


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_an_archive_that_was_cut_is_refused(
    settings: Settings, folder: Path, new: Settings, tmp_path: Path, share: float
) -> None:
    for number in range(10):
        (folder / f"{number}").write_bytes(os.urandom(4000))
    archive = tmp_path / "archive.tar"
    changes.pack(settings, {}, archive)
    with archive.open("r+b") as file:
        file.truncate(int(archive.stat().st_size * share * 0.8))
    with pytest.raises(Problem, match="not whole"):
        changes.unpack(archive, new)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, b"\0" * 10240])
def test_what_is_no_archive_is_refused(tmp_path: Path, new: Settings, staging: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(Problem, match="not whole"):
        changes.unpack(tmp_path / "a.tar", new)
