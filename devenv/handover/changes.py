"""What an instance has made, changed or removed in the folders where its application may write.

What came with the image comes with the image, also with the next one: so the content of an application is its
database and these changes. They travel in a hand-over, most of them early and the rest in the pause, and lie
in snapshots. The image has a second copy of those folders, the pristine one, which says what came with it.

The successor says which changes it has, the owner sends those that differ. One is the same if its size and
times are; what was changed just before it was listed is sent again, since a change within the same tick would
not show. Further SQLite files go as consistent copies.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import tarfile
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from . import database
from .archive import HEADER, REGULAR, Reader
from .problem import Problem
from .rawfile import are_equal, opened
from .scratch import Scratch
from .settings import Settings, Writable

RACY = 1.0
"""Seconds: coarser than the tick of any file system's clock."""
IN_MEMORY = 1 << 20
APART = 4 << 20
"""Bytes: of a file that is as large, only the blocks that differ are sent in the pause."""
MANIFEST = "manifest"
"""The last entry of an archive; all others lie in one of the folders."""
GONE = ["gone"]
_FIELDS = 4
"""Of a file's value, at least."""
SQLITE = b"SQLite format 3\0"
_WAITING = {"-wal": b"\x37\x7f\x06", "-journal": b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"}
"""How the files begin that SQLite keeps beside a database for what is not in it yet."""

Manifest = dict[str, list[Any]]
"""path from the application's folder on ("data/ab/file"): [size, mtime_ns, ctime_ns, inode, and size and
mtime_ns of a WAL]; folders, links and what was removed: ["dir", mode], ["link", target] and ["gone"]."""


# What there is


def populate(settings: Settings) -> None:
    """Have the folders begin with what the image has there, which a volume hides. Once for each instance."""
    settings.state.mkdir(parents=True, exist_ok=True)
    if settings.populated.exists():
        return
    for folder in settings.writable:
        folder.own.mkdir(parents=True, exist_ok=True)
        part = folder.own / "part"
        remove(part)  # of one that was killed
        modes: list[tuple[Path, int]] = []
        for source in _below(folder.pristine):
            target = folder.path / source.relative_to(folder.pristine)
            if os.path.lexists(target):
                continue
            if is_dir(source):
                target.mkdir()
                modes.append((target, stat.S_IMODE(source.stat().st_mode)))
            else:
                copy(source, part)
                part.rename(target)
        for target, mode in reversed(modes):
            target.chmod(mode)
    settings.populated.touch()


def _below(top: Path) -> Iterator[Path]:
    """All that is in it, each folder before what it holds."""
    for root, names, files in os.walk(top):
        for name in sorted([*names, *files]):
            yield Path(root, name)


def is_dir(path: Path) -> bool:
    """A link to one is none."""
    return path.is_dir() and not path.is_symlink()


def copy(source: Path, target: Path) -> None:
    """A file, a link, or a folder without what is in it; on return it is on the disk. A folder can be written
    to until what it is for is in it."""
    if is_dir(source):
        target.mkdir()
        target.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IRWXU)
        return
    shutil.copy2(source, target, follow_symlinks=False)
    if not target.is_symlink():
        sync(target)


