"""One port, through whatever happens to what is behind it."""

import asyncio
import hashlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.tools import apiserver
from tests.unit.portforward.conftest import PACE, Cluster, Stage, get, until

Stages = Callable[..., Awaitable[Stage]]


def ended(pid: int) -> bool:
    """With all its threads and sockets: its command line is gone before they are."""
    return not Path(f"/proc/{pid}").exists()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_many_short_connections_pass_and_leave_nothing(stage: Stages) -> None:
    made = await stage()
    assert (await made.get()).endswith(b"hello")
    files, tasks = open_files(), len(asyncio.all_tasks())
    for _ in range(20):
        answers = await asyncio.gather(*(made.get() for _ in range(25)))
        assert all(answer.endswith(b"hello") for answer in answers)
    await until(lambda: not made.relay.connections)
    # The probe has a connection and a task at times.
    await until(lambda: open_files() <= files + 2 and len(asyncio.all_tasks()) <= tasks + 2)


async def test_who_comes_while_there_is_no_forward_waits(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    await made.get()
    failed: list[tuple[float, float]] = []
    answered = 0
    stop = False

    async def client() -> None:
        nonlocal answered
        while not stop:
            begin = time.monotonic()
            try:
                answer = await made.get("/slow/0.01")
            except (OSError, asyncio.IncompleteReadError):
                answer = b""
            if answer.endswith(b"slow"):
                answered += 1
            else:
                failed.append((begin, time.monotonic()))

    clients = [asyncio.create_task(client()) for _ in range(8)]
    kills = []
    for _ in range(3):
        before = answered
        await until(lambda before=before: answered > before + 50)
        runs = len(cluster.started)
        began = time.monotonic()
        os.kill(cluster.started[-1], signal.SIGKILL)
        # Its port takes connections until it is really gone, and then cuts them.
        await until(lambda runs=runs: ended(cluster.started[runs - 1]))
        kills.append((began, time.monotonic()))
        await until(lambda runs=runs: len(cluster.started) > runs)
    before = answered
    await until(lambda: answered > before + 50)
    stop = True
    await asyncio.gather(*clients)
    # A request that was on its way cannot be sent again. No other has failed.
    strays = [
        (begin, end)
        for begin, end in failed
        if not any(begin <= gone and began <= end for began, gone in kills)
    ]
    assert not strays, kills
    assert len(failed) <= 8 * len(kills)
    assert sum("is back after" in line for line in made.said) == 3


async def test_a_zombie_is_found_and_replaced(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    await made.get()
    cluster.set("silent")
    await made.until("is lost: no answer through it")
    waiting = asyncio.create_task(made.get())
    cluster.set("good")
    assert (await waiting).endswith(b"hello")
    assert any("is back after" in line and "(no answer through it)" in line for line in made.said)
    await until(lambda: cluster.started[0] not in cluster.running)


async def test_one_that_is_only_slow_is_no_zombie(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    assert (await made.get("/slow/2")).endswith(b"slow")
    assert len(cluster.started) == 1


async def test_a_pod_that_leaves_finishes_what_it_has(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    await made.get()
    held = asyncio.create_task(made.get("/held"))
    await until(lambda: cluster.held)
    cluster.leaving = True
    await made.until("is lost: the pod is leaving, httpd answers 503")
    cluster.leaving = False
    assert (await made.get()).endswith(b"hello")
    assert not held.done()
    cluster.let_go.set()
    assert (await held).endswith(b"held")
    assert len(cluster.running) >= 1


async def test_kubectl_is_started_less_and_less_often(stage: Stages, cluster: Cluster) -> None:
    cluster.set("refused")
    made = await stage(replace(PACE, longest=5.0))
    await until(lambda: len(cluster.started) >= 4)
    pauses = [late - early for early, late in itertools.pairwise(cluster.moments)]
    assert pauses[2] > 0.2
    # One line says it all, however often it is tried.
    assert sum("the API server does not answer" in line for line in made.said) == 1
    cluster.set("good")
    assert (await made.get()).endswith(b"hello")


async def test_who_has_waited_for_too_long_is_told_what_for(stage: Stages, cluster: Cluster) -> None:
    cluster.set("refused")
    made = await stage(replace(PACE, wait=1.0))
    await made.until("the API server does not answer")
    answer = await made.get()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"waits for httpd-server (namespace testing, context kind-test): the API server does not" in answer


async def test_a_silent_connection_costs_nothing_and_is_cut_at_the_end(stage: Stages) -> None:
    made = await stage()
    await made.get()
    reader, writer = await asyncio.open_connection(*made.address)
    await until(lambda: made.relay.connections)
    await made.relay.finish()
    assert await reader.read() == b""
    writer.close()


async def test_each_side_may_end_first(stage: Stages, cluster: Cluster) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(4)
        if first == b"GET ":
            await cluster.answer(_Again(first, reader), writer)
            return
        if first == b"last":
            writer.write(str(len(await reader.read())).encode())
        else:
            writer.write(b"done")
            writer.write_eof()
            cluster.heard_after = await reader.read()
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    cluster.port = server.sockets[0].getsockname()[1]
    cluster.set("straight")
    made = await stage()
    reader, writer = await asyncio.open_connection(*made.address)
    writer.write(b"last" + b"x" * 100_000)
    writer.write_eof()
    assert await reader.read() == b"100000"
    writer.close()
    reader, writer = await asyncio.open_connection(*made.address)
    writer.write(b"soon")
    assert await reader.read() == b"done"
    writer.write(b"more")
    writer.write_eof()
    await until(lambda: getattr(cluster, "heard_after", None) == b"more")
    writer.close()
    server.close()


class _Again:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader) -> None:
        self._first = first
        self._reader = reader

    async def readuntil(self, end: bytes) -> bytes:
        first, self._first = self._first, b""
        return first + await self._reader.readuntil(end)


async def test_large_content_is_intact_in_both_directions(stage: Stages) -> None:
    made = await stage()
    size = 20_000_000
    body = os.urandom(1000) * (size // 1000)
    reader, writer = await asyncio.open_connection(*made.address)
    writer.write(b"POST /upload HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    writer.write(body)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert await reader.readexactly(64) == hashlib.sha256(body).hexdigest().encode()
    writer.close()
    answer = await made.get(f"/bytes/{size}")
    assert len(answer.partition(b"\r\n\r\n")[2]) == size


async def test_who_goes_away_in_the_middle_takes_nobody_along(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    await made.get()
    slow = asyncio.create_task(made.get("/slow/0.5"))
    loop = asyncio.get_running_loop()
    for path in (b"/bytes/9000000", b"/slow/0.2"):
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, made.address)
            await loop.sock_sendall(client, b"GET " + path + b" HTTP/1.0\r\n\r\n")
            await asyncio.sleep(0.1)
    assert (await slow).endswith(b"slow")
    await until(lambda: not made.relay.connections)
    assert len(cluster.started) == 1


async def test_an_answer_that_was_cut_does_not_look_complete(stage: Stages, cluster: Cluster) -> None:
    made = await stage()
    await made.get()
    reader, writer = await asyncio.open_connection(*made.address)
    writer.write(b"GET /bytes/50000000 HTTP/1.0\r\n\r\n")
    await reader.readexactly(100_000)
    os.kill(cluster.started[-1], signal.SIGKILL)
    got = 100_000
    with suppress(ConnectionResetError):
        while data := await reader.read(1 << 20):
            got += len(data)
    assert got < 50_000_000
    writer.close()
    assert (await made.get()).endswith(b"hello")


async def test_after_a_sleep_one_silence_is_enough(stage: Stages, cluster: Cluster) -> None:
    away = 0.0
    made = await stage(replace(PACE, answer=1.0), lambda: time.time() + away)
    await made.get()
    cluster.set("silent")
    begin = time.monotonic()
    away = 3600.0
    await made.until("is lost: no answer through it")
    assert time.monotonic() - begin < 1.9
    assert any("the clock has jumped by 3600 s" in line for line in made.said)
    cluster.set("good")
    assert (await made.get()).endswith(b"hello")


async def test_without_its_cluster_it_ends(stage: Stages, cluster: Cluster) -> None:
    cluster.set("refused")
    made = await stage(replace(PACE, orphaned=0.2))
    await until(lambda: cluster.started)
    await asyncio.sleep(0.5)
    assert not made.keeping.done()
    cluster.kubeconfig.unlink()
    async with asyncio.timeout(20):
        await made.keeping
    assert "there is nothing to wait for" in made.said[-1]


async def test_the_port_of_one_that_is_gone_is_not_trusted(stage: Stages, cluster: Cluster) -> None:
    made = await stage(replace(PACE, probe=60.0))
    await made.get()
    await asyncio.sleep(0.2)
    # Nobody looks for a minute: the connection itself has to find out.
    cluster.set("silent")
    waiting = asyncio.create_task(get(made.address))
    await made.until("is lost: no answer through it")
    cluster.set("good")
    assert (await waiting).endswith(b"hello")


async def test_kubectl_is_started_as_soon_as_the_api_server_answers(
    stage: Stages, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before: one that waits by itself would be late."""
    answers = False

    class Server:
        async def silent(self, patience: float) -> str:
            await asyncio.sleep(0.01)
            return "" if answers else "nobody listens"

    monkeypatch.setattr(apiserver, "of", lambda kubeconfig: Server())
    made = await stage(replace(PACE, longest=5.0))
    await made.until("the API server does not answer")
    waiting = asyncio.create_task(made.get())
    await asyncio.sleep(1)
    assert not cluster.started
    answers, began = True, time.monotonic()
    assert (await waiting).endswith(b"hello")
    assert cluster.moments[0] - began < 1
