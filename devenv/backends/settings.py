"""compose/.env: what the compose file reads, with or without devenv. Only its owner may read it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from devenv.errors import DevenvError
from devenv.tools.scratch import Scratch, sweep

SECRETS = {"HANDOVER_SECRET": "handover", "APP_SECRET": "app_secret"}
"""The variables of the compose file's secrets, and the files that instances read them from."""
SECRET_LENGTH = 64
_RELEASES = {"httpd": "HTTPD_RELEASE", "php-fpm": "PHP_FPM_RELEASE"}
_HEAD = "# Written by devenv, read by docker compose. Holds the stack's secrets: keep it to yourself.\n"


def read(path: Path) -> dict[str, str]:
    """The values of a file; none where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _denied(path, error) from error
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}


def release_key(service: str) -> str:
    """The variable that names the release of a service."""
    return _RELEASES[service]


def has_secrets(path: Path) -> bool:
    return all(read(path).get(name) for name in SECRETS)


def write(path: Path, values: Mapping[str, str]) -> bool:
    """Give the file these values and keep its others; secrets are made where there are none.

    True if something changed. The file is replaced as a whole: a reader never sees half of it.
    """
    if wrong := [key for key, value in values.items() if not value.isprintable()]:
        # A secret may be that of an instance or a cluster; with a line break it would be further settings.
        raise DevenvError(
            f"{wrong[0]} cannot be one of the settings",
            f"{path} has a line for each, and its value has more than one, or control characters",
            "give it another value where it comes from",
        )
    sweep(path.parent)  # what was left of a write has the secrets in it
    before = read(path)
    after = {**before, **values}
    for name in SECRETS:
        if not after.get(name):
            after[name] = secrets.token_hex(SECRET_LENGTH // 2)
    if after == before and path.stat().st_mode & 0o077 == 0:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Scratch(path.parent) as folder:
            part = folder / path.name
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(_HEAD)
                file.writelines(f"{key}={value}\n" for key, value in sorted(after.items()))
            part.replace(path)
    except OSError as error:
        raise _denied(path, error) from error
    return True


def _denied(path: Path, error: OSError) -> DevenvError:
    return DevenvError(
        f"the settings {path} cannot be read or written",
        error.strerror or str(error),
        "make the file and its folder yours, and see that the disk is not full",
    )