class Listing:
    """All changes as of now. A file that vanishes meanwhile is not among them.

    `still`: nobody writes; what SQLite has not brought into its files yet is brought there first.
    """

    def __init__(self, settings: Settings, *, still: bool = False) -> None:
        self._settings = settings
        self._still = still
        self._newest = time.time() - RACY
        self._since = _since(settings)
        self._leave = set(settings.leave)
        self.has: Manifest = {}
        self.images: set[str] = set()
        """Those of them that this image has too, or that of an earlier release had."""
        for folder in settings.writable:
            self._not_its = {str(one) for one in (folder.own, *folder.untouched)}
            self._hold_its = {str(parent) for one in self._not_its for parent in Path(one).parents}
            self._walk(folder, str(folder.path), str(folder.pristine), folder.key)
        for key in _carried(settings):
            self._carry(key)

    def _walk(self, folder: Writable, here: str, pristine: str, key: str) -> None:
        """In the pause: so for what is as it was there is one look, and no more."""
        images = {entry.name: entry for entry in _scanned(pristine, follow=False)}
        own = {entry.name: entry for entry in _scanned(here, follow=key == folder.key)}
        for name in sorted(own):
            entry, below = own[name], f"{key}/{name}"
            if entry.path in self._not_its or _is_side_file(entry.path, own):
                continue
            left = below in self._leave
            try:
                info = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(info.st_mode)
                waiting = [] if left or is_folder else _waiting(entry.path, own)
                same = name in images and not waiting and self._is_images(entry.path, info, images[name].path)
                if not same and (is_folder or not left) and entry.path not in self._hold_its:
                    self._add(below, Path(entry.path), info, waiting)
                    if name in images:
                        self.images.add(below)
                        if not is_folder:
                            self._gone_below(folder, Path(images[name].path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if is_folder and not left:
                self._walk(folder, entry.path, f"{pristine}/{name}", below)
        for name in images.keys() - own.keys():
            below = f"{key}/{name}"
            if f"{here}/{name}" not in self._not_its and below not in self._leave:
                self._gone(below)
                self._gone_below(folder, Path(images[name].path))

    def _is_images(self, path: str, info: os.stat_result, pristine: str) -> bool:
        return _is_same(Path(path), info, Path(pristine), self._since)

    def _gone(self, key: str) -> None:
        self.has[key] = GONE
        self.images.add(key)

    def _gone_below(self, folder: Writable, pristine: Path) -> None:
        """So that nothing of it comes back with a folder that is made anew."""
        if is_dir(pristine):
            for path in _below(pristine):
                key = f"{folder.key}/{path.relative_to(folder.pristine)}"
                if not self._settings.is_left(key):
                    self._gone(key)

    def _carry(self, key: str) -> None:
        """Also where it is as this image has it: it is not so in that of an earlier release."""
        self.images.add(key)
        if key in self.has or self._settings.is_left(key):
            return
        try:
            path = folder_of(self._settings, key).path_of(key)
            self._add(key, path, path.lstat(), _waiting(str(path)))
        except (NoPlace, FileNotFoundError, NotADirectoryError):
            # Where this release writes nothing, no change of it can be seen.
            self.has[key] = GONE

    def _add(self, key: str, path: Path, info: os.stat_result, waiting: list[Path]) -> None:
        if stat.S_ISDIR(info.st_mode):
            self.has[key] = ["dir", stat.S_IMODE(info.st_mode)]
        elif stat.S_ISLNK(info.st_mode):
            self.has[key] = ["link", str(path.readlink())]
        elif stat.S_ISREG(info.st_mode):
            if waiting and self._still:
                info, waiting = self._freeze(path, waiting)
            # A racy file gets a time that no later listing will show again.
            racy = 0 if info.st_ctime < self._newest else time.time_ns()
            self.has[key] = [info.st_size, info.st_mtime_ns, info.st_ctime_ns + racy, info.st_ino]
            for side in waiting:
                about = side.lstat()
                self.has[key] += [about.st_size, about.st_mtime_ns]

    def _freeze(self, path: Path, waiting: list[Path]) -> tuple[os.stat_result, list[Path]]:
        try:
            database.freeze(path)
        except Problem as problem:
            if not database.is_damage(problem.__cause__):
                raise
            # Damaged before it came here: as it is, with what belongs to it.
            for side in waiting:
                self._add(self._settings.key_of(side), side, side.lstat(), [])
            return path.lstat(), waiting
        return path.lstat(), []


def _scanned(folder: str, *, follow: bool) -> list[os.DirEntry[str]]:
    if not follow and Path(folder).is_symlink():
        return []
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def entries(folder: Path, *, follow: bool = False) -> set[str]:
    """The names in it; none if it is none, or a link to one that is not to be followed."""
    if not follow and folder.is_symlink():
        return set()
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _since(settings: Settings) -> int:
    """When the instance began (ns, by the clock of its disk): what changed later is looked at closely."""
    try:
        return settings.populated.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def is_images(settings: Settings, path: Path, pristine: Path) -> bool:
    """Whether what is at `path` is what the image has at `pristine`."""
    return _is_same(path, path.lstat(), pristine, _since(settings))


def _is_same(path: Path, info: os.stat_result, pristine: Path, since: int = 0) -> bool:
    """By content, where it may have been written to since (ns)."""
    try:
        other = pristine.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(info.st_mode):
        return stat.S_ISLNK(other.st_mode) and path.readlink() == pristine.readlink()
    if info.st_mode != other.st_mode:
        both = stat.S_ISDIR(info.st_mode) and stat.S_ISDIR(other.st_mode)
        return both and info.st_mode & 0o777 == other.st_mode & 0o777
    if not stat.S_ISREG(info.st_mode):
        return True
    if info.st_size != other.st_size:
        return False
    untouched = info.st_mtime_ns == other.st_mtime_ns and info.st_ctime_ns < since
    return untouched or are_equal(path, pristine)


def _waiting(path: str, beside: Container[str] | None = None) -> list[Path]:
    """WAL or hot journal of the database at `path`, with what is not in its file yet. `beside`: the names in
    its folder, where they are known."""
    found = []
    for suffix, magic in _WAITING.items():
        side = path + suffix
        there = side.rpartition("/")[2] in beside if beside is not None else os.path.lexists(side)
        if there and _head(Path(side)).startswith(magic) and _head(Path(path)) in (SQLITE, b""):
            found.append(Path(side))
    return found


def _is_side_file(path: str, beside: Container[str]) -> bool:
    if not path.endswith(database.SIDE_FILES):
        return False
    main = path.rpartition("-")[0]
    if main.rpartition("/")[2] not in beside:
        return False
    return _head(Path(main)) == SQLITE or Path(path) in _waiting(main, beside)


def _head(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return os.pread(file, len(SQLITE), 0)
    except OSError:
        return b"?"


@dataclass(slots=True)
class Counted:
    files: int = 0
    bytes: int = 0


def counted(has: Manifest) -> Counted:
    files = [value[0] for value in has.values() if is_file(value)]
    return Counted(len(files), sum(files))


def left(settings: Settings) -> dict[str, Counted]:
    """What a hand-over leaves behind, by entry of GATE_LEAVE; where there is any."""
    found = {}
    for key in settings.leave:
        one = Counted()
        top = settings.root / key
        for path in [top] if top.is_file() else _below(top):
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                one.files += 1
                one.bytes += info.st_size
        if one.files:
            found[key] = one
    return found


def databases(settings: Settings) -> list[str]:
    """SQLite files that the application has made beside the one that was named."""
    has = Listing(settings).has
    return [key for key, value in has.items() if is_file(value) and _head(settings.root / key) == SQLITE]


def _carried(settings: Settings) -> list[str]:
    """What earlier instances have changed of what was in their images: a change for good, also where this
    image has nothing like it."""
    try:
        return [str(key) for key in json.loads(settings.carried.read_bytes())]
    except FileNotFoundError:
        return []


# Sent


def pack(settings: Settings, known: Manifest, into: Path, *, still: bool = False) -> Counted:
    """Write to `into` (tar) the changes that the receiver of `known` lacks, and which there are.

    `still`: nobody writes. Then what is large, and known in another state, is only named: its blocks are
    asked for one file at a time.
    """
    listing = Listing(settings, still=still)
    now = listing.has
    apart = []
    to_send = sum(value[0] for key, value in now.items() if is_file(value) and known.get(key) != value)
    database.need_space(into.parent, to_send)
    with (
        Scratch(settings.state, quick=True) as scratch,
        tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for key, value in list(now.items()):
            before = known.get(key)
            if before == value or value == GONE:
                continue
            if still and is_file(value) and before and is_file(before) and value[0] >= APART:
                apart.append(key)
                continue
            try:
                _add(tar, settings.root / key, key, scratch)
            except FileNotFoundError:
                del now[key]
        add_manifest(tar, Received(now, sorted(listing.images), apart))
    return counted(now)


def _as_json(received: Received) -> str:
    return json.dumps({"has": received.has, "images": received.images, "apart": received.apart})


def add_manifest(tar: tarfile.TarFile, received: Received) -> None:
    """As the last entry: what whoever unpacks the others has then."""
    listed = _as_json(received).encode()
    info = tarfile.TarInfo(MANIFEST)
    info.size = len(listed)
    tar.addfile(info, io.BytesIO(listed))


def is_file(value: list[Any]) -> bool:
    return isinstance(value[0], int)


def _add(tar: tarfile.TarFile, path: Path, key: str, scratch: Path) -> None:
    info = tar.gettarinfo(path, arcname=key)
    if info.islnk():  # a second name of a file that was sent already
        info.type, info.size = tarfile.REGTYPE, path.lstat().st_size
    if not info.isreg():
        tar.addfile(info)
        return
    head = _head(path)
    if head == SQLITE or (head == b"" and _waiting(str(path))):
        path = _consistent(path, scratch / "copy")
        info.size = path.stat().st_size
    with path.open("rb") as file:
        if info.size > IN_MEMORY:
            tar.addfile(info, file)
        else:
            # A session can shrink while it is read, which would leave half an entry.
            content = file.read()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _consistent(path: Path, into: Path) -> Path:
    """A copy of the database at `path`, whose pages one must not read while another program writes some."""
    for suffix in ("", *database.SIDE_FILES):
        into.with_name(into.name + suffix).unlink(missing_ok=True)  # of the one before
    try:
        database.backup(path, into)
    except Problem as problem:
        if not database.is_damage(problem.__cause__):
            raise
        return path  # damaged before it came here: as it is
    return into


# Received


@dataclass(frozen=True, slots=True)
class Received:
    has: Manifest
    """All changes, as the sender has them."""
    images: list[str]
    """Those of what is in the sender's image, or was in that of one before it."""
    apart: list[str]
    """Those whose blocks are still to be asked for."""


def unpack(archive: Path, settings: Settings) -> Received:
    """Bring what is staged to the state that `archive` describes. Nothing is written elsewhere, whatever
    the archive says."""
    for folder in settings.writable:
        folder.staged.mkdir(parents=True, exist_ok=True)
    try:
        received = _extract(archive, settings)
    except (tarfile.TarError, ValueError, LookupError, TypeError, RecursionError, struct.error) as error:
        raise _not_whole(str(error)) from error
    if received is None:
        raise _not_whole("it ends without saying what has changed")
    remove_others(settings, received.has)
    where = _where(settings)
    for key, value in received.has.items():
        if value != GONE and not _is_kind(where(key), value):
            raise _not_whole(f"{key} is missing, or something else than it says")
    return received


def _where(settings: Settings) -> Callable[[str], str]:
    """As `staged`, for many: the names of thousands are looked up in the pause."""
    tops = [(f"{folder.key}/", f"{folder.staged}/") for folder in settings.writable]

    def find(key: str) -> str:
        for top, there in tops:
            if key.startswith(top):
                return there + key[len(top) :]
        return str(staged(settings, key))  # which says what is wrong with it

    return find


def remove_others(settings: Settings, has: Manifest) -> None:
    """Have nothing staged but the changes `has`."""
    kept = {key for key, value in has.items() if value != GONE}
    for key in list(kept):
        above = key.rpartition("/")[0]
        while above and above not in kept:
            kept.add(above)
            above = above.rpartition("/")[0]
    for folder in settings.writable:
        top = str(folder.staged)
        for root, names, files in os.walk(top, topdown=False):
            key = folder.key + root[len(top) :]
            for name in [*names, *files]:
                if f"{key}/{name}" not in kept:
                    remove(Path(root, name))


def _is_kind(path: str, value: list[Any]) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if is_file(value):
        return stat.S_ISREG(mode)
    return stat.S_ISDIR(mode) if value[0] == "dir" else stat.S_ISLNK(mode)


class NoPlace(Problem):
    """What lies in a folder to which this release does not write."""


def folder_of(settings: Settings, key: str) -> Writable:
    """The writable folder that `key` is in. Raises `NoPlace` if it is in none."""
    path = PurePosixPath(key)
    if not _is_path(key):
        raise _strange(key)
    for folder in settings.writable:
        if PurePosixPath(folder.key) in path.parents:
            return folder
    raise NoPlace(
        "there is something for which this release has no place",
        f"{key!r} is in none of its writable folders: {', '.join(one.key for one in settings.writable)}",
        "name the folder in [app] writable, in this release too",
    )


def staged(settings: Settings, key: str) -> Path:
    """Where the change of `key` lies until it is put in place."""
    folder = folder_of(settings, key)
    return folder.staged / PurePosixPath(key).relative_to(folder.key)


def _extract(archive: Path, settings: Settings) -> Received | None:
    received: Received | None = None
    with archive.open("rb") as file, tarfile.open(fileobj=Reader(file), mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            behind = member.isreg() and member.offset_data + member.size > archive.stat().st_size
            if member.size < 0 or behind:
                raise tarfile.ReadError(f"{member.name!r} has another length than it says")
            if member.name == MANIFEST and (content := tar.extractfile(member)):
                received = _listed(content)
                continue
            target = staged(settings, member.name)
            _require_within(member, target, settings)
            if target.is_symlink() or (target.exists() and not (member.isdir() and target.is_dir())):
                remove(target)
            member.name = target.name
            if member.isdir():
                # What is to come into it comes first; then it gets its mode (see Placement).
                member.mode |= stat.S_IRWXU
            tar.extract(member, target.parent, numeric_owner=True)
            if member.isreg():
                sync(target)
    return received


def _require_within(member: tarfile.TarInfo, target: Path, settings: Settings) -> None:
    folder = folder_of(settings, member.name)
    plain = member.type in REGULAR and member.sparse is None
    known_kind = plain or member.isdir() or member.issym()
    parent = target.parent.resolve()
    within = any(parent.is_relative_to(one.staged.resolve()) for one in settings.writable)
    path = folder.path_of(member.name)
    if path in folder.untouched:
        raise Problem(
            "the database of this release is a file like any other in the one before",
            f"{member.name} came with what lies beside the database, and here it is the database",
            "let [app] database be what it was; or begin anew (devenv reset) with that file as the seed",
        )
    own = any(folder.is_own(one) for one in (path, *path.parents))
    if not known_kind or not within or own or (folder.holds_own(path) and not member.isdir()):
        raise _strange(member.name)
    parent.mkdir(parents=True, exist_ok=True)


def _strange(key: str) -> Problem:
    return Problem(
        "the owner sent something that does not belong into the writable folders",
        repr(key),
        "nothing was taken; look at the owner's container",
    )


def _listed(content: IO[bytes]) -> Received:
    said = json.loads(b"".join(iter(lambda: content.read(HEADER), b"")))
    received = Received(said["has"], said["images"], said["apart"])
    has = received.has
    right = isinstance(has, dict) and all(map(_is_value, has.values()))
    paths = [*has, *received.images]
    if not right or not set(received.apart) <= set(has) or not all(map(_is_path, paths)):
        raise ValueError("its list of what has changed is none")
    if any(not is_file(has[key]) for key in received.apart):
        raise ValueError("its list of what is still to come is none")
    return received


def _is_value(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    if type(value[0]) is int:
        return len(value) >= _FIELDS and all(type(one) is int for one in value)
    kind = {"dir": [int], "link": [str], "gone": []}.get(value[0]) if isinstance(value[0], str) else None
    return kind is not None and [type(one) for one in value[1:]] == kind


def _is_path(key: object) -> bool:
    return isinstance(key, str) and key != "" and key[0] != "/" and ".." not in key.split("/")


def write_down(received: Received, settings: Settings) -> None:
    """What is staged; on return it is on the disk."""
    settings.staged_changes.write_text(_as_json(received))
    sync(settings.staged_changes)


def written_down(settings: Settings) -> Received | None:
    """What is staged, if it is more than a database."""
    try:
        said = json.loads(settings.staged_changes.read_bytes())
    except FileNotFoundError:
        return None
    return Received(said["has"], said["images"], [])


def _not_whole(why: str) -> Problem:
    return Problem(
        "what came of the writable folders is not whole", why, "nothing was taken; try again", final=False
    )


def discard(settings: Settings) -> None:
    """Remove what is staged."""
    for folder in settings.writable:
        remove(folder.staged.parent)


def require_place(settings: Settings) -> None:
    """Raise a `Problem` unless what is staged can be renamed to where it belongs."""
    for folder in settings.writable:
        folder.own.mkdir(parents=True, exist_ok=True)
        device = folder.own.stat().st_dev
        for path in (one for one in _below(folder.path) if one.is_dir() and not one.is_symlink()):
            if folder.is_own(path) or settings.is_left(folder.key_of(path)):
                continue
            if path.stat().st_dev != device or path.is_mount():
                raise Problem(
                    "something is mounted in a writable folder",
                    f"what is in {path} cannot be replaced: it is not on the file system of {folder.path}",
                    "mount the whole of the writable folder, or name this one in [app] leave (GATE_LEAVE)",
                )


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """A file, a link, or a folder with all that is in it; nothing is nothing."""
    if is_dir(path):
        shutil.rmtree(path, onerror=_open_and_again)
    else:
        path.unlink(missing_ok=True)


def _open_and_again(act: Callable[..., Any], path: str, failed: Any) -> None:
    """Folders that nobody may write to are no folders that nobody may remove."""
    if not isinstance(failed[1], PermissionError):
        raise failed[1]
    failing = Path(path)
    for one in (failing.parent, failing):
        if is_dir(one):
            one.chmod(stat.S_IRWXU)
    if is_dir(failing):
        shutil.rmtree(failing)
    else:
        failing.unlink()
