"""The one listener, and the connections through it. Each goes to the forward that works at its time.

Nothing is connected before a client has said something, and nothing is sent to a forward that has not
just answered: up to then a connection can wait, or go elsewhere. What has been sent is never sent again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from devenv.portforward.forward import Forward
from devenv.portforward.keeper import Keeper
from devenv.portforward.pace import Pace

_CHUNK = 64 << 10
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing is a reset."""
_BACKLOG = 512
_NO_ROOM = 0.1
"""Before the next try to accept, where too many files are open."""
_LAST_LOOK = 1.0
"""For a client that is refused to take the answer."""


class _Connection:
    """When something moved last, and whether the client is owed an answer."""

    def __init__(self, near: socket.socket, moment: float) -> None:
        self.near = near
        self.moved = moment
        self.owed = False


class Relay:
    def __init__(self, listener: socket.socket, keeper: Keeper, pace: Pace) -> None:
        self._listener = listener
        self._keeper = keeper
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._accepting = self._loop.create_task(self._accept())

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def finish(self) -> None:
        """Refuse from now on. Those that are owed an answer may get it; those that are not are cut."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        deadline = self._loop.time() + self._pace.stop
        while self._connections:
            late = self._loop.time() >= deadline
            quiet = self._loop.time() - self._pace.quiet
            for task, connection in list(self._connections.items()):
                if late or (not connection.owed and connection.moved < quiet):
                    task.cancel()
            await asyncio.wait(list(self._connections), timeout=0.05)

    async def _accept(self) -> None:
        while True:
            try:
                near, _ = await self._loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError:
                await asyncio.sleep(_NO_ROOM)
                continue
            near.setblocking(False)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(near, self._loop.time())
            task = self._loop.create_task(self._serve(connection))
            self._connections[task] = connection
            task.add_done_callback(self._connections.pop)
            # A flood of connections must not stop those that there are.
            await asyncio.sleep(0)

    async def _serve(self, connection: _Connection) -> None:
        near = connection.near
        with near, suppress(OSError):
            first = await self._loop.sock_recv(near, _CHUNK)
            if not first:
                return
            connection.owed = True
            reached = await self._reach()
            if reached is None:
                await self._refuse(near)
                return
            forward, far = reached
            forward.connections += 1
            try:
                with far:
                    await self._join(connection, far, forward, first)
            finally:
                forward.connections -= 1

    async def _reach(self) -> tuple[Forward, socket.socket] | None:
        deadline = self._loop.time() + self._pace.wait
        while True:
            forward = await self._keeper.usable(deadline - self._loop.time())
            if forward is None:
                return None
            far = socket.socket()
            try:
                far.setblocking(False)
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(self._pace.connect):
                    await self._loop.sock_connect(far, forward.address)
                # The port is one that the kernel gives to who connects, too: where nobody listens any
                # more, a connection can meet itself.
                if far.getsockname() != far.getpeername():
                    return forward, far
            except OSError:  # TimeoutError is one
                pass
            except BaseException:
                far.close()
                raise
            far.close()
            forward.doubt()

    async def _join(
        self, connection: _Connection, far: socket.socket, forward: Forward, first: bytes
    ) -> None:
        near = connection.near
        answered = False

        def asked() -> None:
            connection.moved, connection.owed = self._loop.time(), True

        def answer() -> None:
            nonlocal answered
            answered = True
            connection.moved, connection.owed = self._loop.time(), False
            forward.heard()

        up = self._loop.create_task(self._pump(near, far, asked, first))
        down = self._loop.create_task(self._pump(far, near, answer))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                # A failure of one connection can be that of all of a kubectl: so the answer to who has
                # gone away is taken nevertheless, if it does not take too long.
                ended = up.result()
                if not ended:
                    with suppress(OSError):
                        far.shutdown(socket.SHUT_WR)
                await asyncio.wait([down], timeout=None if ended else self._pace.dropped)
            if not answered:
                forward.doubt()
            if down.done() and down.result():
                await asyncio.wait([up], timeout=self._pace.half)
            else:
                # An answer that was cut must not look like one that has ended.
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            # Both have ended before a socket is closed: the loop would go on to wait for a number that
            # is the next connection's by then, which would never wake.
            up.cancel()
            down.cancel()
            await asyncio.wait([up, down])

    async def _pump(
        self, source: socket.socket, sink: socket.socket, moved: Callable[[], None], data: bytes = b""
    ) -> bool:
        """Whether the source came to its end, which is passed on; not so where it was cut.

        What the sink does not take any more is dropped.
        """
        dropped_since: float | None = None
        try:
            data = data or await self._loop.sock_recv(source, _CHUNK)
            while data:
                moved()
                if dropped_since is None:
                    try:
                        await self._loop.sock_sendall(sink, data)
                    except OSError:
                        dropped_since = self._loop.time()
                elif self._loop.time() - dropped_since > self._pace.dropped:
                    return False
                if len(data) == _CHUNK:
                    # There may be no wait in any of this for as long as both sides keep up.
                    await asyncio.sleep(0)
                data = await self._loop.sock_recv(source, _CHUNK)
        except OSError:
            return False
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        return True

    async def _refuse(self, near: socket.socket) -> None:
        keeper = self._keeper
        body = f"devenv waits for {keeper.target}: {keeper.waits_for or 'it does not answer'}\n".encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Retry-After: 2\r\n"
            "Connection: close\r\n\r\n"
        )
        await self._loop.sock_sendall(near, head.encode() + body)
        near.shutdown(socket.SHUT_WR)
        # What is not read makes closing a reset, which would take the answer away.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LOOK):
                while await self._loop.sock_recv(near, _CHUNK):
                    pass


def listen(port: int) -> socket.socket:
    """On this machine only."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
