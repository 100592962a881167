"""The terminal interface as a person meets it: how soon it is there, what it costs, how it answers keys.

From outside: a pseudo-terminal, the processor times of /proc, a `docker` that notes when it is called.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import logs
from tests.e2e.conftest import Devenv

ROUNDS = 7
IDLE = 20.0
RATE, SECONDS = 20_000, 5
PATIENCE = 60.0
Row = Callable[..., None]

HELLO = """
from textual.app import App
from textual.widgets import Static

class Hello(App):
    def compose(self):
        yield Static("hello, world")

Hello().run()
"""
PRINTS = """
$began = microtime(true);
for ($i = 0; $i < %(seconds)d * 100; ++$i) {
    $lines = '';
    for ($j = 0; $j < %(rate)d / 100; ++$j) {
        $lines .= sprintf("bench %%06d GET /post/%%d HTTP/1.1 200 Mozilla/5.0 (X11)\\n", $i, $j);
    }
    fwrite(STDOUT, $lines);
    usleep((int) max(0, 1e6 * ($began + ($i + 1) / 100 - microtime(true))));
}
"""


class Pty:
    """A program in a terminal that reads all that it writes, and never answers but with keys."""

    def __init__(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.began = time.time()
        self.read = b""
        self._file, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        unset = {"CI", "NO_COLOR", "PYTHONDONTWRITEBYTECODE"}
        outside = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**outside, "TERM": "xterm-256color", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, wanted: bytes, patience: float = PATIENCE) -> float:
        """When there was a match for `wanted` in what came since the last one."""
        deadline = time.time() + patience
        while not (found := re.search(wanted, self.read)):
            if not self.take(0.5) and time.time() > deadline:
                raise TimeoutError(f"waited for {wanted!r}: {self.read[-2000:]!r}")
        self.read = self.read[found.end() :]
        return time.time()

    def take(self, seconds: float) -> bool:
        if not select.select([self._file], [], [], seconds)[0]:
            return False
        self.read = (self.read + os.read(self._file, 1 << 16))[-(1 << 20) :]
        return True

    def rest(self, seconds: float) -> None:
        """Only read."""
        until = time.time() + seconds
        while (left := until - time.time()) > 0:
            self.take(left)

    def press(self, key: bytes) -> None:
        os.write(self._file, key)

    def end(self) -> None:
        self.process.terminate()
        while self.process.poll() is None:
            try:
                self.take(0.05)
            except OSError:
                self.process.wait()
        os.close(self._file)


@contextmanager
def opened(devenv: Devenv, **environment: str) -> Iterator[Pty]:
    one = Pty([sys.executable, "-m", "devenv", "up"], devenv.folder, {**devenv.environment, **environment})
    try:
        yield one
    finally:
        one.end()


def first_paint(devenv: Devenv, row: Row) -> None:
    """From the start of the process to the first picture, in turns with the smallest app there can be."""
    ours, theirs, calls = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        called = Path(folder, "called")
        noted = Path(folder, "docker")
        noted.write_text(f'#!/bin/bash\necho $EPOCHREALTIME >>{called}\nexec {shutil.which("docker")} "$@"\n')
        noted.chmod(0o755)
        for _ in range(ROUNDS):
            called.write_text("")
            with opened(devenv, PATH=f"{folder}:{os.environ['PATH']}") as one:
                painted = one.until(rb"compose")
                one.rest(1)
            ours.append(painted - one.began)
            times = [float(line) for line in called.read_text().split()]
            calls += sum(1 for moment in times if moment < painted)
            if not times:
                raise RuntimeError("the docker that notes its calls was not called at all")
            hello = Pty([sys.executable, "-c", HELLO], devenv.folder, {})
            theirs.append(hello.until(rb"hello, world") - hello.began)
            hello.end()
    first, least = statistics.median(ours), statistics.median(theirs)
    row(
        "first picture of devenv up",
        f"{first:.2f} s, an app that says hello {least:.2f} s: ratio {first / least:.2f}; "
        f"engine calls before it: {calls}",
        "0.7 s; 0 calls",
        seconds=ours,
        hello_seconds=theirs,
        calls_before=calls,
    )


def idle(devenv: Devenv, row: Row) -> None:
    """The stack runs and nobody does anything; the followers of events and logs are counted as well."""
    with opened(devenv) as one:
        one.until(rb"up is done")
        one.rest(10)
        before, engine, began = spent(one.process.pid), spent_by("dockerd"), time.monotonic()
        one.rest(IDLE)
        seconds = time.monotonic() - began
        share = (spent(one.process.pid) - before) / seconds
        beside = (spent_by("dockerd") - engine) / seconds
    row(
        f"idle for {IDLE:.0f} s",
        f"{share:.1%} of a core (dockerd, for all that it runs: {beside:.1%})",
        "2 %",
        share=share,
        dockerd_share=beside,
    )


def flood(devenv: Devenv, row: Row) -> None:
    """A real container that prints as fast as few do, keys being pressed all the while."""
    [php] = devenv.containers("php-fpm")
    with opened(devenv) as one:
        one.until(rb"up is done")
        # Views as two ways to ask: each shows at once a word that the other one has not.
        one.press(b"2")
        one.until(rb"hand-over yet|relayed")
        before = spent(one.process.pid)
        # As if the container's first process printed it.
        prints = f"exec php8.2 -r {shlex.quote(PRINTS % {'rate': RATE, 'seconds': SECONDS})} >/proc/1/fd/2"
        argv = ["docker", "exec", php, "sh", "-c", prints]
        began, printing = time.monotonic(), subprocess.Popen(argv)
        one.until(rb"bench \d")
        answers = []
        while printing.poll() is None:
            for key, word in ((b"1", rb"instance "), (b"2", rb"hand-over yet|relayed")):
                one.read = b""
                pressed = time.time()
                one.press(key)
                answers.append(one.until(word) - pressed)
                one.rest(0.1)
        printed = time.monotonic() - began
        archive = max((devenv.state / "logs").glob("*.log"))
        while (kept := count(archive)) < RATE * SECONDS and time.monotonic() - began < PATIENCE:
            one.rest(0.1)
        behind = time.monotonic() - began - printed
        share = (spent(one.process.pid) - before) / (printed + behind)
    answers.sort()
    row(
        f"a container that prints {RATE:,} lines a second for {SECONDS} s",
        f"{kept:,} of {RATE * SECONDS:,} lines, the last {behind:.1f} s after the end; "
        f"key to picture p50 {statistics.median(answers) * 1000:.0f} ms, p100 {answers[-1] * 1000:.0f} ms; "
        f"{share:.0%} of a core with docker's followers",
        "all lines; key to picture 100 ms",
        printed_s=printed,
        behind_s=behind,
        kept=kept,
        keys_ms=[answer * 1000 for answer in answers],
        share=share,
    )


def count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if b" | bench " in line)


async def log_pane(row: Row) -> None:
    """The pane alone, at the same rate, in each way that it can be looked at."""
    measured = await logs.measure()
    ways: dict[str, Any] = {name: one for name, one in measured.items() if "stall_ms" in one}
    stall = max(one["stall_at_work_ms"]["max"] for one in ways.values())
    by_clock = max(one["stall_ms"]["max"] for one in ways.values())
    key = max(one["key_ms"]["p99"] for one in ways.values() if "key_ms" in one)
    memory = measured["memory"]
    row(
        f"log pane at {logs.RATE:,} lines a second, {len(ways)} ways",
        f"longest stall {stall:.0f} ms at work, {by_clock:.0f} ms by the clock; key p99 {key:.0f} ms; "
        f"memory {memory['used_mib']} of {memory['limit_mib']:.0f} MiB",
        "stall 50 ms; keys 100 ms; memory within its limit",
        **measured,
    )


def spent(pid: int) -> float:
    """Processor seconds of a process, of its descendants, and of its children that have ended."""
    parents: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if (fields := stat(folder)) is not None:
            one = int(folder.name)
            parents.setdefault(int(fields[1]), []).append(one)
            times[one] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    family, total = [pid], 0.0
    while family:
        one = family.pop()
        total += times.get(one, 0.0)
        family += parents.get(one, [])
    return total


def spent_by(name: str) -> float:
    found = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() != name:
                continue
        except OSError:
            continue
        if (fields := stat(folder)) is not None:
            found += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def stat(folder: Path) -> list[str] | None:
    """What comes after the name, which may have spaces; None of a process that has just gone."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


async def measure(devenv: Devenv, row: Row) -> None:
    first_paint(devenv, row)
    idle(devenv, row)
    flood(devenv, row)
    await log_pane(row)
