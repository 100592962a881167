"""What a stack did while something happened to it: writers that count, and how it was left."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from devenv.engine.probe import Client, Probe
from devenv.model.probe import ProbeReport
from devenv.model.stack import Stack
from tests.e2e.conftest import Devenv, docker

WRITERS = 3
PACE = 0.1
"""Seconds between the writes of one: a test can take minutes, beside others on the same processors."""


class Counted:
    report: ProbeReport


class _Paced(Probe):
    def _write_one(self, client: Client) -> bool:
        written = super()._write_one(client)
        self._stopping.wait(PACE)
        return written


@asynccontextmanager
async def writers(stack: Stack) -> AsyncIterator[Counted]:
    """Real writes all the while, counted at the end."""
    counted = Counted()
    probe = _Paced(stack.probe, stack.url, WRITERS)
    await probe.start()
    try:
        yield counted
    finally:
        counted.report = await probe.stop()


def one_owner(devenv: Devenv) -> dict[str, object]:
    """The stack as it is left: one instance, at work."""
    found = devenv.containers("php-fpm")
    assert len(found) == 1, devenv("status").told()
    [instance] = found
    status: dict[str, object] = json.loads(docker("exec", instance, "gate", "status"))
    assert (status["role"], status["state"], status["ready"]) == ("owner", "open", True)
    return status


def nothing_lost(report: ProbeReport) -> None:
    assert report.uncounted is None
    assert report.lost == ()
    assert report.duplicated == ()
    assert report.acknowledged


def wait_until_open(container: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        asked = subprocess.run(
            ["docker", "exec", container, "gate", "ready"], capture_output=True, check=False, timeout=20
        )
        if asked.returncode == 0:
            return
        assert time.monotonic() < deadline, docker("logs", "--tail", "20", container)
        time.sleep(0.2)


def content(devenv: Devenv) -> str:
    """A hash of all of it."""
    [answer] = devenv.done("verify").of("answer")
    return str(answer["data"]["total"])


def variant(devenv: Devenv, release: str, **settings: str) -> str:
    """A release that is v2, but its gate is told otherwise."""
    image = devenv.stack.image("php-fpm", release)
    told = " ".join(f"{name}={value}" for name, value in {**settings, "GATE_RELEASE": release}.items())
    recipe = f"FROM {devenv.stack.image('php-fpm', 'v2')}\nENV {told}\n"
    docker("build", "--quiet", "--tag", image, "-", stdin=recipe)
    return release


def with_fault(devenv: Devenv, fault: str) -> str:
    """A release that is v2, but its gate ends at once when it first comes to `fault`."""
    return variant(devenv, f"v2-{fault}".lower(), GATE_FAULT=fault)


def python(inside: Sequence[str], script: str) -> list[str]:
    """The command that runs a script in an instance, beside its gate. `inside` begins a command there."""
    return [*inside, "env", "PYTHONPATH=/opt/gate", "python3", "-c", script]


_HOLD = """
import sys
from devenv.handover.settings import Settings
from devenv.handover.shell import shared
with shared(Settings.from_env().state):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(inside: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Within, until the value is called, no hand-over gets beyond `lease`: a program in the instance uses the
    database. `inside` begins a command there, with stdin.
    """
    with subprocess.Popen(
        python(inside, _HOLD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        try:
            yield program.stdin.close
        finally:
            program.stdin.close()
            try:
                program.wait(30)
            except subprocess.TimeoutExpired:
                program.kill()  # what it asked in is gone, and nobody tells it
