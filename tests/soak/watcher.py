"""Looks at the gates of a stack from outside, all the while: there are never two that own and serve.

What it sees, it reads from their processes' folders in /proc: nothing is asked of them, so it works on those
that are stopped as well, and costs them nothing. Only root on Linux can, with an engine on this machine.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_LOOK = 0.2
_PORT = ":2328"
_LISTENS = "0A"
Belongs = Callable[[Path], bool]
"""Whether the process of this folder is one of the stack's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A gate at one moment."""

    pid: int
    container: str
    """Its id."""
    uid: str
    role: str
    lineage: str
    epoch: int
    served: bool
    listens: bool

    @property
    def serves(self) -> bool:
        """It owns a database, and requests get to it."""
        return self.role == "owner" and self.served and self.listens

    def __str__(self) -> str:
        return f"{self.container[:12]} (pid {self.pid}, {self.role}, {self.lineage}, epoch {self.epoch})"


def of_project(name: str) -> Belongs:
    """They have the volume of a compose project."""
    volume = f"/{name}_snapshots/_data"
    return lambda process: volume in (process / "mountinfo").read_text()


def of_node(container: str) -> Belongs:
    """They run in that container, which is a node."""
    return lambda process: container in (process / "cgroup").read_text()


def look(belongs: Belongs) -> list[Seen]:
    """Those that run, oldest first."""
    found = []
    for process in PROC.glob("[0-9]*"):
        try:
            if b"devenv.handover\0run\0" in (process / "cmdline").read_bytes() and belongs(process):
                found.append((_started(process), _seen(process)))
        except (OSError, ValueError, KeyError, IndexError):
            continue  # it has just ended, or just begun
    return [seen for _, seen in sorted(found, key=lambda one: (one[0], one[1].pid))]


def _started(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[19])


def _seen(process: Path) -> Seen:
    record: dict[str, Any] = json.loads((process / "root/app/data/.gate/record.json").read_bytes())
    containers = re.findall(r"[0-9a-f]{64}", (process / "cgroup").read_text())
    sockets = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
    return Seen(
        pid=int(process.name),
        container=containers[-1],
        uid=record["uid"],
        role=record["role"],
        lineage=record["lineage"],
        epoch=record["epoch"],
        served=record["served"],
        listens=any(one[1].endswith(_PORT) and one[3] == _LISTENS for one in sockets),
    )


def both(earlier: list[Seen], later: list[Seen]) -> list[Seen]:
    """Two or more that serve in both looks. In one look alone a hand-over may lie between two readings."""
    before = {one.uid for one in earlier if one.serves}
    still = [one for one in later if one.serves and one.uid in before]
    return still if len({one.uid for one in still}) > 1 else []


class Watcher:
    def __init__(self, belongs: Belongs) -> None:
        self._belongs = belongs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks = 0
        self.most = 0
        """How many gates there were at once."""
        self.wrong = ""
        """Who served beside whom, the first time."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        earlier: list[Seen] = []
        while not self._stopping.wait(_LOOK):
            later = look(self._belongs)
            if (two := both(earlier, later)) and not self.wrong:
                self.wrong = f"two serve at once: {' and '.join(map(str, two))}"
            earlier = later
            self.looks += 1
            self.most = max(self.most, len(later))
