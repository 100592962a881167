"""What a stack has on its machine: counted before and after, so that what is left over is seen.

Each thing has a kind, as a line: ``container php-fpm``, ``state snapshots/#_down_v#.tar``. Numbers, times and
ids are left out of it, so that what comes and goes all the while is the same kind every time.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from tests.e2e.conftest import Devenv, docker

MARK = "DEVENV_TEST_RUN"
"""Whoever has this in its environment was started by a test, with the value of that test."""
KEPT: Mapping[str, float] = {
    **{f"state snapshots/*_{reason}@*.tar": 10 for reason in ("before-upgrade", "before-restore", "down")},
    "state */portforward.log.#": 1,
    "state receipts/*.json": math.inf,
    "volume *.tar": 10,
    "instance carried.json": 1,
}
"""What devenv collects on purpose, and the most of it that there may be."""
_PROJECT = "com.docker.compose.project"


def marked(devenv: Devenv, value: str, temporary: Path) -> None:
    """From now on its runs can be told from others, and have a TMPDIR of their own."""
    temporary.mkdir(exist_ok=True)
    devenv.environment |= {MARK: value, "TMPDIR": str(temporary)}


def things(devenv: Devenv) -> Counter[str]:
    """All of a stack, on any backend, whose runs are `marked`."""
    found = Counter(_of_engine(devenv.stack.stack.name))
    found.update(f"process {words}" for words in processes(devenv.environment[MARK]))
    found.update(f"state {_kind(one)}" for one in _files(devenv.state))
    found.update(f"tmp {_kind(one)}" for one in _files(Path(devenv.environment["TMPDIR"])))
    return found


def in_instances(devenv: Devenv) -> Counter[str]:
    """What a compose stack keeps in its php-fpm containers, and in its volume. Only root can look."""
    found: Counter[str] = Counter()
    for container in devenv.containers("php-fpm"):
        pid = docker("inspect", "--format", "{{.State.Pid}}", container)
        root = Path("/proc", pid, "root")
        found.update(f"instance {_kind(one)}" for one in _files(root / "app" / "data" / ".gate"))
        found.update(f"instance /tmp/{_kind(one)}" for one in _files(root / "tmp"))
        found.update(f"volume {_kind(one)}" for one in _files(root / "snapshots"))
    return found


def beyond(before: Counter[str], after: Counter[str], kept: Mapping[str, float] = KEPT) -> list[str]:
    """What is there after that was not before. What `kept` has a pattern for may grow up to its bound."""
    left = [
        f"{kind} ({before[kind]} before, {after[kind]} after)"
        for kind in sorted(after - before)
        if not any(fnmatchcase(kind, pattern) for pattern in kept)
    ]
    for pattern, most in kept.items():
        count = sum(number for kind, number in after.items() if fnmatchcase(kind, pattern))
        if count > most:
            left.append(f"{pattern} ({count}, at most {most})")
    return left


def processes(mark: str) -> list[str]:
    """The programs that runs with that mark have started, and the programs of those."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(_kind((folder / "cmdline").read_text().replace("\0", " ").strip()))
        except OSError:
            continue
    return found


def _of_engine(name: str) -> Iterator[str]:
    project = f"label={_PROJECT}={name}"
    service = '{{.Label "com.docker.compose.service"}} {{.State}}'
    for line in _lines("ps", "--all", "--filter", project, "--format", service):
        yield f"container {line}"
    for line in _lines("ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={name}", "--format", service):
        yield f"container node {line.strip()}"
    for kind in ("volume", "network"):
        for line in _lines(kind, "ls", "--filter", project, "--format", "{{.Name}}"):
            yield f"{kind} {line.removeprefix(f'{name}_')}"
    for line in _lines("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{name}/*"):
        yield f"image {line}"


def _lines(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            yield str(path.relative_to(folder))


def _kind(name: str) -> str:
    """Without numbers, times, and ids."""
    return re.sub(r"\b[0-9a-f]{8,}\b|\d+([T.]\d+Z?)*", "#", name)
