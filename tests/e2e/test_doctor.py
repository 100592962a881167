"""`devenv doctor` as a command on this very machine: what it finds, its words, its exit code."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Devenv, Run, docker, make

pytestmark = pytest.mark.engine

NOBODY = "65534"


@pytest.fixture
def devenv() -> Iterator[Devenv]:
    """In a folder that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="devenv-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield make(folder, "devenv-doctor")


def check(run: Run, name: str) -> dict[str, Any]:
    [answer] = run.of("answer")
    [found] = [one for one in answer["data"]["checks"] if one["name"] == name]
    return dict(found)


def test_a_machine_that_is_fit(devenv: Devenv) -> None:
    run = devenv.done("doctor")
    [answer] = run.of("answer")
    checks = answer["data"]["checks"]
    assert [one["name"] for one in checks if one["status"] == "fail"] == []
    assert check(run, "port")["reason"] == f"{devenv.stack.stack.port} is free"


def test_a_port_that_a_container_holds(devenv: Devenv) -> None:
    port = devenv.stack.stack.port
    image = devenv.stack.images.base
    holder = docker("run", "--detach", "--publish", f"127.0.0.1:{port}:80", image, "sleep", "600")
    try:
        name = docker("inspect", "--format", "{{.Name}}", holder).lstrip("/")
        run = devenv("doctor")
    finally:
        docker("rm", "--force", holder)
    assert run.code == 4
    assert check(run, "port")["reason"] == f"container {name} listens on {port}"
    assert f"container {name} listens on {port}" in run.failure["why"]
    assert "devenv.toml" in check(run, "port")["mend"]
    assert run.failure["next"]


def test_a_port_that_a_process_holds(devenv: Devenv) -> None:
    port = devenv.stack.stack.port
    with socket.create_server(("127.0.0.1", port)):
        run = devenv("doctor")
    assert run.code == 4
    assert check(run, "port")["reason"].endswith(f"(process {os.getpid()}) listens on {port}")


def test_another_devenv_first_on_path_is_a_warning(devenv: Devenv) -> None:
    other = devenv.folder / "bin" / "devenv"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    run = devenv("doctor", PATH=f"{other.parent}:{os.environ['PATH']}")
    assert run.code == 0, run.told()
    found = check(run, "name")
    assert found["status"] == "warn"
    assert found["reason"] == f"devenv on PATH is another program, {other}"
    assert str(Path(sys.prefix, "bin")) in found["mend"]


@pytest.mark.parametrize("command", ["doctor", "up", "upgrade"])
def test_an_engine_that_is_not_there(devenv: Devenv, command: str) -> None:
    run = devenv(command, DOCKER_HOST=f"unix://{devenv.folder}/no.sock")
    assert run.code == 4
    assert "engine" in (run.failure["what"] + run.failure["why"]).lower()
    assert run.failure["next"]


@pytest.mark.parametrize("command", ["doctor", "up", "status"])
def test_a_user_whom_the_engine_refuses(devenv: Devenv, command: str) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, by setpriv")
    # A checkout may lie where only root looks; what counts here is that it must not write to the engine.
    read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *read, "--")
    if subprocess.run([*become, "true"], check=False).returncode != 0:
        pytest.skip("this machine grants no capabilities to hand on")
    state = devenv.folder / "nobody"
    state.mkdir()
    os.chown(state, int(NOBODY), int(NOBODY))
    with subprocess.Popen(
        [*become, sys.executable, "-m", "devenv", command, "--json"],
        cwd=devenv.folder,
        env={**os.environ, **devenv.environment, "XDG_STATE_HOME": str(state), "HOME": str(state)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        run = devenv.finish(process)
    assert run.code == 4, run.told()
    assert "refuses this user" in run.failure["what"] + run.failure["why"]
    mend = check(run, "container engine")["mend"] if command == "doctor" else run.failure["next"]
    assert "usermod -aG docker" in mend
