"""A program in a container that forges what devenv takes out of it: nothing of the host is touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Devenv, docker, make
from tests.e2e.witness import content, one_owner

pytestmark = pytest.mark.engine

_SWAP = """
import os, pathlib, sys, time
folder, place = pathlib.Path("/snapshots"), sys.argv[1]
known = set(folder.glob("*.tar"))
print("watching", flush=True)
while True:
    for path in set(folder.glob("*.tar")) - known:
        path.unlink()
        {
            "link": lambda: path.symlink_to(sys.argv[2]),
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "other": lambda: path.write_bytes(b"no snapshot" * 1000),
        }[place]()
        known.add(path)
    time.sleep(0.001)
"""
"""Puts something else in the place of each new snapshot. It ends with the container, after the last one."""
_JOURNAL = """
import os, pathlib, sys
path = pathlib.Path("/app/data/.gate/events.jsonl")
path.unlink()
{"link": lambda: path.symlink_to(sys.argv[2]), "pipe": lambda: os.mkfifo(path)}[sys.argv[1]]()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("untrusted"), "devenv-untrusted")
    made("reset", "--yes")
    made.done("build", "--release", "v1")
    try:
        yield made
    finally:
        made("reset", "--yes")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of the host that everybody may read, as a shell is."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def untouched(path: Path) -> bool:
    return path.read_text() == "#!/bin/sh\n" and path.stat().st_mode & 0o777 == 0o755


def all_containers(devenv: Devenv) -> list[str]:
    """Of php-fpm, also those that have ended."""
    project = f"label=com.docker.compose.project={devenv.stack.stack.name}"
    service = "label=com.docker.compose.service=php-fpm"
    return docker("ps", "-aq", "--no-trunc", "--filter", project, "--filter", service).split()


def swapping(container: str, place: str, target: Path) -> None:
    """A program of the application's own user, which its end does not reach: it has a session of its own."""
    docker(
        "exec",
        "-d",
        container,
        "sh",
        "-c",
        'exec setsid python3 -c "$@" >/tmp/said',
        "sh",
        _SWAP,
        place,
        str(target),
    )
    until = time.monotonic() + 10
    while "watching" not in docker("exec", container, "cat", "/tmp/said"):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("place", ["link", "folder", "pipe", "other"])
def test_what_is_put_in_the_place_of_the_last_snapshot_is_not_taken_and_the_content_is_kept(
    stack: Devenv, mine: Path, place: str
) -> None:
    stack.done("up")
    before = content(stack)
    [container] = all_containers(stack)
    saved = set(stack.state.glob("snapshots/*"))
    swapping(container, place, mine)
    run = stack("down")
    assert run.code == 1, run.told()
    assert ("not whole" if place == "other" else "cannot be taken") in run.failure["what"], run.failure
    assert untouched(mine)
    assert set(stack.state.glob("snapshots/*")) == saved
    assert all_containers(stack) == [container]
    # Nothing but the copy was spoiled.
    stack.done("up")
    one_owner(stack)
    assert content(stack) == before


@pytest.mark.parametrize("place", ["link", "pipe"])
def test_a_journal_that_is_none_is_not_followed_and_the_content_is_kept(
    stack: Devenv, mine: Path, place: str
) -> None:
    stack.done("up")
    [container] = all_containers(stack)
    docker("exec", container, "python3", "-c", _JOURNAL, place, str(mine))
    run = stack("down")
    assert run.code == 1, run.told()
    assert "cannot be read" in run.failure["what"], run.failure
    assert untouched(mine)
    assert all_containers(stack) == [container]
    docker("cp", f"{container}:/app/data/database.sqlite", str(mine.with_name("database.sqlite")))
    assert mine.with_name("database.sqlite").read_bytes().startswith(b"SQLite format 3")
    stack.done("reset", "--yes")
