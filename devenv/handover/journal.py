"""What happened in this instance, an event a line, for whoever watches.

The file lies beside the record, so it can be read while the start of the instance is
still in its hook and the engine refuses to show its log. Each event is also a line of
the container's own log.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """Appends to the file at `path`; `uid` is the instance's own.

    For tests of what a crash does, GATE_FAULT names a phase ("owner.moved") at which the
    process ends at once, the first time that it is reached.
    """

    def __init__(self, path: Path, uid: str) -> None:
        self.path = path
        self.uid = uid
        self.release = os.environ.get("GATE_RELEASE", "unknown")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._fault = os.environ.get("GATE_FAULT")

    def write(self, side: str, phase: str, **details: Any) -> None:
        event = {"time": round(time.time(), 6), "uid": self.uid, "release": self.release}
        event |= {"side": side, "phase": phase, **details}
        words = " ".join(f"{key}={value}" for key, value in details.items() if not isinstance(value, dict))
        # What happened has happened, whether there is room to write it down or not.
        with self._lock, contextlib.suppress(OSError):
            print(f"gate: {side} {phase} {words}".rstrip(), file=sys.stderr, flush=True)
            self._file.write(json.dumps(event) + "\n")
        if self._fault == f"{side}.{phase}":
            mark = self.path.with_name(f"fault-{self._fault}")
            if not mark.exists():
                mark.touch()
                os._exit(137)  # a signal to oneself does nothing in PID 1


def read(path: Path, *, follow: bool, poll: float) -> Iterator[Event]:
    """All events so far and, with `follow`, those to come, without end."""
    while follow and not path.exists():
        time.sleep(poll)
    with path.open() as file:
        line = ""
        while True:
            line += file.readline()
            if line.endswith("\n"):
                yield json.loads(line)
                line = ""
            elif follow:
                time.sleep(poll)
            else:
                return
