"""What a stack did while something happened to it: writers that count, and how it was left."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devenv.engine.probe import Probe
from devenv.model.probe import ProbeReport
from devenv.model.stack import Stack
from tests.e2e.conftest import Devenv, docker

WRITERS = 3


class Counted:
    report: ProbeReport


@asynccontextmanager
async def writers(stack: Stack) -> AsyncIterator[Counted]:
    """Real writes all the while, counted at the end."""
    counted = Counted()
    probe = Probe(stack.probe, stack.url, WRITERS)
    await probe.start()
    yield counted
    counted.report = await probe.stop()


def one_owner(devenv: Devenv) -> dict[str, object]:
    """The stack as it is left: one instance, at work."""
    [instance] = devenv.containers("php-fpm")
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
