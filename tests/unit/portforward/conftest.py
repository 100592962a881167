from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from devenv.portforward import Target
from devenv.portforward.forward import Forward
from devenv.portforward.keeper import Keeper
from devenv.portforward.pace import Pace
from devenv.portforward.relay import Relay, listen

KUBECTL = Path(__file__).with_name("kubectl.py")
PACE = Pace(
    wait=10, open=10, probe=0.1, answer=0.5, shortest=0.05, longest=0.4, awaited=0.1, steady=0.5, silent=0.3
)
"""Quick, and with room for a machine that is busy with other things."""


class Cluster:
    """A pod that serves on this machine, and a kubectl that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.leaving = False
        self.port = 0
        self.mode = "good"
        self.held = 0
        self.let_go = asyncio.Event()

    @property
    def target(self) -> Target:
        # The folder is in its command line: so its processes can be told from those of other tests.
        return Target(self.kubeconfig, "kind-test", "testing", kubectl=(sys.executable, str(KUBECTL)))

    def set(self, mode: str) -> None:
        self.mode = mode
        part = self.kubeconfig.with_suffix(".part")
        part.write_text(json.dumps({"port": self.port, "mode": mode}))
        part.replace(self.kubeconfig)

    @property
    def started(self) -> list[int]:
        """The processes of all that were started so far."""
        return [int(line.split()[0]) for line in self._starts()]

    @property
    def moments(self) -> list[float]:
        """When."""
        return [float(line.split()[1]) for line in self._starts()]

    def _starts(self) -> list[str]:
        try:
            return self.kubeconfig.with_suffix(".started").read_text().splitlines()
        except FileNotFoundError:
            return []

    @property
    def running(self) -> list[int]:
        """All processes that have to do with this cluster, other than this one."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if str(self.kubeconfig).encode() in words and int(folder.name) != os.getpid():
                    found.append(int(folder.name))
        return found

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                _, path, version = head.split(b"\r\n")[0].split(b" ")
                body, status = b"", b"200 OK"
                if path == b"/.httpd":
                    status = b"503 Leaving" if self.leaving else b"204 No Content"
                elif path == b"/upload":
                    digest = hashlib.sha256()
                    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    while left:
                        data = await reader.read(min(left, 1 << 20))
                        digest.update(data)
                        left -= len(data)
                    body = digest.hexdigest().encode()
                elif path.startswith(b"/bytes/"):
                    body = os.urandom(1) * int(path[7:])
                elif path == b"/held":
                    self.held += 1
                    await self.let_go.wait()
                    body = b"held"
                elif path.startswith(b"/slow/"):
                    await asyncio.sleep(float(path[6:]))
                    body = b"slow"
                else:
                    body = b"hello"
                writer.write(
                    b"HTTP/1.1 "
                    + status
                    + b"\r\nContent-Length: "
                    + str(len(body)).encode()
                    + b"\r\n\r\n"
                    + body
                )
                await writer.drain()
                if version == b"HTTP/1.0":
                    break
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    made.set("good")
    yield made
    server.close()


class Stage:
    """A relay with its keeper, in this process."""

    def __init__(self, cluster: Cluster, pace: Pace, wall: Callable[[], float]) -> None:
        self.said: list[str] = []
        target = cluster.target
        self.keeper = Keeper(
            target,
            pace,
            self.said.append,
            lambda keeper: Forward(target, pace, self.said.append, keeper.tell, wall),
        )
        listener = listen(0)
        self.address: tuple[str, int] = listener.getsockname()
        self.relay = Relay(listener, self.keeper, pace)
        self.keeping = asyncio.create_task(self.keeper.run())

    async def get(self, path: str = "/", timeout: float = 20) -> bytes:
        return await get(self.address, path, timeout)

    async def until(self, text: str) -> None:
        """It was said."""
        await until(lambda: any(text in line for line in self.said))


@pytest.fixture
async def stage(cluster: Cluster) -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    async with open_stages(cluster) as opened:
        yield opened


@asynccontextmanager
async def open_stages(cluster: Cluster) -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    stages: list[Stage] = []

    async def make(pace: Pace = PACE, wall: Callable[[], float] = time.time) -> Stage:
        stages.append(Stage(cluster, pace, wall))
        return stages[-1]

    yield make
    for made in stages:
        await made.relay.finish()
        made.keeping.cancel()
        await asyncio.wait([made.keeping])
    assert not cluster.running


async def get(address: tuple[str, int], path: str = "/", timeout: float = 20) -> bytes:
    """The whole answer to one request on a connection of its own."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def until(true: Callable[[], object], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.01)
