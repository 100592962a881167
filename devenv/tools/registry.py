"""A registry in a container, for the images of one stack: on 127.0.0.1 alone, and in the network of kind's
nodes, wired as kind documents it (kind.sigs.k8s.io/docs/user/local-registry).
"""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import OK

from devenv.errors import CommandFailed, DevenvError, NotFit
from devenv.tools import docker, http

LABEL = "io.devenv.registry"
NETWORK = "kind"
"""Of the nodes of all kind clusters."""
_PORT = 5000
"""Within the container."""
_STARTS = 15.0
_HANGS = 6.0
"""Longer than it is unreachable after it has joined a network."""
_CERTS = "/etc/containerd/certs.d"


@dataclass(frozen=True, slots=True)
class Registry:
    """Of the stack `name`; `port` is on this machine."""

    name: str
    port: int

    @property
    def container(self) -> str:
        return f"{self.name}-registry"

    @property
    def host(self) -> str:
        """What its images' names begin with, on this machine and on the nodes."""
        return f"localhost:{self.port}"

    async def runs(self) -> bool:
        """Whether its container does, at this port."""
        listed = await docker.call(
            "ps", "--filter", f"label={LABEL}={self.name}", "--filter", f"publish={self.port}", "--quiet"
        )
        return bool(listed.stdout.strip())

    async def answers(self) -> bool:
        """Whether it, which runs, does not hang: who sends to one that does, waits for long."""
        return await self._answers_within(_HANGS)

    async def start(self, image: str) -> bool:
        """Have it answer. True if it was not there; what it stores outlives it."""
        if await self.runs():
            return False
        await self.stop()
        try:
            await docker.call(
                "run", "--detach", "--name", self.container, "--label", f"{LABEL}={self.name}",
                "--restart", "unless-stopped", "--publish", f"127.0.0.1:{self.port}:{_PORT}",
                "--volume", f"{self.container}:/var/lib/registry", "--read-only", "--memory", "512m",
                "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", image,
            )  # fmt: skip
        except CommandFailed as error:
            await self.stop()
            if "port is already allocated" in error.log_tail or "address already in use" in error.log_tail:
                raise NotFit(
                    f"another program listens on port {self.port}",
                    "the registry was to listen there",
                    "end it, or set another [registry] port in devenv.toml",
                ) from error
            if "is already in use by container" in error.log_tail:
                raise DevenvError(
                    f"there is a container {self.container} that devenv has not made",
                    "the registry was to have that name",
                    f"if nobody needs it: docker rm --force {self.container};"
                    " or give the stack another [stack] name in devenv.toml",
                ) from error
            raise
        try:
            await self._until_it_answers()
        except BaseException:
            # Else the next start would take it for one that answers.
            await self.stop()
            raise
        return True

    async def _until_it_answers(self) -> None:
        if await self._answers_within(_STARTS):
            return
        said = await docker.call("logs", "--tail", "20", self.container, check=False)
        raise DevenvError(
            "the registry does not answer",
            f"not on port {self.port}, for {_STARTS:g} s after its start",
            "see its log below, mend it, and try again: devenv registry up",
            (said.stdout + said.stderr).strip(),
        )

    async def _answers_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    if await http.status(self.port, "/v2/") == OK:
                        return True
            await asyncio.sleep(0.1)
        return False

    async def stop(self) -> bool:
        """True if it was there. Its volume stays, and so does another's container of this name."""
        mine = await docker.call("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self.name}")
        if ids := mine.stdout.split():
            await docker.call("rm", "--force", *ids)
        return bool(ids)

    async def join(self, nodes: Sequence[str]) -> None:
        """Have these nodes of a kind cluster pull from it. Nothing is done twice."""
        if not nodes:
            return
        folder = f"{_CERTS}/{self.host}"
        hosts = f'[host."http://{self.container}:{_PORT}"]'
        script = (
            f"mkdir -p {shlex.quote(folder)}; echo {shlex.quote(hosts)} > {shlex.quote(folder)}/hosts.toml"
        )
        joined, *_ = await asyncio.gather(
            docker.call("network", "connect", NETWORK, self.container, check=False),
            *(docker.call("exec", node, "sh", "-c", script) for node in nodes),
        )
        if joined.code != 0 and "already exists" not in joined.stderr:
            raise DevenvError(
                f"{self.container} cannot join the network {NETWORK}",
                joined.stderr.strip(),
                "end it and try again: devenv registry down, then devenv registry up",
            )

    def hosting(self) -> str:
        """The ConfigMap by which other tools find it (KEP-1755)."""
        text = f'host: "{self.host}"\nhostFromContainerRuntime: "{self.container}:{_PORT}"\n'
        about = {"name": "local-registry-hosting", "namespace": "kube-public"}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": about,
                "data": {"localRegistryHosting.v1": text},
            }
        )
