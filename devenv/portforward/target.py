"""Where a forward goes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from devenv.portforward.pace import Pace

_PORT = 80
"""Of the Service. Its target port is the cluster's business."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Service of a cluster, and the program that forwards to it."""

    kubeconfig: Path | None
    """None: the user's own."""
    context: str
    namespace: str
    service: str = "httpd-server"
    kubectl: tuple[str, ...] = ("kubectl",)
    """The program, and options for each call."""

    def argv(self, pace: Pace) -> list[str]:
        return [
            *self.kubectl,
            *(["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []),
            "--context", self.context,
            "--namespace", self.namespace,
            "port-forward",
            "--address", "127.0.0.1",
            "--pod-running-timeout", f"{pace.open * 0.8:.0f}s",
            f"service/{self.service}", f":{_PORT}",
        ]  # fmt: skip

    def by_hand(self, *arguments: str) -> str:
        """A command for a person to type who wants to look there."""
        named = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        where = ["--context", self.context, "--namespace", self.namespace]
        return shlex.join(["kubectl", *named, *where, *arguments])

    def __str__(self) -> str:
        return f"{self.service} (namespace {self.namespace}, context {self.context})"
