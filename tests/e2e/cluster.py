"""Stacks on kind clusters of their own, and the kubectl that asks them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devenv.tools import kind, programs
from devenv.tools.programs import KUBECTL
from tests.e2e.conftest import Devenv, make

COMPILED = 1800
"""Seconds that it may take to compile Kubernetes, or to emulate a build, beside other work."""


def done_in_time(devenv: Devenv, *arguments: str) -> None:
    """What takes many minutes, the first time on a machine."""
    process = devenv.start(*arguments)
    try:
        stdout, stderr = process.communicate(timeout=COMPILED)
    finally:
        process.terminate()
    assert process.returncode == 0, stdout + stderr


@contextmanager
def on_kind(folder: Path, name: str, more: str = "") -> Iterator[Devenv]:
    """The node image is there; nothing runs yet. The cluster goes with all that is in it."""
    made = make(folder, name, f'backend = "kind"\n{more}')
    done_in_time(made, "node-image", "build")
    try:
        yield made
    finally:
        made("reset", "--yes")
        made("down", "--cluster")
        asyncio.run(kind.delete(made.stack.stack.name, kubeconfig(made)))


def kubeconfig(devenv: Devenv) -> Path:
    return devenv.state / "kind" / "kubeconfig"


class Kubectl:
    """In the stack's namespace."""

    def __init__(self, kubeconfig: Path, namespace: str = "testing") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.program = asyncio.run(programs.path(KUBECTL))

    def __call__(self, *arguments: str) -> str:
        where = ["--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        done = subprocess.run(
            [self.program, *where, *arguments], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def php_fpm(self) -> list[str]:
        """Names of the pods that stay. One that was evicted is listed on, and is none."""
        found = json.loads(self("get", "pods", "-l", "app.kubernetes.io/name=php-fpm", "-o", "json"))
        pods = [pod["metadata"] for pod in found["items"] if pod["status"]["phase"] != "Failed"]
        return [pod["name"] for pod in pods if "deletionTimestamp" not in pod]


_NODE_INFO = (
    "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion", "machineID",
    "osImage", "systemUUID",
)  # fmt: skip


@contextmanager
def node_of(admin: Kubectl, name: str, platform: str) -> Iterator[None]:
    """A node of that platform, as the API server knows it; no machine is behind it."""
    system, _, architecture = platform.partition("/")
    info = dict.fromkeys(_NODE_INFO, "") | {"architecture": architecture, "operatingSystem": system}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, file)
        file.flush()
        admin("create", "--filename", file.name)
    try:
        patch = json.dumps({"status": {"nodeInfo": info}})
        admin("patch", "node", name, "--subresource=status", "--patch", patch)
        yield
    finally:
        admin("delete", "node", name)
