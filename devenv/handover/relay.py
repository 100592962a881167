"""The raw relay of a moved instance: each connection accepted here goes on to the owner.

Bytes are not looked at. A connection waits, unanswered, while its owner is not yet there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any

from .deadlines import Deadlines
from .settings import Address

_CHUNK = 64 << 10
_IP_MINTTL = 21
_TCP_INFO_BACKLOG = struct.Struct("=24xI")
_LOOK = 0.005
"""Between two tries to reach an owner that just opens: it takes a few tens of milliseconds."""

_HANDSHAKE = 0.0001
"""From a SYN to its connection in the backlog, on one machine or between two."""

FindOwner = Callable[[], Coroutine[Any, Any, Address | None]]


class Relay:
    def __init__(self, listener: socket.socket, deadlines: Deadlines, find: FindOwner) -> None:
        self.target: Address | None = None
        """Where the owner is; may change at any time. None: it has to be found."""
        self.relayed = 0
        self._find = find
        self._search: asyncio.Task[Address | None] | None = None
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
            far = await self._connect(near.getsockname())
            if far is None:
                return
            with far, contextlib.suppress(OSError):
                # Both have ended before a socket is closed: the loop would go on to wait for a number
                # that is the next connection's by then, which would never wake.
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._pump(near, far))
                        both.create_task(self._pump(far, near))
                except* OSError:
                    pass  # one side is gone; so is the connection

    async def _connect(self, own: Address) -> socket.socket | None:
        deadline = self._loop.time() + self._deadlines.relay
        refused = 0
        while self._loop.time() < deadline:
            target = self.target
            if target is None or target == own:
                # Relayed to ourselves, a connection would go round without end.
                if not await self._search_owner() or self.target == own:
                    await asyncio.sleep(self._deadlines.poll)
                continue
            far = socket.socket()
            far.setblocking(False)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                async with asyncio.timeout(self._deadlines.connect):
                    await self._loop.sock_connect(far, target)
                return far
            except OSError:  # TimeoutError is one
                far.close()
            refused += 1
            # At first it is just not open yet. Later it may have moved on, or be gone.
            if refused % 100 == 0:
                await self._search_owner()
            await asyncio.sleep(_LOOK)
        return None

    async def _search_owner(self) -> bool:
        """One search at a time, however many connections wait for it."""
        if self._search is None or self._search.done():
            self._search = self._loop.create_task(self._find())
        found = await asyncio.shield(self._search)
        if found is not None:
            self.target = found
        return found is not None

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
