"""The folder of an application as it is, beside what devenv.toml says of it: before anything is built."""

from __future__ import annotations

from pathlib import Path

from devenv.errors import ConfigError
from devenv.images import php
from devenv.model.app import AppSection

_MAKES = ("composer.json", "build.sh")
"""Files by which a build makes more than there is in the folder."""


def require_fit(folder: Path, app: AppSection) -> None:
    """Raise a ConfigError that names the first key of `[app]` that does not fit what is in `folder`."""
    if not folder.is_dir():
        raise ConfigError(
            f"there is no application at {folder}",
            "[app] source of devenv.toml names that folder",
            "mend the path; it is relative to devenv.toml",
        )
    if not (folder / app.document_root).is_dir() and not any((folder / name).is_file() for name in _MAKES):
        raise ConfigError(
            f"there is no {app.document_root}/ in {folder}",
            "[app] document_root of devenv.toml names that folder",
            f"name the folder that has your index.php{_guess(folder)}",
        )
    if (folder / app.database).is_dir():
        raise ConfigError(
            f"{folder / app.database} is a folder",
            "[app] database of devenv.toml names the SQLite file",
            "name a file in it",
        )
    if not php.meets(wanted := php.wanted(folder)):
        has = ".".join(map(str, php.VERSION))
        raise ConfigError(
            f"the application does not run with PHP {has}",
            f"{folder / 'composer.json'} wants PHP {wanted}, and the images have {has}",
            f"let it have {has} as well, if it can: it is what Debian 12 has",
        )
    for one in app.writable:
        if (folder / one).exists() and not (folder / one).is_dir():
            raise ConfigError(
                f"{folder / one} is no folder",
                "[app] writable of devenv.toml names folders",
                "name the folder that it is in",
            )


def _guess(folder: Path) -> str:
    """Where an index.php is, at most a folder deep."""
    found = sorted(path.parent.relative_to(folder) for path in folder.glob("*/index.php"))
    if (folder / "index.php").is_file():
        found.insert(0, Path())
    return f": {found[0].as_posix()!r} has one" if found else ""
