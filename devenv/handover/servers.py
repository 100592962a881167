"""The servers behind the gate: one serves, earlier ones may still finish their requests.

A server is a command that accepts on a socket it inherits. php-fpm is told of it by
FPM_SOCKETS=address:port=fd (php-src, sapi/fpm/fpm/fpm_sockets.c) and ends gracefully on
SIGQUIT: its workers finish what they have accepted, and accept no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import fcgi
from .journal import Journal

STATUS_PATH = "/gate-fpm-status"
_LOOK = 0.002
"""Between looks whether a process group is empty; there is no event for that."""


class Server:
    """One master process with its workers, in a process group of their own."""

    def __init__(self, process: subprocess.Popen[bytes], status: Path) -> None:
        self.process = process
        self.status = status
        self.started = time.monotonic()
        self.requests: dict[int, str] = {}
        """What its workers were doing when it was told to end: pid to a request in words."""

    def ended(self) -> bool:
        """No process of it is left; so nothing of it can write any more."""
        if self.process.poll() is None:
            return False
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            self.status.unlink(missing_ok=True)
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                self.process.send_signal(number)
            else:
                # The master is gone, its workers live on: they still accept and write.
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def running_requests(self) -> dict[int, str]:
        """pid to method, URI and age of each request at work. Empty when it does not tell."""
        params = {
            "SCRIPT_NAME": STATUS_PATH,
            "SCRIPT_FILENAME": STATUS_PATH,
            "REQUEST_URI": STATUS_PATH,
            "QUERY_STRING": "full&json",
        }
        try:
            _, output = fcgi.get(self.status, params, timeout=0.1)
            listed = json.loads(output.partition(b"\r\n\r\n")[2])["processes"]
        except (OSError, ValueError, KeyError):
            return {}
        return {
            process["pid"]: f"{process['request method']} {process['request uri']}"
            f" ({process['request duration'] / 1e6:.1f} s)"
            for process in listed
            if process["state"] != "Idle"
        }


class Servers:
    """All servers of this instance. Used from the event loop only."""

    def __init__(self, command: Sequence[str], env: dict[str, str], sockets: Path, journal: Journal) -> None:
        self._command = command
        self._env = env
        self.sockets = sockets
        for left in sockets.glob(f"status-{os.getpid()}-*.sock"):
            left.unlink(missing_ok=True)  # of one before us that had our number, as in each container
        self._journal = journal
        self._count = 0
        self._children: set[subprocess.Popen[bytes]] = set()
        self.serving: Server | None = None
        self.draining: list[Server] = []
        self.unable = False
        """The last try to start one failed: a limit of processes or of memory."""

    def own(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Somebody waits for `process`, so `reap` must not."""
        self._children.add(process)
        return process

    def reap(self) -> None:
        """Collect ended processes that nobody waits for: those that PID 1 has inherited."""
        for process in list(self._children):
            if process.poll() is not None:
                self._children.discard(process)
        ours = {process.pid for process in self._children}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in ours:
                return
            os.waitpid(ended.si_pid, 0)

    def start(self, listener: socket.socket, name: str) -> None:
        """Start a server on `listener`, which it knows as `name` (address:port or a path).

        Where none can be started `watch` tries again, and connections wait.
        """
        try:
            self.serving = self.spawn(listener, name)
        except OSError as error:
            if not self.unable:
                self._journal.write("server", "not-started", why=str(error))
            self.unable = True
        else:
            self.unable = False

    def spawn(self, listener: socket.socket, name: str) -> Server:
        self._count += 1
        status = self.sockets / f"status-{os.getpid()}-{self._count}.sock"
        env = {
            **self._env,
            "GATE_FPM_LISTEN": name,
            "GATE_FPM_STATUS": str(status),
            "FPM_SOCKETS": f"{name}={listener.fileno()}",
        }
        process = subprocess.Popen(
            self._command,
            env=env,
            pass_fds=[listener.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        return Server(self.own(process), status)

    async def begin_drain(self) -> None:
        """The serving one accepts no more, from now on nobody does."""
        self.unable = False
        if (server := self.serving) is None:
            return
        server.requests = await asyncio.to_thread(server.running_requests)
        server.signal(signal.SIGQUIT)
        self.draining.append(server)
        self.serving = None

    async def drained(self, budget: float) -> bool:
        """Wait until no draining server is left, at most `budget` seconds."""
        deadline = time.monotonic() + budget
        while True:
            for server in self.draining:
                if server.process.poll() is not None and not server.ended():
                    server.signal(signal.SIGQUIT)
            self.draining = [server for server in self.draining if not server.ended()]
            if not self.draining:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK)

    def unfinished(self) -> list[str]:
        """The requests that draining servers still work on, in words."""
        return [
            request
            for server in self.draining
            for pid, request in (server.requests or {server.process.pid: "a request it cannot name"}).items()
            if _alive(pid)
        ]

    async def end(self, server: Server) -> None:
        """End one that serves nobody."""
        server.signal(signal.SIGTERM)
        for _ in range(500):
            if server.ended():
                return
            await asyncio.sleep(_LOOK)
        server.kill()

    async def watch(self, restart: Callable[[], None], poll: float) -> None:
        """Replace a serving server that ends by itself; with growing pauses if it ends at once.

        `restart` starts one if one is wanted.
        """
        pause = poll
        while True:
            await asyncio.sleep(poll)
            self.reap()
            server = self.serving
            if server is not None:
                if server.process.poll() is None:
                    continue
                self._journal.write("server", "died", exit_code=server.process.returncode)
                # Its workers may live on, and would accept beside the new ones.
                server.signal(signal.SIGQUIT)
                self.serving = None
                self.draining.append(server)
                if time.monotonic() - server.started > 10:
                    pause = poll
            elif not self.unable:
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
            if self.serving is None:
                restart()

    def kill(self) -> None:
        for server in [*self.draining, *([self.serving] if self.serving else [])]:
            server.kill()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
