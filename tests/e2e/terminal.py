"""A real terminal for tests: tmux with a server of its own, and a person's eyes and fingers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import Devenv

PATIENCE = 60.0
_LOOK = 0.1
"""Seconds between two looks at the screen."""
_NOT_ALT = 0.7
"""Seconds between Escape and the next key; together they are one key, with Alt."""
_OUTSIDE = ("CI", "NO_COLOR", "COLORTERM", "TMUX", "TMUX_PANE")
"""What the terminal of whoever runs the tests would otherwise decide."""


@dataclass(frozen=True, slots=True)
class Tmux:
    name: str

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.name, "-f", "/dev/null", *arguments],
            capture_output=True,
            check=False,
            timeout=20,
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"tmux {' '.join(arguments)}: {said}"
        return said.removesuffix("\n")

    def open(
        self,
        devenv: Devenv,
        *argv: str,
        width: int = 80,
        height: int = 24,
        alone: bool = False,
        **environment: str,
    ) -> Window:
        """A window in which a program runs, devenv up if none is named. `alone`: it leads the session."""
        unset = [word for name in _OUTSIDE if name not in environment for word in ("-u", name)]
        given = {**devenv.environment, **environment}
        sets = [f"{name}={value}" for name, value in given.items()]
        program = argv or (sys.executable, "-m", "devenv", "up")
        made = Path(tempfile.mkdtemp(dir=devenv.folder))
        # The shell in between tells its exit code: tmux itself does not in every case.
        inner = f'echo $$ >{made}/pid; exec "$@"'
        command = shlex.join(["env", *unset, *sets, "sh", "-c", inner, "sh", *program])
        command = f"exec {command}" if alone else f"{command}; echo $? >{made}/code"
        size = ["-x", str(width), "-y", str(height)]
        new = ["new-session", "-d", "-P", "-F", "#{pane_id}", *size, "-c", str(devenv.folder), command]
        return Window(self, self(*new), made)


@dataclass(frozen=True, slots=True)
class Window:
    tmux: Tmux
    pane: str
    _about: Path

    def ask(self, what: str) -> str:
        """A value that tmux knows of it, by its name."""
        return self.tmux("display-message", "-p", "-t", self.pane, f"#{{{what}}}")

    @property
    def process(self) -> int:
        return int((self._about / "pid").read_text())

    def text(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", self.pane)

    def styled(self) -> str:
        """With the sequences of its colours and attributes."""
        return self.tmux("capture-pane", "-p", "-e", "-t", self.pane)

    def until(self, *wanted: str, patience: float = PATIENCE) -> str:
        """The screen, once each of these patterns is on it."""
        deadline = time.monotonic() + patience
        while True:
            text = self.text()
            missing = [one for one in wanted if not re.search(one, text, re.MULTILINE)]
            if not missing:
                return text
            assert time.monotonic() < deadline, f"waited for {missing} on the screen:\n{text}"
            time.sleep(_LOOK)

    def press(self, *keys: str) -> None:
        """By tmux's names: `u`, `Enter`, `C-z`."""
        for key in keys:
            self.tmux("send-keys", "-t", self.pane, key)
            if key == "Escape":
                time.sleep(_NOT_ALT)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", self.pane, "-l", text)

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-t", self.pane, "-x", str(width), "-y", str(height))

    def code(self, patience: float = PATIENCE) -> int:
        """The exit code of what runs in it, once that has ended."""
        code = self._about / "code"
        until("it ends", lambda: code.exists() and bool(code.read_text()), patience, self.text)
        return int(code.read_text())

    def kill(self) -> None:
        """As a person closes a window, whatever runs in it."""
        self.tmux("kill-pane", "-t", self.pane)


@contextmanager
def terminal() -> Iterator[Tmux]:
    tmux = Tmux(f"devenv-test-{os.getpid()}")
    # A window shows what it has ended with; and there is always one, so that the server stays.
    tmux("new-session", "-d", "-x", "80", "-y", "24", "sleep infinity")
    tmux("set-option", "-g", "remain-on-exit", "on")
    tmux("set-option", "-g", "remain-on-exit-format", "")
    tmux("set-option", "-g", "default-terminal", "screen-256color")
    try:
        yield tmux
    finally:
        tmux("kill-server")


def until(
    what: str, done: Callable[[], bool], patience: float = PATIENCE, why: Callable[[], str] = str
) -> None:
    """Wait for something that no screen shows. `why` tells more of what is there instead."""
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"waited until {what}\n{why()}"
        time.sleep(_LOOK)
