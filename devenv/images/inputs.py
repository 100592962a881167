"""What an image is made of, as one hash: equal hash, equal image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LABEL = "io.devenv.inputs"
"""Of an image: the hash that it was built from."""

_RECIPES = {
    "httpd": ("docker/httpd",),
    "php-fpm": ("docker/php-fpm", "devenv/handover"),
}
"""Below the build context; see the COPY lines of the Dockerfiles."""
SERVICES = tuple(_RECIPES)
_PASSED_OVER = {"__pycache__", ".git"}
_OWN = ("var", "data", "seed")
"""Below the demo site: what running it leaves behind. See .dockerignore."""


def digest(service: str, context: Path, app: Path | None, arguments: Mapping[str, str]) -> str:
    """Over the files that the build of `service` reads, and its arguments.

    `app` is the folder of another application; None is the demo site.
    """
    folder = app or context / "docker" / "app"
    sources = [(name, context / name) for name in _RECIPES[service]]
    total = hashlib.sha256(repr(sorted(arguments.items())).encode())
    for name, source in sources:
        _add(total, name, _files(source))
    if service == "httpd":
        # Of the application it has what it serves by itself, and no more.
        _add(total, "app", _files(folder / arguments["DOCUMENT_ROOT"]))
    else:
        _add(total, "app", _files(folder, () if app else _OWN))
    return total.hexdigest()


def programs(context: Path, machine: str) -> str:
    """Over the sources of a node's programs, and the machine that they are compiled for."""
    total = hashlib.sha256(machine.encode())
    _add(total, "node", _files(context / "docker" / "node" / "programs"))
    return total.hexdigest()


def _add(total: hashlib._Hash, name: str, files: Iterable[tuple[str, Path]]) -> None:
    for relative, path in files:
        mode = path.lstat().st_mode
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        total.update(repr((name, relative, mode & 0o111, len(content))).encode())
        total.update(content)


def _files(source: Path, passed_over: Iterable[str] = ()) -> Iterator[tuple[str, Path]]:
    """Files and links below a folder, or the one file, in a fixed order."""
    if source.is_file():
        yield source.name, source
        return
    top = set(passed_over)
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if name not in _PASSED_OVER and not (here == source and name in top)
        )
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield str((here / name).relative_to(source)), here / name
