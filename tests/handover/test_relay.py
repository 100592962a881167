"""The end of a relay: it refuses new connections and loses none that it has."""

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections import Counter

from devenv.handover.deadlines import Deadlines
from devenv.handover.relay import Relay

CLIENTS = 6
ROUNDS = 4
FLOOD = 20 * CLIENTS
"""So many have been let through when it ends."""

# A process of its own: it must not wait for the relay's turn. Connects, asks and reads without a pause.
CLIENT = """
import collections, json, socket, sys
where = (sys.argv[1], int(sys.argv[2]))
seen = collections.Counter()
refused = 0
while refused < 20:
    with socket.socket() as client:
        client.settimeout(0.2)
        try:
            client.connect(where)
        except OSError:
            refused += 1
            continue
        client.settimeout(5)
        try:
            client.sendall(b"ask")
            seen["answered" if client.recv(16) == b"answer" else "closed without an answer"] += 1
        except OSError as error:
            seen[repr(error)] += 1
print(json.dumps(seen))
"""


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(3)
    writer.write(b"answer")
    await writer.drain()
    writer.close()


async def _nobody() -> None:
    return None


class LateVisitor(socket.socket):
    """A listening socket that somebody connects to at the last moment before it is closed."""

    outcome: str | None = None

    def close(self) -> None:
        if self.outcome is None:
            with socket.socket() as client:
                client.settimeout(0.2)
                try:
                    client.connect(self.getsockname())
                    self.outcome = "connected, and cut"
                except OSError as error:
                    self.outcome = type(error).__name__
        super().close()


async def test_who_comes_in_the_last_moment_is_not_let_in_and_then_cut() -> None:
    listener = LateVisitor()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    relay = Relay(listener, Deadlines(), _nobody)
    relay.start()
    relay.drain_and_close()
    # No answer at all: it tries again, and is refused, or is somewhere else by then.
    assert listener.outcome == "TimeoutError"


async def test_a_relay_that_ends_under_a_flood_loses_no_accepted_connection() -> None:
    seen: Counter[str] = Counter()
    owner = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with owner:
        for _ in range(ROUNDS):
            listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
            host, port = listener.getsockname()
            relay = Relay(listener, Deadlines(), _nobody)
            relay.target = owner.sockets[0].getsockname()
            relay.start()
            clients = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-c", CLIENT, host, str(port), stdout=asyncio.subprocess.PIPE
                )
                for _ in range(CLIENTS)
            ]
            async with asyncio.timeout(30):
                while relay.relayed < FLOOD:
                    await asyncio.sleep(0.01)
            relay.drain_and_close()
            await relay.finish(5)
            for client in clients:
                output, _ = await client.communicate()
                seen.update(json.loads(output))
    assert seen["answered"] >= ROUNDS * FLOOD
    assert set(seen) == {"answered"}


# A process of its own, so that the relay's sockets have the lowest numbers. Does what it is told to.
OWNER = """
import socket, struct
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(16) == b"ask":
        connection.sendall(b"answer")
    else:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""


async def test_a_connection_that_is_reset_leaves_nothing_behind_for_the_next_one() -> None:
    """Sockets get the numbers of those that were closed before them."""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    target = ("127.0.0.1", int(await owner.stdout.readline()))
    listener = socket.create_server(("127.0.0.1", 0))
    relay = Relay(listener, Deadlines(), _nobody)
    relay.target = target
    relay.start()

    def say(word: bytes) -> bytes:
        with socket.create_connection(listener.getsockname(), timeout=3) as client:
            time.sleep(0.1)  # the relay waits for it by now
            client.sendall(word)
            with contextlib.suppress(ConnectionResetError):
                return client.recv(16)
            return b""

    for _ in range(3):
        assert await asyncio.to_thread(say, b"reset") == b""
        assert await asyncio.to_thread(say, b"ask") == b"answer"
    relay.drain_and_close()
    await relay.finish(1)
    owner.kill()
    await owner.wait()
