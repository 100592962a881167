"""devenv as a person runs it: the command, on real containers, with a state folder and a stack of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devenv.model.stack import Stack, load

PATIENCE = 300
"""Seconds that one command may take; a base image is made within it."""
SUFFIX = os.environ.get("DEVENV_TEST_SUFFIX", "")
"""Keeps two checkouts apart that are tested on one machine at a time."""


@dataclass(frozen=True, slots=True)
class Run:
    code: int
    events: list[dict[str, Any]]
    stderr: str

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def receipt(self) -> dict[str, Any]:
        [written] = self.of("receipt-written")
        receipt: dict[str, Any] = written["receipt"]
        return receipt

    @property
    def failure(self) -> dict[str, Any]:
        [failed] = self.of("action-failed")
        return failed

    def told(self) -> str:
        """All that was said, for an assertion's message."""
        return "\n".join(json.dumps(event) for event in self.events) + self.stderr


@dataclass(slots=True)
class Devenv:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    through: tuple[str, ...] = ()
    """The command that starts it, where that is not the test itself."""

    @property
    def stack(self) -> Stack:
        return load(self.folder / "devenv.toml")

    @property
    def state(self) -> Path:
        return Path(self.environment["XDG_STATE_HOME"], "devenv", self.stack.stack.name)

    @property
    def settings(self) -> Path:
        return self.state / "compose.env"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return self.start_plain(*arguments, "--json", **environment)

    def start_plain(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """As a person at no terminal runs it."""
        return subprocess.Popen(
            [*self.through, sys.executable, "-m", "devenv", *arguments],
            cwd=self.folder,
            # Compiled once, as for a person, whatever a build machine has set for itself.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], read: list[dict[str, Any]] | None = None) -> Run:
        stdout, stderr = rest(process)
        events = [json.loads(line) for line in stdout.splitlines()]
        return Run(process.returncode, [*(read or []), *events], stderr)

    def __call__(self, *arguments: str, **environment: str) -> Run:
        return self.finish(self.start(*arguments, **environment))

    def done(self, *arguments: str) -> Run:
        run = self(*arguments)
        assert run.code == 0, run.told()
        return run

    def containers(self, service: str) -> list[str]:
        """Ids of those that run."""
        filters = [f"label=com.docker.compose.project={self.stack.stack.name}"]
        filters.append(f"label=com.docker.compose.service={service}")
        return docker("ps", "-q", *(word for one in filters for word in ("--filter", one))).split()


def rest(process: subprocess.Popen[str]) -> tuple[str, str]:
    """All that it says until its end. `communicate` would lose what was read ahead of the last line."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr, ThreadPoolExecutor() as pool:
        streams = [pool.submit(process.stdout.read), pool.submit(process.stderr.read)]
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        stdout, stderr = (stream.result() for stream in streams)
    return stdout, stderr


def read_until(process: subprocess.Popen[str], **wanted: str) -> list[dict[str, Any]]:
    """What it has told until it comes to an event with these values, or to its end."""
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(json.loads(line))
        if wanted.items() <= read[-1].items():
            break
    return read


def docker(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def remove_images(devenv: Devenv) -> None:
    """All of its stack, of whatever release."""
    names = ("--format", "{{.Repository}}:{{.Tag}}", f"{devenv.stack.stack.name}/*")
    if there := docker("image", "ls", *names).split():
        docker("rmi", *there)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make(folder: Path, name: str, more: str = "") -> Devenv:
    folder.mkdir(exist_ok=True)
    (folder / "devenv.toml").write_text(f'[stack]\nname = "{name}{SUFFIX}"\nport = {free_port()}\n{more}')
    checkout = str(Path(__file__).parents[2])
    return Devenv(folder, {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": checkout})


@pytest.fixture(scope="module")
def devenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """Nothing runs yet. What a module leaves behind is removed."""
    made = make(tmp_path_factory.mktemp("e2e"), "devenv-e2e")
    made("reset", "--yes")
    try:
        yield made
    finally:
        made("reset", "--yes")
