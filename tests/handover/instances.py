"""Instances as plain processes: each a PID 1 with a network address, a disk and a name of its own.

They are real gates with real php-fpm behind them, and real Apache before them. A private
/etc/hosts is their DNS: what is listed there is what an engine would list.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from devenv.handover.deadlines import Deadlines
from devenv.handover.wire import Peer, Unreachable

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "app"
PHP = ROOT / "docker/php-fpm"
LANE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 1
"""Instances of tests that run beside these have other addresses: 127.LANE.x.y."""
FPM = ["php-fpm8.2", "-F", "-O", "-R", "-y", str(PHP / "php-fpm.conf")]


class Instance:
    def __init__(self, stack: Stack, number: int, release: str, **env: str) -> None:
        self.stack = stack
        self.folder = stack.folder / f"instance-{number}"
        self.data = self.folder / "data"
        (self.data / "uploads").mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATE_RELEASE": release,
            "GATE_DATABASE": str(stack.app / "data/database.sqlite"),
            "GATE_SEED": "",
            "GATE_SNAPSHOTS": str(stack.snapshots),
            "GATE_SECRET_FILE": str(stack.secret_file),
            "GATE_DOCUMENT_ROOT": str(stack.app),
            "GATE_RUN": str(self.folder / "run"),
            "GATE_WARMUP": "/",
            "PHP_INI_SCAN_DIR": f":{stack.folder}/php",
            "SECOND_DATA": str(stack.app / "data"),
            **env,
        }
        self.move_to(f"127.{LANE}.{number // 250 + 1}.{number % 250 + 1}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "log"

    def move_to(self, address: str) -> None:
        """Where it is from its next start on, as an engine that is started anew decides."""
        self.address = address
        self.env |= {"GATE_LISTEN": f"{address}:9000", "GATE_CONTROL": f"{address}:9010"}

    def start(self) -> Instance:
        # As a job in the background of a shell, which does not take SIGQUIT; and as docker/php-fpm/gate does,
        # signals that come too early wait. (So they do in a bash; dash forgets it at its first program.)
        waits = "env --block-signal=TERM --block-signal=INT"
        script = (
            'trap "" QUIT; hostname "$4"; mount --bind "$1" /etc/hosts'
            f' && mount --bind "$2" "$3" && shift 4 && exec {waits} "$@"'
        )
        mounts = [str(self.stack.hosts), str(self.data), str(self.stack.app / "data"), self.folder.name]
        module = self.env.get("GATE_MODULE", "devenv.handover")
        gate = [sys.executable, "-m", module, "run", "--", *FPM]
        first = [*waits.split(), "unshare", "-m", "-p", "-u", "-f", "--kill-child", "--mount-proc"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*first, "bash", "-c", script, "bash", *mounts, *gate],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        self.stack.list_name(self.address)
        return self

    @property
    def _gate_pid(self) -> int:
        assert self.process is not None
        pid = self.process.pid
        deadline = time.monotonic() + 5
        while not (children := _children(pid)) and time.monotonic() < deadline:
            time.sleep(0.01)  # unshare has not forked yet
        return children[0]

    def server_pid(self) -> int:
        """Of the master of php-fpm."""
        return _children(self._gate_pid)[0]

    def ignores(self, number: signal.Signals) -> bool:
        """Whether its gate does, and so whatever it starts."""
        status = Path(f"/proc/{self._gate_pid}/status").read_text()
        [ignored] = (line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored, 16) >> number - 1 & 1)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal_all(self, number: signal.Signals) -> None:
        """The gate, and all that it has started."""
        with contextlib.suppress(ProcessLookupError, IndexError):
            pids = [self._gate_pid]
            for pid in pids:
                pids += _children(pid)
            for pid in pids:
                os.kill(pid, number)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._gate_pid, number)

    def stop(self, timeout: float = 60) -> None:
        """As `docker stop` does; the name is listed until the process has ended."""
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            self.process.wait(timeout)
        self.stack.unlist_name(self.address)

    def kill(self) -> None:
        """As a crash: nothing of it lives on, its disk stays."""
        assert self.process is not None
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, IndexError):
                self.signal(signal.SIGKILL)
            self.process.wait(10)

    def remove(self) -> None:
        self.kill()
        self.stack.unlist_name(self.address)

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        with Peer((self.address, 9010), self.stack.secret.encode(), Deadlines()) as peer:
            return peer.call(verb, fields)[0]

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(Unreachable):
                status = self.status()
                if wanted(status):
                    return status
            time.sleep(0.02)
        raise AssertionError(f"not reached in {timeout} s: {status}\n{self.log.read_text()}")

    def wait_owner(self, timeout: float = 30) -> dict[str, Any]:
        return self.wait_for(lambda status: status["role"] == "owner" and status["ready"], timeout)

    def wait_failed(self, timeout: float = 30) -> dict[str, Any]:
        status = self.wait_for(lambda status: status["failed"] is not None, timeout)
        failed: dict[str, Any] = status["failed"]
        return failed

    def events(self, phase: str | None = None) -> list[dict[str, Any]]:
        path = self.data / ".gate/events.jsonl"
        if not path.exists():
            return []
        complete, _, _ = path.read_text().rpartition("\n")
        events = [json.loads(line) for line in complete.splitlines()]
        return [event for event in events if phase in (None, event["phase"])]

    def wait_event(self, phase: str, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := self.events(phase):
                return found[-1]
            time.sleep(0.005)
        raise AssertionError(f"no event {phase} in {timeout} s\n{self.log.read_text()}")

    def gate(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """`gate` from a shell in the instance."""
        argv = self.gate_argv(*arguments)
        return subprocess.run(argv, env=self.env, capture_output=True, timeout=60, **options)

    def gate_argv(self, *arguments: str) -> list[str]:
        enter = ["nsenter", "-m", "-p", "-t", str(self._gate_pid)]
        return [*enter, sys.executable, "-m", "devenv.handover", *arguments]

    def php(self, code: str) -> subprocess.Popen[bytes]:
        """A PHP program from a shell in the instance."""
        command = ["nsenter", "-m", "-p", "-t", str(self._gate_pid), "php8.2"]
        prepend = ["-d", f"auto_prepend_file={PHP / 'cli-prepend.php'}"]
        script = self.folder / f"{secrets.token_hex(4)}.php"
        script.write_text(f"<?php {code}")
        return subprocess.Popen([*command, *prepend, str(script)], env=self.env, stderr=subprocess.PIPE)


class Stack:
    """All instances of one application, and Apache before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app"
        shutil.copytree(APP, self.app)
        (self.app / "data").mkdir()
        self.snapshots = folder / "snapshots"
        self.snapshots.mkdir()
        self.secret = secrets.token_hex(32)
        self.secret_file = folder / "secret"
        self.secret_file.write_text(self.secret)
        self.hosts = folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        (folder / "php").mkdir()
        # What the image has in /etc/gate.
        for file in (PHP / "serve.php", PHP.parent / "never-served"):
            shutil.copy(file, folder / "php")
        settings = (PHP / "gate.ini").read_text().replace("/etc/gate", f"{folder}/php")
        (folder / "php/90-gate.ini").write_text(settings)
        self.instances: list[Instance] = []
        self.port = _free_port()
        self._apache: subprocess.Popen[bytes] | None = None
        self.env: dict[str, str] = {}
        """For all instances to come."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def list_name(self, address: str) -> None:
        with self.hosts.open("a") as file:  # bind-mounted: the inode must stay
            file.write(f"{address} php-fpm\n")

    def unlist_name(self, address: str) -> None:
        """Turn its line into a comment by one byte: others read the file at any time."""
        line = f"\n{address} ".encode()
        if (where := self.hosts.read_bytes().find(line)) >= 0:
            with self.hosts.open("r+b") as file:
                file.seek(where + 1)
                file.write(b"#")

    def start(self, release: str = "v1", **env: str) -> Instance:
        instance = Instance(self, len(self.instances), release, **{**self.env, **env})
        self.instances.append(instance)
        return instance.start()

    def upgrade(self, old: Instance, release: str = "v2", **env: str) -> Instance:
        """The new one beside the old one; the old one ends when the new one owns the database."""
        new = self.start(release, **env)
        new.wait_owner(60)
        old.stop()
        return new

    def start_apache(self) -> None:
        config = self.folder / "httpd.conf"
        config.write_text(
            (Path(__file__).parent / "httpd.conf")
            .read_text()
            .format(folder=self.folder, app=self.app, port=self.port)
        )
        script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
        command = ["unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc"]
        command += ["sh", "-c", script, "sh", str(self.hosts)]
        with (self.folder / "httpd.log").open("ab") as log:
            self._apache = subprocess.Popen(
                [*command, "apache2", "-DFOREGROUND", "-f", str(config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "httpd.log").read_text())

    def close(self) -> None:
        for instance in self.instances:
            instance.kill()
        if self._apache is not None:
            self._apache.kill()
            self._apache.wait()


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    it = Stack(folder)
    try:
        yield it
    finally:
        it.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
