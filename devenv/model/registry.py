"""What images are called in a registry, and what a registry says of them. Pure.

Manifests and indexes: the OCI image specification, and Docker's manifest list, which reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Naming = Literal["tags", "repositories"]
"""`REPO:httpd-v1`, all services in one repository; or `REPO/httpd:v1`, a repository for each."""


def reference(repository: str, naming: Naming, service: str, release: str) -> str:
    if naming == "tags":
        return f"{repository}:{service}-{release}"
    return f"{repository}/{service}:{release}"


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
