"""What goes wrong: processes killed at each point of the hand-over, in real containers under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devenv.engine.probe import Probe
from devenv.model.probe import ProbeReport
from tests.e2e.conftest import Devenv, Run, docker, make

pytestmark = pytest.mark.engine

WRITERS = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("faults"), "devenv-faults")
    made("reset", "--yes")
    made.done("build", "--release", "v1")
    made.done("build", "--release", "v2")
    try:
        yield made
    finally:
        made("reset", "--yes")


@pytest.fixture
def devenv(stack: Devenv) -> Devenv:
    """A stack of release v1 with one owner."""
    stack.done("up")
    if stack.done("status").of("answer")[0]["data"]["release"] != "v1":
        stack.done("upgrade", "--to", "v1")
    return stack


def with_fault(devenv: Devenv, fault: str) -> str:
    """A release that is v2, but its gate ends at once when it first comes to `fault`."""
    release = f"v2-{fault}".lower()
    image = devenv.stack.image("php-fpm", release)
    recipe = f"FROM {devenv.stack.image('php-fpm', 'v2')}\nENV GATE_FAULT={fault} GATE_RELEASE={release}\n"
    docker("build", "--quiet", "--tag", image, "-", stdin=recipe)
    return release


class Counted:
    report: ProbeReport


@asynccontextmanager
async def writers(devenv: Devenv) -> AsyncIterator[Counted]:
    """Real writes all the while, counted at the end."""
    counted = Counted()
    probe = Probe(devenv.stack.probe, devenv.stack.url, WRITERS)
    await probe.start()
    yield counted
    counted.report = await probe.stop()


async def upgraded(devenv: Devenv, release: str) -> Run:
    import asyncio

    return await asyncio.to_thread(devenv, "upgrade", "--to", release)


def one_owner(devenv: Devenv) -> dict[str, object]:
    """The stack as it is left: one instance, at work."""
    [instance] = devenv.containers("php-fpm")
    status: dict[str, object] = json.loads(docker("exec", instance, "gate", "status"))
    assert (status["role"], status["state"], status["ready"]) == ("owner", "open", True)
    return status


def nothing_lost(report: ProbeReport) -> None:
    assert report.uncounted is None
    assert report.lost == ()
    assert report.duplicated == ()
    assert report.acknowledged


@pytest.mark.parametrize(
    "phase",
    ["found", "copy", "warmed", "leased", "pages", "verified", "installed", "completed", "opened"],
)
async def test_a_successor_that_is_killed_costs_no_write_and_no_request(devenv: Devenv, phase: str) -> None:
    async with writers(devenv) as counted:
        run = await upgraded(devenv, with_fault(devenv, f"successor.{phase}"))
    nothing_lost(counted.report)
    if phase != "opened":
        # Once it has opened, requests are in the process that is killed.
        assert [sample.failure for sample in counted.report.failures] == []
    one_owner(devenv)
    if run.code != 0:
        assert "serves on with all content" in run.failure["what"]
        assert run.failure["next"]


@pytest.mark.parametrize("phase", ["copy-served", "closing", "closed", "moved", "relaying"])
async def test_an_owner_that_is_killed_costs_no_write(devenv: Devenv, phase: str) -> None:
    devenv.done("upgrade", "--to", with_fault(devenv, f"owner.{phase}"))
    async with writers(devenv) as counted:
        await upgraded(devenv, "v2")
    nothing_lost(counted.report)
    one_owner(devenv)


async def test_a_restart_of_either_container_costs_no_write(devenv: Devenv) -> None:
    async with writers(devenv) as counted:
        [php] = devenv.containers("php-fpm")
        docker("kill", "--signal", "KILL", php)
        docker("start", php)
        wait_until_open(php)
        docker("restart", php)
        wait_until_open(php)
        docker("restart", *devenv.containers("httpd"))
        wait_until_open(php)
    nothing_lost(counted.report)
    one_owner(devenv)


def wait_until_open(container: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        asked = subprocess.run(
            ["docker", "exec", container, "gate", "ready"], capture_output=True, check=False, timeout=20
        )
        if asked.returncode == 0:
            return
        assert time.monotonic() < deadline, docker("logs", "--tail", "20", container)
        time.sleep(0.2)


@pytest.mark.parametrize("phase", ["discover", "lease", "completed"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_an_interrupted_upgrade_is_undone_or_finished(
    devenv: Devenv, phase: str, number: signal.Signals
) -> None:
    import asyncio

    async with writers(devenv) as counted:
        process = devenv.start("upgrade", "--to", "v2")
        read = await asyncio.to_thread(read_until, process, phase)
        process.send_signal(number)
        run = await asyncio.to_thread(devenv.finish, process, read)
        if number is signal.SIGKILL:
            assert run.code == -signal.SIGKILL
            await asyncio.to_thread(devenv.done, "up")
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == []
    status = one_owner(devenv)
    if number is signal.SIGINT:
        assert run.code == (0 if status["release"] == "v2" else 130)


def read_until(process: subprocess.Popen[str], phase: str) -> list[dict[str, object]]:
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(json.loads(line))
        if read[-1].get("phase") == phase:
            break
    return read


def test_two_upgrades_at_once_are_one(devenv: Devenv) -> None:
    first = devenv.start("upgrade", "--to", "v2")
    read = read_until(first, "discover")
    second = devenv("upgrade", "--to", "v2")
    assert second.code == 1
    assert "upgrade" in second.failure["why"] + second.failure["what"]
    assert devenv.finish(first, read).code == 0  # type: ignore[arg-type]
    one_owner(devenv)


def test_a_release_that_cannot_serve_leaves_the_old_one_at_work(devenv: Devenv) -> None:
    image = devenv.stack.image("php-fpm", "broken")
    broken = "USER root\nRUN echo '<?php http_response_code(500);' > /app/public/index.php\nUSER www-data"
    recipe = f"FROM {devenv.stack.image('php-fpm', 'v2')}\n{broken}\nENV GATE_RELEASE=broken\n"
    docker("build", "--quiet", "--tag", image, "-", stdin=recipe)
    run = devenv("upgrade", "--to", "broken")
    assert run.code == 1
    assert "serves on with all content" in run.failure["what"]
    assert "500" in run.failure["why"]
    assert one_owner(devenv)["release"] == "v1"


def test_another_secret_is_refused(devenv: Devenv) -> None:
    settings = Path(devenv.environment["XDG_STATE_HOME"], "devenv", "devenv-faults", "compose.env")
    kept = settings.read_text()
    [secret] = [line for line in kept.splitlines() if line.startswith("HANDOVER_SECRET=")]
    try:
        settings.write_text(kept.replace(secret, f"HANDOVER_SECRET={'0' * 64}"))
        run = devenv("upgrade", "--to", "v2")
    finally:
        settings.write_text(kept)
    assert run.code == 1
    assert "secret" in (run.failure["what"] + run.failure["why"] + run.failure["next"]).lower()
    assert one_owner(devenv)["release"] == "v1"


def test_a_port_that_is_taken_names_its_holder(devenv: Devenv) -> None:
    devenv.done("down")
    with socket.create_server(("127.0.0.1", devenv.stack.stack.port)):
        run = devenv("up")
    assert run.code == 4
    assert str(devenv.stack.stack.port) in run.failure["what"]
    assert str(os.getpid()) in run.failure["why"] or "python" in run.failure["why"]
    devenv.done("up")


def test_a_build_error_names_the_line_and_not_a_page(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "public").mkdir(parents=True)
    (app / "public" / "index.php").write_text("<?php echo 1;")
    (app / "build.sh").write_text("echo this is on purpose >&2\nexit 3\n")
    run = make(tmp_path, "devenv-broken", '[app]\nsource = "app"\n')("build")
    assert run.code == 1
    assert "devenv-broken/php-fpm:v1" in run.failure["what"]
    assert "this is on purpose" in run.failure["log_tail"]
    assert len(run.failure["log_tail"].splitlines()) <= 25
    log = run.failure["next"].rpartition(": ")[2]
    assert "this is on purpose" in Path(log).read_text()


def test_a_plain_compose_up_afterwards_does_no_harm(devenv: Devenv) -> None:
    devenv.done("upgrade", "--to", "v2")
    before = one_owner(devenv)
    settings = Path(devenv.environment["XDG_STATE_HOME"], "devenv", "devenv-faults", "compose.env")
    compose = Path(__file__).parents[2] / "compose" / "compose.yaml"
    docker("compose", "-f", str(compose), "--env-file", str(settings), "up", "-d", "--wait")
    after = one_owner(devenv)
    assert (after["uid"], after["release"]) == (before["uid"], "v2")
