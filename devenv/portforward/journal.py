"""What the process that forwards tells: its state in a file, and a log with a line for each change."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devenv.portforward import claim
from devenv.portforward.target import Target

LOG = "portforward.log"
_STATE = "portforward.json"
_LOG_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class State:
    """Of a process that runs; `healthy_since` is None while there is no forward, and `waits_for` says why."""

    pid: int
    port: int
    target: Target
    healthy_since: float | None
    waits_for: str
    said: str
    """The last line of its log."""


class Journal:
    def __init__(self, folder: Path, port: int, target: Target) -> None:
        self._path = folder / _STATE
        self._port = port
        self._target = target
        self._healthy_since: float | None = None
        self.waits_for: Callable[[], str] = lambda: "it has just started"
        """Empty while there is a forward."""

    def say(self, text: str) -> None:
        waits_for = self.waits_for()
        if waits_for:
            self._healthy_since = None
        elif self._healthy_since is None:
            self._healthy_since = time.time()
        # What happened has happened, whether there is room to write it down or not.
        with suppress(OSError):
            _bound()
            print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
        with suppress(OSError):
            self._save(State(os.getpid(), self._port, self._target, self._healthy_since, waits_for, text))

    def _save(self, state: State) -> None:
        target = state.target
        fields = {
            "pid": state.pid, "port": state.port,
            "kubeconfig": str(target.kubeconfig or ""), "context": target.context,
            "namespace": target.namespace, "service": target.service, "kubectl": target.kubectl,
            "healthy_since": state.healthy_since, "waits_for": state.waits_for, "said": state.said,
        }  # fmt: skip
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(fields, indent=1) + "\n")
        part.replace(self._path)


def state(folder: Path) -> State | None:
    """Of the process that forwards for this folder; None where none does, or where it has only just begun."""
    holder = claim.holder(folder)
    if not holder:
        return None
    try:
        read = json.loads((folder / _STATE).read_text())
        target = Target(
            Path(read["kubeconfig"]) if read["kubeconfig"] else None,
            read["context"],
            read["namespace"],
            read["service"],
            tuple(read["kubectl"]),
        )
        found = State(
            read["pid"], read["port"], target, read["healthy_since"], read["waits_for"], read["said"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.pid == holder else None


def _bound() -> None:
    """A log that somebody lets grow for months starts anew."""
    about = os.fstat(sys.stdout.fileno())
    if stat.S_ISREG(about.st_mode) and about.st_size > _LOG_LIMIT:
        os.ftruncate(sys.stdout.fileno(), 0)
