"""What of an application looks like a secret, and is in its image: said before that leaves this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from devenv.images.context import Context

_LARGEST = 256 << 10
"""Bytes of a file that is read: no secret needs more."""
_NAMES = (
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
    ".npmrc", ".netrc", ".pgpass", ".htpasswd", "credentials*.json", "service-account*.json", "auth.json",
)  # fmt: skip
_SETTINGS = (".env", ".env.*", "*.env")
_SETS = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?(\w*(?:SECRET|PASSWORD|PASSWD|TOKEN|PRIVATE|API_?KEY|APP_KEY|DSN)\w*)[ \t]*="
    rb"[ \t]*[\"']?(?![\"']|\s|null\b|change|your|<|\$|!)([^\s\"'#]{6,})",
    re.IGNORECASE | re.MULTILINE,
)
"""A setting that is called like a secret, and has a value that is not one to be filled in."""
_CONTENT = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bgithub_pat_\w{50,}|\bglpat-[\w-]{20}|\bxox[abprs]-[\w-]{10,}|\b[sr]k_live_\w{20,}|\bAIza[\w-]{35}\b"
)
"""Forms by which keys of well-known services are recognised."""


def suspects(context: Context) -> Iterator[str]:
    """The files that an image would get, each with why; of what others wrote (vendor/) none."""
    for name, path in context.files():
        parts = PurePosixPath(name).parts
        if parts[0] == "vendor":
            continue
        with suppress(OSError):
            if why := _why(parts[-1], path):
                yield f"{name} ({why})"


def _why(name: str, path: Path) -> str:
    about = path.lstat()
    if not S_ISREG(about.st_mode) or not about.st_size:
        return ""
    if any(fnmatchcase(name, one) for one in _NAMES):
        return "its name"
    if about.st_size > _LARGEST:
        return ""
    content = path.read_bytes()
    if any(fnmatchcase(name, one) for one in _SETTINGS) and (found := _SETS.search(content)):
        return found[1].decode(errors="replace")
    return "a key in it" if b"\0" not in content[:1024] and _CONTENT.search(content) else ""
