"""The process that forwards: it outlives who started it, and ends when it is told to."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from devenv import portforward
from devenv.errors import DevenvError, NotFit
from devenv.portforward import claim
from devenv.portforward.journal import LOG, Journal
from tests.unit.portforward.conftest import Cluster, get, until


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
async def folder(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Path]:
    made = tmp_path / "state"
    made.mkdir()
    yield made
    await portforward.stop(made)
    await until(lambda: not cluster.running)


def open_files(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # It works on meanwhile: connections come and go.
        with suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return found


async def test_it_is_started_once_and_ended_as_a_whole(cluster: Cluster, folder: Path, port: int) -> None:
    assert portforward.state(folder) is None
    first = await portforward.start(folder, port, cluster.target)
    assert (await get(("127.0.0.1", port))).endswith(b"hello")
    assert first.healthy_since is not None
    assert "is there after" in first.said
    again = await portforward.start(folder, port, cluster.target)
    assert again.pid == first.pid
    assert len(cluster.started) == 1
    assert os.getsid(first.pid) == first.pid
    assert Path(f"/proc/{first.pid}/cwd").readlink() == Path("/")
    # Nothing of its caller's is open in it.
    inherited = open_files(first.pid)
    assert not inherited & {str(link) for link in _pipes_of_ours()}
    assert await portforward.stop(folder)
    assert portforward.state(folder) is None
    assert not cluster.running
    assert not await portforward.stop(folder)
    assert "has ended" in (folder / LOG).read_text()


def _pipes_of_ours() -> set[str]:
    links = set()
    for number in (0, 1, 2):
        link = str(Path(f"/proc/self/fd/{number}").readlink())
        if link != "/dev/null":
            links.add(link)
    return links


async def test_another_target_replaces_it(cluster: Cluster, folder: Path, port: int) -> None:
    first = await portforward.start(folder, port, cluster.target)
    other = await portforward.start(folder, port, replace(cluster.target, context="kind-other"))
    assert other.pid != first.pid
    assert other.target.context == "kind-other"
    assert first.pid not in cluster.running


async def test_two_at_once_start_one(cluster: Cluster, folder: Path, port: int) -> None:
    both = await asyncio.gather(*(portforward.start(folder, port, cluster.target) for _ in range(2)))
    assert both[0].pid == both[1].pid
    assert len(cluster.started) == 1


async def test_a_port_that_is_taken_is_told_with_who_has_it(cluster: Cluster, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DevenvError, match=rf"port {port} is taken: .*process {os.getpid()}") as failed:
            await portforward.start(folder, port, cluster.target)
    assert failed.value.exit_code == 4
    assert portforward.state(folder) is None


async def test_what_it_waits_for_is_told_and_nothing_is_left(
    cluster: Cluster, folder: Path, port: int
) -> None:
    cluster.set("refused")
    with pytest.raises(DevenvError, match="the API server does not answer"):
        await portforward.start(folder, port, cluster.target, patience=5)
    assert not cluster.running


async def test_a_cancelled_start_leaves_nothing(cluster: Cluster, folder: Path, port: int) -> None:
    cluster.set("refused")
    starting = asyncio.create_task(portforward.start(folder, port, cluster.target))
    await until(lambda: portforward.state(folder))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not cluster.running


async def test_kubectl_ends_with_one_that_is_killed(cluster: Cluster, folder: Path, port: int) -> None:
    first = await portforward.start(folder, port, cluster.target)
    os.kill(first.pid, signal.SIGKILL)
    # All but a parent that has not been told yet, which is us.
    await until(lambda: not cluster.running)
    assert portforward.state(folder) is None
    second = await portforward.start(folder, port, cluster.target)
    assert second.pid != first.pid
    assert (await get(("127.0.0.1", port))).endswith(b"hello")


async def test_one_that_does_not_end_is_killed(cluster: Cluster, folder: Path, port: int) -> None:
    first = await portforward.start(folder, port, cluster.target)
    os.kill(first.pid, signal.SIGSTOP)
    assert await portforward.stop(folder, patience=0.3)
    await until(lambda: not cluster.running)


async def test_a_running_request_is_answered_before_it_ends(
    cluster: Cluster, folder: Path, port: int
) -> None:
    await portforward.start(folder, port, cluster.target)
    held = asyncio.create_task(get(("127.0.0.1", port), "/held"))
    await until(lambda: cluster.held)
    stopping = asyncio.create_task(portforward.stop(folder))
    await asyncio.sleep(0.4)
    assert not stopping.done()
    cluster.let_go.set()
    assert (await held).endswith(b"held")
    await stopping


async def test_a_kubectl_that_is_missing_is_told_at_once(cluster: Cluster, folder: Path, port: int) -> None:
    with pytest.raises(NotFit, match="no-such-kubectl is not there"):
        await portforward.start(folder, port, replace(cluster.target, kubectl=("no-such-kubectl",)))


def test_a_log_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / LOG).open("a") as log:
        log.write("x" * 2_000_000)
        log.flush()
        monkeypatch.setattr(sys, "stdout", log)
        Journal(tmp_path, 8080, portforward.Target(tmp_path, "kind", "testing")).say("something new")
    assert (tmp_path / LOG).read_text().endswith("something new\n")
    assert (tmp_path / LOG).stat().st_size < 100


def test_a_pid_file_alone_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "portforward.pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "portforward.json").write_text(json.dumps({"pid": os.getpid()}))
    assert claim.holder(tmp_path) is None
    assert portforward.state(tmp_path) is None


async def test_its_folder_may_be_new(cluster: Cluster, tmp_path: Path) -> None:
    assert portforward.state(tmp_path / "none") is None
    assert not await portforward.stop(tmp_path / "none")
