"""compose/.env: what the compose file reads, with or without devenv. Only its owner may read it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from devenv.errors import DevenvError
from devenv.tools.scratch import Scratch, sweep

SECRETS = {"HANDOVER_SECRET": "handover", "APP_SECRET": "app_secret"}
"""The variables of the compose file's secrets, and the files that instances read them from."""
SECRET_LENGTH = 64
_RELEASES = {"httpd": "HTTPD_RELEASE", "php-fpm": "PHP_FPM_RELEASE"}
_HEAD = b"# Written by devenv, read by docker compose. Holds the stack's secrets: keep it to yourself.\n"

_LINE = re.compile(
    rb"""^[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*
    (?P<value>'[^']*' | "(?:\\.|[^"\\])*" | [^\r\n]*?)
    (?:[ \t]*|[ \t]+\#[^\r\n]*)(?=\r?\n|\r?\Z)""",
    re.MULTILINE | re.VERBOSE | re.DOTALL,
)
"""A value in quotes may go over lines; without them it ends before a comment."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"n": "\n", "r": "\r", "t": "\t"}
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")


def read(path: Path) -> dict[str, str]:
    """The values of a file, as docker compose reads them; none where there is no file."""
    return _values(_content(path))


def _values(content: bytes) -> dict[str, str]:
    return {key: _plain(value) for key, (_, value) in _assignments(content).items()}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _denied(path, error) from error


def _assignments(content: bytes) -> dict[str, tuple[tuple[int, int], bytes]]:
    """By key: where its value stands, and it, with its quotes. Of a key that is there twice the last one."""
    return {found["key"].decode(): (found.span("value"), found["value"]) for found in _LINE.finditer(content)}


def _plain(value: bytes) -> str:
    text = value.decode(errors="surrogateescape")
    if value[:1] == b"'":
        return text[1:-1]
    if value[:1] == b'"':
        return _ESCAPED.sub(lambda found: _MEANT.get(found[1], found[1]), text[1:-1])
    return text


def _quoted(value: str) -> bytes:
    """So that docker compose reads the very same: it looks for variables, comments and escapes otherwise."""
    if not _NEEDS_NO_QUOTES.fullmatch(value):
        value = f"'{value}'" if "'" not in value else '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
    return value.encode(errors="surrogateescape")


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
    content = _content(path)
    before = _values(content)
    after = dict(values)
    for name in SECRETS:
        if not {**before, **after}.get(name):
            after[name] = secrets.token_hex(SECRET_LENGTH // 2)
    after = {key: value for key, value in after.items() if before.get(key) != value}
    if not after and content and path.stat().st_mode & 0o077 == 0:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Scratch(path.parent) as folder:
            part = folder / path.name
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_changed(content or _HEAD, after))
            part.replace(path)
    except OSError as error:
        raise _denied(path, error) from error
    return True


def _changed(content: bytes, values: Mapping[str, str]) -> bytes:
    """Each value in its place, new ones at the end; every other byte is a person's, and stays."""
    there = _assignments(content)
    end = b"\r\n" if b"\r\n" in content else b"\n"
    for key in sorted(values.keys() & there, key=lambda key: there[key][0], reverse=True):
        (start, stop), _ = there[key]
        content = content[:start] + _quoted(values[key]) + content[stop:]
    new = [key.encode() + b"=" + _quoted(values[key]) + end for key in sorted(values.keys() - there)]
    if new and not content.endswith(b"\n"):
        content += end
    return content + b"".join(new)


def _denied(path: Path, error: OSError) -> DevenvError:
    return DevenvError(
        f"the settings {path} cannot be read or written",
        error.strerror or str(error),
        "make the file and its folder yours, and see that the disk is not full",
    )
