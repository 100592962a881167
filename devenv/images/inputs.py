"""What an image is made of, as one hash: equal hash, equal image."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from devenv.images.context import LEFT_OUT, Context

NEVER_SERVED = Path("docker", "never-served")

LABEL = "io.devenv.inputs"
"""Of an image: the hash that it was built from."""

_RECIPES = {
    "httpd": (Path("docker", "httpd"), NEVER_SERVED, LEFT_OUT),
    "php-fpm": (Path("docker", "php-fpm"), NEVER_SERVED, LEFT_OUT, Path("devenv", "handover")),
}
"""Below the build context; see the COPY lines of the Dockerfiles."""
SERVICES = tuple(_RECIPES)
_PASSED_OVER = {"__pycache__"}
_OWN = ("var", "data", "seed")
"""Below the demo site: what running it leaves behind. See .dockerignore."""
_RACY = 2.0
"""Seconds within which a file can change without its times showing it."""
_contents: dict[str, tuple[tuple[int, ...], bytes]] = {}
"""The hash of a file's content, as long as it has the same size, times and inode: a screen looks every few
seconds, at trees of gigabytes."""


def digest(service: str, context: Path, app: Path | None, arguments: Mapping[str, str]) -> str:
    """Over the files that the build of `service` reads, and its arguments.

    `app` is the folder of another application; None is the demo site.
    """
    folder = app or context / "docker" / "app"
    total = hashlib.sha256(repr(sorted(arguments.items())).encode())
    for source in _RECIPES[service]:
        _add(total, source.as_posix(), _files(context / source))
    # Of the application httpd has what it serves by itself, and no more.
    below = arguments["DOCUMENT_ROOT"] if service == "httpd" else "."
    files = Context(folder, context).files(below)
    own = () if app else _OWN
    _add(total, "app", ((name, path) for name, path in files if name.partition("/")[0] not in own))
    return total.hexdigest()


def programs(context: Path, machine: str) -> str:
    """Over the sources of a node's programs, and the machine that they are compiled for."""
    total = hashlib.sha256(machine.encode())
    _add(total, "node", _files(context / "docker" / "node" / "programs"))
    return total.hexdigest()


def _add(total: hashlib._Hash, name: str, files: Iterable[tuple[str, Path]]) -> None:
    for relative, path in files:
        # What vanishes while it is looked at is not there.
        with suppress(FileNotFoundError):
            about = path.lstat()
            total.update(os.fsencode(repr((name, relative, about.st_mode & 0o111))) + _content(path, about))


def _content(path: Path, about: os.stat_result) -> bytes:
    """Of a link where it leads, of a file a hash; what is neither of both has none, and is never opened."""
    if stat.S_ISLNK(about.st_mode):
        return b"link " + os.fsencode(path.readlink())
    if not stat.S_ISREG(about.st_mode):
        return b"special"
    signature = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev)
    known, content = _contents.get(str(path), ((), b""))
    if known != signature:
        try:
            with path.open("rb") as file:
                content = b"file " + hashlib.file_digest(file, "sha256").digest()
        except PermissionError:
            return b"unreadable"  # the build will say so, if it needs it
        if time.time() - max(about.st_mtime, about.st_ctime) > _RACY:
            _contents[str(path)] = signature, content
    return content


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Files and links of devenv's own, below a folder, or the one file, in a fixed order."""
    if source.is_file():
        yield source.name, source
        return
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield str((here / name).relative_to(source)), here / name
