"""What devenv.toml describes. Every value has a default, so no file is a valid one."""

from __future__ import annotations

import hashlib
import pwd
import re
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from devenv.errors import ConfigError
from devenv.model import toml
from devenv.model.app import AppSection
from devenv.model.platform import Platform
from devenv.model.probe import ProbeConfig
from devenv.model.registry import Naming

FILE_NAME = "devenv.toml"

RELEASE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
"""A release is the tag of its images."""
Release = Annotated[str, Field(pattern=RELEASE.pattern)]
BackendName = Literal["compose", "kind", "cluster"]
"""Where a stack runs."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StackSection(_Section):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] = "devenv"
    """Of the compose project; containers, networks and volumes carry it."""
    backend: BackendName = "compose"
    """Where the stack runs."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """On 127.0.0.1, where the site answers."""
    release: Release = "v1"
    """What a first `up` starts. Later the running instance's release counts."""


class ImagesSection(_Section):
    base: str = "debian:bookworm-slim"
    """Pulled from its registry; without one, made by mmdebstrap on Debian."""
    node: str = "kindest/node:v1.34.4"
    """Of a kind cluster. Pulled from its registry; without one, made with Go and Debian's packages."""


class BuildSection(_Section):
    platforms: tuple[Platform, ...] = ()
    """That `devenv build` and `devenv push` make images for. Empty: that of the engine."""


class RegistrySection(_Section):
    push: str = ""
    """Where `devenv push` brings images: HOST/REPOSITORY. Empty: the registry of `devenv registry up`."""
    naming: Naming = "tags"
    """`tags`: REPOSITORY:httpd-v1. `repositories`: REPOSITORY/httpd:v1."""
    image: str = "registry:2"
    """Of `devenv registry up`. Pulled from its registry; without one, made of Debian's docker-registry."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5001
    """On 127.0.0.1, where it answers."""


class KindSection(_Section):
    workers: Annotated[int, Field(ge=0, le=9)] = 0
    """Nodes beside the control plane. What a cluster was made with it keeps."""


class ClusterSection(_Section):
    """A cluster that is there already, and that others may use as well."""

    context: str = ""
    """Of the kubeconfig; it says where the cluster is, and who one is there."""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "testing"
    """That everything is put in."""
    allow: tuple[str, ...] = ()
    """Contexts that devenv may use although they do not lead to a cluster on this machine."""


class PodSection(_Section):
    """What a pod of php-fpm gets in Kubernetes. A second one would have a database of its own."""

    cpu: Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$")] = "100m"
    """That is kept free for it, in Kubernetes' words; it may use more."""
    memory: Annotated[str, Field(pattern=r"^\d+([KMGT]i?)?$")] = "512Mi"
    """That it has, and not more."""


class Stack(_Section):
    stack: StackSection = StackSection()
    app: AppSection = AppSection()
    images: ImagesSection = ImagesSection()
    build: BuildSection = BuildSection()
    registry: RegistrySection = RegistrySection()
    kind: KindSection = KindSection()
    cluster: ClusterSection = ClusterSection()
    pod: PodSection = PodSection()
    probe: ProbeConfig = ProbeConfig()

    @property
    def image_prefix(self) -> str:
        """Stacks of other names have images of their own; the default one's are httpd:v1 and php-fpm:v1."""
        return "" if self.stack.name == StackSection().name else f"{self.stack.name}/"

    def image(self, service: str, release: str) -> str:
        return f"{self.image_prefix}{service}:{release}"

    def on(self, backend: BackendName, context: str = "") -> Stack:
        """The same stack on that backend; of an existing cluster, on the one that the context leads to."""
        place = self.stack.model_copy(update={"backend": backend})
        cluster = self.cluster.model_copy(update={"context": context} if context else {})
        return self.model_copy(update={"stack": place, "cluster": cluster})

    @property
    def where(self) -> str:
        """The backend, in a few words."""
        return self.cluster.context if self.stack.backend == "cluster" else self.stack.backend

    @property
    def place(self) -> str:
        """The backend, as part of a file's name: each existing cluster, and each namespace, is one."""
        backend = self.stack.backend
        if backend != "cluster":
            return backend
        where = f"{self.cluster.context}\n{self.cluster.namespace}"
        return f"{backend}-{hashlib.sha256(where.encode()).hexdigest()[:10]}"

    def building_for(self, platforms: tuple[str, ...]) -> Stack:
        """The same stack, with images for these platforms."""
        return self.model_copy(update={"build": BuildSection(platforms=platforms)})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stack.port}"


def find(start: Path, trusted: Collection[int], home: Path | None = None) -> Path | None:
    """The devenv.toml that counts in `start`: there, or in the nearest folder above, up to `home`.

    It says what is built and run, with the rights of whoever calls us. So a ConfigError tells of one that
    anybody could have put there: it, the link to it and its folder must be of users in `trusted`.
    """
    for folder in (start, *start.parents):
        candidate = folder / FILE_NAME
        with suppress(OSError):
            file = candidate.stat()
            if stat.S_ISREG(file.st_mode):
                owners = {candidate: {file.st_uid, candidate.lstat().st_uid}, folder: {folder.stat().st_uid}}
                for path, uids in owners.items():
                    if others := uids.difference(trusted):
                        raise _of_another(candidate, path, min(others))
                return candidate
        if folder == home:
            break
    return None


def _of_another(file: Path, path: Path, uid: int) -> ConfigError:
    try:
        whose = pwd.getpwuid(uid).pw_name
    except KeyError:
        whose = f"user {uid}"
    return ConfigError(
        f"{file} is not obeyed: {path if path != file else 'it'} belongs to {whose}",
        "it would say what is built and run here, with your rights",
        f"if you trust it, name it: --config {file}, or DEVENV_CONFIG; or work in a folder with one of your"
        f" own: an empty {FILE_NAME} is a valid one",
    )


def load(path: Path | None) -> Stack:
    """Read devenv.toml; None gives the defaults. A ConfigError says where and what is wrong."""
    return Stack() if path is None else toml.load(Stack, path)


def parse(text: str, name: str = FILE_NAME) -> Stack:
    return toml.parse(Stack, text, name)


def schema() -> dict[str, Any]:
    """The JSON schema of devenv.toml, for editors."""
    return Stack.model_json_schema() | {"title": FILE_NAME}
