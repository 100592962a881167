"""A container engine of the tests' own, which can be stopped: the machine's own is never touched.

It has a network, processes and mounts of its own, so that it cannot change the machine's filter rules, and
nothing of it outlives the process that holds these namespaces.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 60
_OWN = ("--net", "--pid", "--mount")
_RESOLVER = "10.0.2.3"
"""That of slirp4netns."""


def unfit() -> str:
    """Why there can be none on this machine; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can start a second engine"
    programs = ("dockerd", "unshare", "nsenter", "ip", "slirp4netns")
    if missing := [one for one in programs if shutil.which(one) is None]:
        return f"not installed: {', '.join(missing)}"
    if not Path("/dev/net/tun").exists():
        return "this machine has no /dev/net/tun, by which an engine with a network of its own gets out"
    made = subprocess.run(["unshare", *_OWN, "--fork", "true"], capture_output=True, text=True, check=False)
    return f"this machine makes no namespaces: {made.stderr.strip()}" if made.returncode else ""


class Engine:
    """Lives in `folder`; `inside` is the process whose namespaces it is started in."""

    def __init__(self, folder: Path, inside: int, features: Sequence[str]) -> None:
        self._folder = folder
        self._features = features
        self._inside = ["nsenter", *_OWN, "--target", str(inside)]
        self.network = ("nsenter", "--net", "--target", str(inside))
        """What starts a program that is to reach the ports of its containers."""
        self.host = f"unix://{folder / 'docker.sock'}"
        self._process: subprocess.Popen[bytes] | None = None
        self._run("ip", "link", "set", "lo", "up")

    def _run(self, *command: str) -> None:
        subprocess.run([*self._inside, *command], check=True, capture_output=True)

    def start(self) -> None:
        folder = self._folder
        command = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run"]
        command += ["--pidfile", f"{folder}/docker.pid", "--host", self.host, "--dns", _RESOLVER]
        (folder / "config.json").write_text(json.dumps({"features": dict.fromkeys(self._features, True)}))
        command += ["--config-file", f"{folder}/config.json"]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._inside, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(
            ["docker", "-H", self.host, "info"], capture_output=True, check=False
        ).returncode:
            alive = self._process.poll() is None and time.monotonic() < deadline
            assert alive, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)

    def stop(self) -> None:
        """Orderly: it stops its containers first. They are started again when it comes back."""
        assert self._process is not None
        # nsenter forks: the engine itself is its child.
        [dockerd] = _children(self._process.pid)
        os.kill(dockerd, signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait(300)

    def load(self, *images: str) -> None:
        """Copy images of the machine's own engine, which give their ids along."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            loading = ["docker", "-H", self.host, "load"]
            subprocess.run(loading, stdin=saved.stdout, check=True, capture_output=True)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def engine(folder: Path, *features: str) -> Iterator[Engine]:
    # A shell, since the first process has to collect those whose parents have ended.
    first = ["sh", "-c", "while :; do sleep 0.2; done"]
    holding = ["unshare", *_OWN, "--fork", "--kill-child", "--mount-proc", *first]
    with subprocess.Popen(holding) as holder, ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            deadline = time.monotonic() + 10
            while not (inside := _children(holder.pid)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            made = Engine(folder, inside[0], features)
            ends.callback(made.wait)
            with _way_out(inside[0], folder / "slirp.log"):
                made.start()
                yield made
        finally:
            # The first process of the namespace takes all others along, containers as well.
            holder.kill()
            holder.wait()


@contextmanager
def _way_out(inside: int, log: Path) -> Iterator[None]:
    """To Debian's packages, for builds. In user mode: this machine's filter rules stay as they are."""
    ready, told = os.pipe()
    slirp = ["slirp4netns", "--configure", "--disable-host-loopback", f"--ready-fd={told}"]
    with (
        log.open("w") as said,
        subprocess.Popen([*slirp, str(inside), "tap0"], pass_fds=[told], stdout=said, stderr=said) as out,
    ):
        os.close(told)
        try:
            assert os.read(ready, 1), log.read_text()
            yield
        finally:
            os.close(ready)
            out.kill()
