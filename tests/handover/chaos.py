"""A gate whose disk, clock and messages fail as it is told: `python -m tests.handover.chaos run -- COMMAND`.

It is the real one; only the ground that it stands on is not sound. The file that GATE_CHAOS names says what
goes wrong, as JSON: {"id": any, "crash": n, "fail": n, "drop": verb, "clock": seconds}. `crash` ends the
process before the n-th effect on the disk from then on, `fail` has that effect fail, `drop` loses the answer
to the next message of that kind, though it was acted upon. A new `id` begins anew; the clock stays as it was
set last.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devenv.handover import __main__ as gate
from devenv.handover import control

EFFECTS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")
EVERY = 0.05
"""Between two looks at the file, in seconds."""


class Chaos:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._id: Any = None
        self._left: dict[str, int] = {}
        self._drop = ""
        self._skew = 0.0

    def watch(self) -> None:
        while True:
            self._look()
            time.sleep(EVERY)

    def _look(self) -> None:
        try:
            told = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        with self._lock:
            if told["id"] != self._id:
                self._id = told["id"]
                self._left = {kind: told[kind] for kind in ("crash", "fail") if told.get(kind)}
                self._drop = told.get("drop", "")
                self._skew = told.get("clock", self._skew)

    def effect(self, name: str) -> None:
        """An effect on the disk is about to happen."""
        with self._lock:
            for kind in list(self._left):
                self._left[kind] -= 1
                if self._left[kind] > 0:
                    continue
                del self._left[kind]
                if kind == "crash":
                    os._exit(137)
                raise OSError(errno.EIO, f"Input/output error ({name})")

    def drops(self, verb: str) -> bool:
        with self._lock:
            found, self._drop = self._drop == verb, "" if self._drop == verb else self._drop
        return found

    def now(self, true: Callable[[], float]) -> float:
        return true() + self._skew


def unsound(chaos: Chaos) -> None:
    """From here on the ground of this process is."""

    def guarded(name: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any, **options: Any) -> Any:
            chaos.effect(name)
            return true(*arguments, **options)

        return effect

    for name in EFFECTS:
        setattr(os, name, guarded(name, getattr(os, name)))
    true_time, true_gmtime = time.time, time.gmtime
    true_send, true_do = control._Connection._send, control._Connection._do
    time.time = lambda: chaos.now(true_time)
    time.gmtime = lambda seconds=None: true_gmtime(chaos.now(true_time) if seconds is None else seconds)

    def send(self: Any, status: int, mac: str, reply: Any) -> None:
        if chaos.drops(self.verb):
            raise ConnectionResetError
        true_send(self, status, mac, reply)

    def do(self: Any, verb: str, *arguments: Any, **options: Any) -> Any:
        self.verb = verb
        return true_do(self, verb, *arguments, **options)

    control._Connection._send = send  # type: ignore[method-assign]
    control._Connection._do = do  # type: ignore[method-assign]
    control._Connection.verb = ""  # type: ignore[attr-defined]


if __name__ == "__main__":
    it = Chaos(Path(os.environ["GATE_CHAOS"]))
    threading.Thread(target=it.watch, daemon=True).start()
    unsound(it)
    sys.exit(gate.main())
