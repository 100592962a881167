"""BuildKit's raw JSON progress as events, a log, and the cause of a failure.

One object is one `SolveStatus` (moby/buildkit, client/graph.go): `vertexes` are the stages, `logs` their
output in base64. Some releases of buildx write it on one line, some indented over many.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from devenv.model.events import BuildStage, BuildState

_KEPT_LINES = 20
_NAME = re.compile(r"^\[(?!internal\])")
"""Stages of the Dockerfile, and its contexts; not what BuildKit does around them."""


@dataclass(slots=True)
class Progress:
    service: str
    release: str
    names: dict[str, str] = field(default_factory=dict)
    told: dict[str, BuildState] = field(default_factory=dict)
    output: dict[str, deque[str]] = field(default_factory=dict)
    failed: str = ""
    """The digest of the stage that failed."""
    error: str = ""
    partial: list[str] = field(default_factory=list)
    """The lines of an object that has not ended yet."""

    def read(self, line: str) -> Iterator[BuildStage | str]:
        """What one line of the builder tells: stages that changed, and lines of output."""
        if not self.partial and not line.startswith("{"):
            # What goes wrong before the build is said in plain words.
            self.error = line.strip() or self.error
            yield line
            return
        self.partial.append(line)
        if not (line.startswith("}") or (len(self.partial) == 1 and line.endswith("}"))):
            return
        status = json.loads("".join(self.partial))
        self.partial.clear()
        for vertex in status.get("vertexes") or ():
            yield from self._vertex(vertex)
        for log in status.get("logs") or ():
            text = base64.b64decode(log.get("data") or "").decode(errors="replace")
            kept = self.output.setdefault(log["vertex"], deque(maxlen=_KEPT_LINES))
            for one in text.splitlines():
                kept.append(one)
                yield one

    def _vertex(self, vertex: dict[str, Any]) -> Iterator[BuildStage | str]:
        key, name = vertex["digest"], vertex.get("name", "")
        state = _state(vertex)
        if state == "failed" and not self.failed:
            self.failed, self.error = key, vertex["error"]
        if state is None or self.told.get(key) == state or not (_NAME.match(name) or state == "failed"):
            return
        self.told[key], self.names[key] = state, name
        yield BuildStage(self.service, self.release, name, state, _seconds(vertex))
        yield f"#{len(self.names)} {name}: {state}"

    def cause(self) -> tuple[str, str]:
        """The stage that failed and the lines it wrote last; the builder's own words where none did."""
        if not self.failed:
            return "", self.error
        return self.names.get(self.failed, ""), "\n".join(self.output.get(self.failed, ())) or self.error


def _state(vertex: dict[str, Any]) -> BuildState | None:
    if vertex.get("error"):
        return "failed"
    if vertex.get("cached"):
        return "cached"
    if vertex.get("completed"):
        return "done"
    return "started" if vertex.get("started") else None


def _seconds(vertex: dict[str, Any]) -> float | None:
    if not (vertex.get("started") and vertex.get("completed")):
        return None
    return round((_moment(vertex["completed"]) - _moment(vertex["started"])).total_seconds(), 3)


def _moment(text: str) -> datetime:
    """The builder gives nanoseconds, more than Python reads."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))
