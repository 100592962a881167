"""Without devenv: what README.md and the head of compose.yaml say, line by line as they stand there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.model.stack import Stack, StackSection
from tests.e2e.conftest import SUFFIX, docker, free_port
from tests.e2e.witness import nothing_lost, writers

pytestmark = pytest.mark.engine

CHECKOUT = Path(__file__).parents[2]
COMPOSE = CHECKOUT / "compose" / "compose.yaml"
NAME = f"devenv-hand{SUFFIX}"
"""So that no stack and no image of this machine is touched: compose takes these from its environment."""


class Person:
    """At a shell, in a folder that holds compose/ alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = Stack(stack=StackSection(name=NAME, port=free_port()))
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": NAME,
            "IMAGE_PREFIX": self.stack.image_prefix,
            "PORT": str(self.stack.stack.port),
        }

    def types(self, line: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            ["sh", "-ec", line], cwd=folder or self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def instances(self) -> list[str]:
        return self.types("docker compose -f compose/compose.yaml ps -q php-fpm").split()

    def status(self) -> dict[str, object]:
        [instance] = self.instances()
        status: dict[str, object] = json.loads(docker("exec", instance, "gate", "status"))
        return status


def commands(file: Path, mark: str) -> list[str]:
    """The lines of a document that are commands: those indented behind `mark`."""
    return [line.removeprefix(mark) for line in file.read_text().splitlines() if line.startswith(mark)]


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    one = Person(tmp_path)
    (tmp_path / "compose").mkdir()
    shutil.copy(COMPOSE, tmp_path / "compose")
    builds = [line for line in commands(CHECKOUT / "README.md", "    ") if line.startswith("docker build")]
    assert len(builds) == 3
    for line in builds:
        one.types(re.sub(r"-t (\S+)", rf"-t {one.stack.image_prefix}\1", line), CHECKOUT)
    try:
        yield one
    finally:
        one.types("docker compose -f compose/compose.yaml down --volumes")


async def test_the_documented_way_by_hand_costs_no_write_and_no_request(person: Person) -> None:
    secrets, start, beside, end, note, retire, down = commands(COMPOSE, "#     ")
    person.types(secrets)
    settings = person.folder / "compose" / ".env"
    assert settings.stat().st_mode & 0o077 == 0
    person.types(start)
    [old] = person.instances()

    async with writers(person.stack) as counted:
        await asyncio.sleep(1)
        await asyncio.to_thread(person.types, beside)
        assert len(person.instances()) == 2
        await asyncio.to_thread(person.types, end.replace("OLD", old))
        await asyncio.sleep(3)
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == []
    after = person.status()
    assert (after["role"], after["release"], after["epoch"]) == ("owner", "v2", 2)

    # Now that it is noted, a plain start changes nothing.
    person.types(note)
    person.types(start)
    assert person.status()["uid"] == after["uid"]

    person.types(retire)
    person.types(down)
    assert person.instances() == []
    person.types(start)
    again = person.status()
    assert again["lineage"] == after["lineage"]
    assert again["restored"]
