"""A server that cannot be started, or a task that fails, is no end: it is tried again."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devenv.handover.gate import Gate
from devenv.handover.instance import Instance
from devenv.handover.journal import Journal
from devenv.handover.record import Role
from devenv.handover.servers import Servers
from devenv.handover.settings import Settings
from devenv.handover.states import State


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    it = Servers(["/nowhere/php-fpm"], {}, tmp_path, Journal(tmp_path / "events.jsonl", "u"))
    yield it
    it.kill()


def phases(path: Path) -> list[str]:
    return [json.loads(line)["phase"] for line in path.read_text().splitlines()]


async def test_one_that_cannot_be_started_is_tried_again_until_it_can(
    servers: Servers, tmp_path: Path
) -> None:
    """As when a container has used up its processes just as an owner opens again."""
    with socket.socket() as listener:
        servers.start(listener, "name")
        assert servers.unable
        assert servers.serving is None
        watching = asyncio.create_task(servers.watch(lambda: servers.start(listener, "name"), 0.01))
        await asyncio.sleep(0.1)
        assert phases(tmp_path / "events.jsonl") == ["not-started"], "once, not each time"
        servers._command = ["sleep", "60"]
        async with asyncio.timeout(5):
            while servers.serving is None:
                await asyncio.sleep(0.01)
        assert not servers.unable
        watching.cancel()
        servers.kill()
        assert servers.serving is not None
        servers.serving.process.wait(5)


@pytest.fixture
async def gate(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    monkeypatch.setenv("GATE_RUN", str(tmp_path / "run"))
    it = Gate(settings, ["/nowhere/php-fpm"])
    yield it
    it._instance.listener.close()


async def test_an_owner_without_a_server_is_not_ready(gate: Gate) -> None:
    instance: Instance = gate._instance
    instance.record = instance.record.evolve(role=Role.OWNER)
    instance.found_self = True
    instance.open()
    assert instance.state is State.OPEN
    assert not instance.ready
    instance.servers.unable = False
    assert instance.ready


async def test_work_that_fails_is_told_and_goes_on(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would replace a server that dies, or find out that another owner has signed."""
    monkeypatch.setattr("devenv.handover.gate._AGAIN", 0.01)
    tries = []

    async def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("no")

    async with asyncio.timeout(5):
        await gate._keep(work)
    assert len(tries) == 3
    assert phases(gate._instance.journal.path).count("failed") == 2


async def test_a_server_is_started_again_only_where_one_is_wanted(gate: Gate) -> None:
    started = []
    gate._instance.serve = lambda: started.append(1)  # type: ignore[method-assign]
    for state in State:
        gate._instance.state = state
        gate._restart_server()
    assert len(started) == 1
