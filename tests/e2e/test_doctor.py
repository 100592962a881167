"""`devenv doctor` as a command on this very machine: what it finds, its words, its exit code."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv.doctor import suites
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


def test_fix_and_undo_exclude_each_other(devenv: Devenv) -> None:
    run = devenv("doctor", "--fix", "--undo", "--yes")
    assert run.code == 2
    assert "--undo" in run.failure["what"]


ENTER = (
    'mount --bind / "$1/mnt" && mount -t proc proc "$1/proc" && exec chroot "$1" sh -e /root/mend "$2" "$3"'
)
MEND_AND_UNDO = """
export DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="/mnt$1:/mnt$2"
state() {
    dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Abbrev}\\n' | grep ii
    find /etc/apt /usr/sbin /var/lib/devenv -type f -exec sha256sum {} + 2>/dev/null | sort
}
cd /root
apt-get update -qq
state > before
python3 install
apt-cache policy docker.io docker-compose hyprland > policy
cat /proc/[0-9]*/comm > running
python3 -m devenv doctor --undo --yes --json > undone
state > after
python3 -m devenv doctor --undo --yes --json > again
"""
INSTALL = """
import asyncio
from devenv.doctor import apt, host, suites
from devenv.doctor.machine import Machine

recipe = suites.recipe(host.look(), {"engine", "buildx", "compose"}, suites.sources())
asyncio.run(apt.install(recipe, Machine(), print))
"""


def test_a_bare_debian_12_is_mended_and_put_back(tmp_path: Path) -> None:
    """In a folder that is a machine of its own, but for its network; no engine is started in it."""
    origin = suites.of_debian(suites.sources(), "bookworm")
    if os.geteuid() != 0 or origin is None or shutil.which("mmdebstrap") is None:
        pytest.skip("only root can make a machine in a folder, by mmdebstrap, on Debian 12")
    root = tmp_path / "machine"
    made = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3", "bookworm"]
    subprocess.run([*made, str(root), origin.uris[0]], check=True, timeout=900)
    (root / "etc/apt/sources.list").write_text(
        "".join(f"deb {origin.uris[0]} {suite} main\n" for suite in ("bookworm", "bookworm-updates"))
    )
    for conf in Path("/etc/apt/apt.conf.d").glob("*"):
        if not conf.name.startswith("zz-devenv"):
            shutil.copy(conf, root / "etc/apt/apt.conf.d")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "root/mend").write_text(MEND_AND_UNDO)
    (root / "root/install").write_text(INSTALL)
    here, packages = Path(__file__).parents[2], Path(pytest.__file__).parents[1]
    argv = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "sh"]
    subprocess.run([*argv, str(root), str(here), str(packages)], check=True, timeout=900)
    names = ("before", "after", "policy", "running", "undone", "again")
    told = {name: (root / "root" / name).read_text() for name in names}
    assert "dockerd" not in told["running"]
    assert re.search(r"^docker-compose:\n  Installed: 2\.", told["policy"], re.MULTILINE)
    assert "hyprland:\n  Installed: (none)\n  Candidate: (none)" in told["policy"]
    assert told["after"] == told["before"]
    assert '"about": "undo"' in told["undone"]
    assert '"steps": []' in told["again"]
