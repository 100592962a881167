"""SIGKILL at any moment, on the engine: after one ordinary run, nothing is there that was not before."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devenv.tools.docker import IMAGE_LABEL
from tests.e2e.conftest import Devenv, docker, make, remove_images

pytestmark = pytest.mark.engine

ROUNDS = 4
MARK = "DEVENV_TEST_LEFTOVERS"
IN_INSTANCE = ("gate snapshot", "gate fingerprint", "gate snapshot -o /dev/null", "gate restore /dev/zero")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    folder = tmp_path_factory.mktemp("left")
    made = make(folder, "devenv-left")
    made.environment["TMPDIR"] = str(folder / "tmp")
    (folder / "tmp").mkdir()
    made("reset", "--yes")
    made.done("build", "--release", "v1")
    made.done("up")
    [php] = made.containers("php-fpm")
    # Enough that each piece of work takes a while.
    program = (
        "$d = new PDO('sqlite:/app/data/database.sqlite'); $d->exec('CREATE TABLE bulk AS SELECT 1 AS n');"
    )
    program += "for ($i = 0; $i < 40; $i++) $d->exec('INSERT INTO bulk VALUES (randomblob(1000000))');"
    docker("exec", php, "php", "-r", program)
    try:
        yield made
    finally:
        made("reset", "--yes")
        remove_images(made)


def there(devenv: Devenv) -> dict[str, object]:
    """All that could be left: but for snapshots, which are what was asked for, and locks, which stay."""
    [php] = devenv.containers("php-fpm")
    name = devenv.stack.stack.name
    inside = docker("exec", php, "find", "/app/data", "/snapshots", "-not", "-path", "/app/data/sessions/*")
    project = f"label=com.docker.compose.project={name}"
    outside = [*devenv.state.rglob("*"), *Path(devenv.environment["TMPDIR"]).rglob("*")]
    return {
        "in the instance": sorted(one for one in inside.split() if not one.endswith(".tar")),
        "on this machine": sorted(str(one) for one in outside if one.suffix != ".tar"),
        "containers": docker("ps", "--all", "--quiet", "--filter", project).count("\n"),
        "volumes": docker("volume", "ls", "--quiet", "--filter", project),
        "images": sorted(docker("image", "ls", "--quiet", "--filter", f"reference={name}/*").split()),
        "processes": {one for one in running(php) if "php-fpm" not in one},
    }


def running(php: str) -> list[str]:
    """The commands of the instance's processes."""
    return [line.split(maxsplit=1)[1] for line in docker("top", php, "-eo", "pid,args").splitlines()]


def scratch_folders(php: str) -> int:
    """Also the one in which the gate itself has what it gives to successors."""
    found = docker("exec", php, "find", "/app/data/.gate", "/snapshots", "-name", ".devenv-scratch-*")
    return len(found.splitlines())


def killed_inside(php: str, command: str, after: float) -> None:
    """A command of the gate in the instance, by SIGKILL, so many seconds after it has begun to write."""
    script = (
        "count() { find /app/data/.gate /snapshots -name '.devenv-scratch-*' | wc -l; }\n"
        f"{command} >/dev/null 2>&1 &\n"
        "for i in $(seq 200); do [ $(count) -gt 1 ] && break; sleep 0.05; done\n"
        f"sleep {after:.3f}; kill -9 $!; wait"
    )
    docker("exec", php, "sh", "-c", script)


def killed(devenv: Devenv, *command: str, after: float) -> None:
    """A devenv, and whatever it has started on this machine, by SIGKILL."""
    mark = secrets.token_hex(8)
    process = devenv.start(*command, **{MARK: mark})
    time.sleep(after)
    process.kill()
    devenv.finish(process)
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


def until_quiet(php: str) -> None:
    """What an engine goes on with in the instance, though nobody asks for it any more, has ended."""
    ends = time.monotonic() + 120
    while "snapshot" in str(running(php)) and time.monotonic() < ends:
        time.sleep(0.5)


def test_after_kills_at_any_moment_and_one_ordinary_run_nothing_is_left(stack: Devenv) -> None:
    [php] = stack.containers("php-fpm")
    stack.done("snapshot", "save")
    stack.done("verify")
    docker("exec", php, "gate", "snapshot")
    before = there(stack)
    left = 0
    for _ in range(ROUNDS):
        for command in IN_INSTANCE:
            killed_inside(php, command, after=random.random() * 0.5)
            left += scratch_folders(php) > 1
        killed(stack, "snapshot", "save", after=0.5 + random.random() * 2)
        killed(stack, "up", after=0.5 + random.random() * 2)
    assert left > 0
    until_quiet(php)
    stack.done("up")
    stack.done("snapshot", "save")
    docker("exec", php, "gate", "snapshot")
    assert there(stack) == before


def test_what_a_killed_instance_was_at_goes_as_it_starts_again(stack: Devenv) -> None:
    [php] = stack.containers("php-fpm")
    work = subprocess.Popen(["docker", "exec", php, "gate", "snapshot"], stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while scratch_folders(php) < 3 and time.monotonic() < ends:
        assert work.poll() is None
    docker("kill", php)
    work.wait()
    docker("start", php)
    stack.done("up")
    assert scratch_folders(php) == 1
    assert docker("exec", php, "sh", "-c", "find /app/data/.gate/.devenv-scratch-* -type f -size +0") == ""


def test_a_build_removes_the_earlier_images_of_its_own_name_alone(tmp_path: Path) -> None:
    name, other = (f"devenv-left-{secrets.token_hex(4)}:v1" for _ in range(2))

    def build(of: str, content: str, *labels: str) -> str:
        (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
        (tmp_path / "file").write_text(content)
        options = [word for label in labels for word in ("--label", label)]
        docker("build", "--quiet", "--tag", of, *options, str(tmp_path))
        return docker("image", "inspect", "--format", "{{.Id}}", of)

    first = build(name, "one", f"{IMAGE_LABEL}={name}")
    foreign = build(other, "two", f"{IMAGE_LABEL}={other}")
    bare = build(other, "three")
    second = build(name, "four", f"{IMAGE_LABEL}={name}")
    build(other, "five")
    container = docker("create", first, "/nothing")
    remove = (
        "import asyncio, sys; from devenv.images import earlier; asyncio.run(earlier.remove(sys.argv[1]))"
    )
    try:
        subprocess.run([sys.executable, "-c", remove, name], check=True)
        here = docker("image", "ls", "--all", "--quiet", "--no-trunc").split()
        # A container is made of it still.
        assert {first, second, foreign, bare} <= set(here)
        docker("rm", container)
        subprocess.run([sys.executable, "-c", remove, name], check=True)
        here = docker("image", "ls", "--all", "--quiet", "--no-trunc").split()
        assert {second, foreign, bare} <= set(here)
        assert first not in here
    finally:
        docker("rmi", name, other, foreign, bare)
