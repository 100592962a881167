"""The user's own kubeconfig, as kubectl reads it: one file, or the several that KUBECONFIG names. Nothing is
written to it, and credentials stay in it: only kubectl itself reads those.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from devenv.errors import CommandFailed, DevenvError
from devenv.tools import docker, process, programs
from devenv.tools.programs import KUBECTL

_READ = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a context leads to."""

    server: str
    """A URL."""
    authority: bytes
    """The certificates, as PEM, of which the server's must be; empty where none is named."""
    server_name: str = ""
    """In the server's certificate, where that is not its address."""
    unchecked: bool = False
    """The kubeconfig wants no certificate checked."""

    @property
    def identity(self) -> dict[str, str]:
        """What says which cluster it is, whatever its context is called."""
        return {
            "server": self.server,
            "authority": hashlib.sha256(self.authority).hexdigest(),
            "server_name": self.server_name,
        }


async def contexts() -> list[str]:
    """The names of all."""
    return (await _config("get-contexts", "--output=name")).stdout.split()


async def endpoint(context: str) -> Endpoint:
    """Of a context that is there."""
    only = "--output=jsonpath={.clusters[0].cluster}"
    told = await _config("view", "--raw", "--flatten", "--minify", "--context", context, only)
    with docker.readable("the kubeconfig", f"see: kubectl config view --minify --context {context}"):
        raw = json.loads(told.stdout)
        try:
            authority = base64.b64decode(raw.get("certificate-authority-data") or "", validate=True)
        except binascii.Error as error:
            raise ValueError("certificate-authority-data is not base64") from error
        return Endpoint(
            raw["server"],
            authority,
            raw.get("tls-server-name", ""),
            bool(raw.get("insecure-skip-tls-verify")),
        )


async def _config(*arguments: str) -> process.Completed:
    program = await programs.path(KUBECTL)
    try:
        return await process.run([program, "config", *arguments], timeout=_READ)
    except CommandFailed as error:
        raise DevenvError(
            "your kubeconfig cannot be read", error.why, "see: kubectl config view", error.log_tail
        ) from error
