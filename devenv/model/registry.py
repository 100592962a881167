"""What images are called in a registry, and what a registry says of them. Pure.

Manifests and indexes: the OCI image specification, and Docker's manifest list, which reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Naming = Literal["tags", "repositories"]
"""`REPO:httpd-v1`, all services in one repository; or `REPO/httpd:v1`, a repository for each."""


def reference(repository: str, naming: Naming, service: str, release: str) -> str:
    if naming == "tags":
        return f"{repository}:{service}-{release}"
    return f"{repository}/{service}:{release}"


def release(image: str, service: str) -> str:
    """Of an image's name, in a registry or not; what `reference` was made of."""
    return image.partition("@")[0].rpartition(":")[2].removeprefix(f"{service}-")


def at_digest(image: str, digest: str) -> str:
    """`debian@sha256:1a2b` of `debian:bookworm-slim`."""
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{digest}"


def host(reference: str) -> str:
    """The registry's, as Docker reads it; empty for Docker's own."""
    first, slash, _ = reference.partition("/")
    return first if slash and (first == "localhost" or set(first) & set(".:")) else ""


def manifests(raw: Mapping[str, Any]) -> dict[str, str]:
    """The digests of an index by platform; empty for what is a single manifest.

    Builders add records of a build, whose platform is unknown/unknown: they are passed over.
    """
    found: dict[str, str] = {}
    for one in raw.get("manifests") or ():
        of = one.get("platform") or {}
        platform = f"{of.get('os', 'unknown')}/{of.get('architecture', 'unknown')}"
        if "unknown" not in platform:
            found.setdefault(platform, str(one["digest"]))
    return found


def configuration(raw: Mapping[str, Any]) -> str:
    """The digest of a manifest's configuration, by which most engines call an image. Empty for an index."""
    return str((raw.get("config") or {}).get("digest", ""))


@dataclass(frozen=True, slots=True)
class Pushed:
    reference: str
    digest: str
    """Of the index."""
    platforms: Mapping[str, str]
    """The digest of the manifest for each platform."""
    layers_sent: int = 0
    """That the registry did not have."""
    new: bool = False
    """It was not all there already."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a registry did not do what it was asked for. Phrases as in a DevenvError."""

    what: str
    next_step: str
    again: bool = False
    """It may do it a moment later."""
    absent: bool = False
    """It has nothing of this name, or does not tell somebody who may not read there."""


def refusal(said: str, host: str, repository: str) -> Refusal:
    """Of what docker and buildx say. `host` is empty for Docker's own registry."""
    whose = host or "docker.io"
    login = f"docker login {host}".rstrip()
    for pattern, found in (
        (
            r"no space left on device",
            Refusal(f"the registry {whose} has no room left", "make room where it stores its images"),
        ),
        (
            r"server gave HTTP response to HTTPS client",
            Refusal(
                f"the registry {whose} speaks plain HTTP",
                "give it a certificate; docker takes plain HTTP from localhost alone, and from the"
                " insecure-registries of its daemon.json",
            ),
        ),
        (
            r"x509|certificate",
            Refusal(
                f"nobody whom this machine trusts has signed the certificate of {whose}",
                f"add its authority to those of this machine, and to /etc/docker/certs.d/{whose}/ca.crt",
            ),
        ),
        (
            r"insufficient_scope|pull access denied",
            Refusal(
                f"{whose} refuses {repository}", f"{login}, as somebody who may write there", absent=True
            ),
        ),
        (
            r"unauthorized|no basic auth credentials|authentication required|incorrect username or password",
            Refusal(f"{whose} does not accept who you are", login),
        ),
        (
            r"denied|forbidden",
            Refusal(f"{whose} refuses {repository}", f"{login}, as somebody who may write there"),
        ),
        (
            r"name unknown|name_unknown|repository .*does not exist",
            Refusal(f"{whose} has no repository {repository}", "make it there first", absent=True),
        ),
        (
            r"HTTP status: 5\d\d|status from \w+ request .*: 5\d\d",
            Refusal(
                f"the registry {whose} fails",
                "see its log, and whether it has room left where it stores its images; then try again",
                again=True,
            ),
        ),
        (r": not found", Refusal(f"{whose} has no such image", "push it first: devenv push", absent=True)),
    ):
        if re.search(pattern, said, re.IGNORECASE):
            return found
    start = "devenv registry up; or " if host.startswith("localhost:") else ""
    return Refusal(
        f"the registry {whose} does not answer", f"{start}see whether it runs, and try again", again=True
    )
