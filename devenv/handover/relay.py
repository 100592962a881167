"""The raw relay of a moved instance: each connection accepted here goes on to the owner.

Bytes are not looked at. A connection waits, unanswered, while its owner is not yet there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from .deadlines import Deadlines
from .settings import Address

_CHUNK = 64 << 10
_IP_MINTTL = 21
_TCP_INFO_BACKLOG = struct.Struct("=24xI")
_LOOK = 0.005
"""Between two tries to reach an owner that just opens: it takes a few tens of milliseconds."""

_HANDSHAKE = 0.0001
"""From a SYN to its connection in the backlog, on one machine or between two."""

FindOwner = Callable[[], Awaitable[Address | None]]


class Relay:
    def __init__(self, listener: socket.socket, deadlines: Deadlines, find: FindOwner) -> None:
        self.target: Address = ("", 0)
        """Where the owner is; may change at any time."""
        self.relayed = 0
        self._find = find
        self._listener = listener
        self._deadlines = deadlines
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = False

    def start(self) -> None:
        if self._accepting:
            return
        # The flag is shared with every process that has the socket. Only we have it now.
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)
        self._accepting = True

    def stop_accepting(self) -> None:
        """New connections wait in the backlog again. Those relayed go on."""
        if self._accepting:
            self._loop.remove_reader(self._listener)
            self._listener.setblocking(True)
            self._accepting = False

    async def finish(self, timeout: float) -> None:
        """Wait for the relayed connections to end; cut those that last longer."""
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=timeout)
            for task in late:
                task.cancel()

    def drain_and_close(self) -> None:
        """Refuse from now on, and lose none that the kernel has already accepted for us."""
        self.stop_accepting()
        self._listener.setblocking(False)
        while self._accept():
            pass
        # A SYN that comes from here on is sent again only after a second: so this is short, and just
        # as long as the handshakes take that have begun.
        refuse_new(self._listener)
        for _ in range(3):
            time.sleep(_HANDSHAKE)
            while self._accept():
                pass
        self._listener.close()

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A connection has what the listener had when the handshake ended: see refuse_new.
        connection.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 0)
        self.relayed += 1
        task = self._loop.create_task(self._relay(connection))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return True

    async def _relay(self, near: socket.socket) -> None:
        with near:
            far = await self._connect()
            if far is None:
                return
            with far, contextlib.suppress(OSError):
                await asyncio.gather(self._pump(near, far), self._pump(far, near))

    async def _connect(self) -> socket.socket | None:
        deadline = self._loop.time() + self._deadlines.relay
        refused = 0
        while self._loop.time() < deadline:
            far = socket.socket()
            far.setblocking(False)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                async with asyncio.timeout(self._deadlines.connect):
                    await self._loop.sock_connect(far, self.target)
                return far
            except OSError:  # TimeoutError is one
                far.close()
            refused += 1
            # At first it is just not open yet. Later it may have moved on, or be gone.
            if refused % 100 == 0 and (found := await self._find()):
                self.target = found
            await asyncio.sleep(_LOOK)
        return None

    async def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(target, data)
        finally:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)


def waiting(listener: socket.socket) -> int:
    """How many connections wait in the backlog of a listening socket (tcp(7), TCP_INFO)."""
    (backlog,) = _TCP_INFO_BACKLOG.unpack_from(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104))
    return int(backlog)


def refuse_new(listener: socket.socket) -> None:
    """Have the kernel drop each SYN to a listening socket, so that its backlog can be emptied for good.

    IP_MINTTL (ip(7)) drops what comes with a lower TTL than the highest one there is. It is asked only
    of what reaches the listening socket itself, thus not of the ACK that ends a handshake. A BPF
    filter would do the same, but not every kernel grants one without a capability.
    """
    listener.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 255)
