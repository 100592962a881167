"""The container engine behind a socket of one's own, which can go away and come back; the engine stays."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.e2e.conftest import docker


class Engine:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._real = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None

    @property
    def host(self) -> str:
        return f"unix://{self._path}"

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        for one in filter(None, (self._listener, *self._open)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._real.removeprefix("unix://"))
                self._open += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=_carry, args=pair, daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while read := source.recv(1 << 16):
            target.sendall(read)
        target.shutdown(socket.SHUT_WR)
