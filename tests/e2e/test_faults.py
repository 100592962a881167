"""What goes wrong: processes killed at each point of the hand-over, in real containers under load."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devenv.tools.http import until_it_serves
from tests.e2e.conftest import Devenv, Run, docker, make, read_until
from tests.e2e.witness import content, nothing_lost, one_owner, wait_until_open, with_fault, writers

pytestmark = pytest.mark.engine


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


@contextmanager
def firing(devenv: Devenv, release: str) -> Iterator[None]:
    """Within, the engine tells that a container of `release` has ended as the fault ends it."""
    image = devenv.stack.image("php-fpm", release)
    filters = ("--filter", "event=die", "--filter", f"image={image}")
    code = "{{.Actor.Attributes.exitCode}}"
    argv = ["docker", "events", "--since", f"{time.time():.3f}", *filters, "--format", code]
    with tempfile.NamedTemporaryFile() as codes, subprocess.Popen(argv, stdout=codes) as events:
        try:
            yield
            until = time.monotonic() + 10  # the news of what has long happened
            while "137" not in (told := Path(codes.name).read_text().split()):
                assert time.monotonic() < until, f"the fault of {release} did not fire: it ended with {told}"
                time.sleep(0.05)
        finally:
            events.terminate()


async def upgraded(devenv: Devenv, release: str) -> Run:
    return await asyncio.to_thread(devenv, "upgrade", "--to", release)


# All phases there are, of both sides, are tried in tests/handover, with the same gates and no engine.
@pytest.mark.parametrize("phase", ["discover", "copy", "leased", "verified", "completed", "opened"])
async def test_a_successor_that_is_killed_costs_no_write_and_no_request(devenv: Devenv, phase: str) -> None:
    release = with_fault(devenv, f"successor.{phase}")
    async with writers(devenv.stack) as counted:
        with firing(devenv, release):
            run = await upgraded(devenv, release)
    nothing_lost(counted.report)
    if phase != "opened":
        # Once it has opened, requests are in the process that is killed.
        assert [sample.failure for sample in counted.report.failures] == []
    assert run.code == 0 or "serves on with all content" in run.failure["what"], run.failure
    assert one_owner(devenv)["release"] == (release if run.code == 0 else "v1")
    if run.code != 0:
        assert run.failure["next"]


@pytest.mark.parametrize("phase", ["copy-served", "closed", "moved", "ending"])
async def test_an_owner_that_is_killed_costs_no_write(devenv: Devenv, phase: str) -> None:
    release = with_fault(devenv, f"owner.{phase}")
    devenv.done("upgrade", "--to", release)
    async with writers(devenv.stack) as counted:
        with firing(devenv, release):
            run = await upgraded(devenv, "v2")
    nothing_lost(counted.report)
    assert one_owner(devenv)["release"] == ("v2" if run.code == 0 else release)


async def test_a_restart_of_either_container_costs_no_write(devenv: Devenv) -> None:
    async with writers(devenv.stack) as counted:
        [php] = devenv.containers("php-fpm")
        docker("kill", "--signal", "KILL", php)
        docker("start", php)
        wait_until_open(php)
        docker("restart", php)
        wait_until_open(php)
        docker("restart", *devenv.containers("httpd"))
        await until_it_serves(devenv.stack.stack.port, "/healthz", 30)
    nothing_lost(counted.report)
    one_owner(devenv)


async def test_an_owner_that_is_killed_just_as_the_new_one_comes_is_not_taken_for_nobody(
    devenv: Devenv,
) -> None:
    """The engine starts it again, but names nobody meanwhile. An old snapshot must not become the content."""
    devenv.done("down")
    devenv.done("up")  # so there is a snapshot, older than what is written now
    [old] = devenv.containers("php-fpm")
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", old))
    async with writers(devenv.stack) as counted:
        await asyncio.sleep(1)
        process = devenv.start("upgrade", "--to", "v2")
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(devenv.containers, "php-fpm")) < 2:
                await asyncio.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        run = await asyncio.to_thread(devenv.finish, process)
    nothing_lost(counted.report)
    status = one_owner(devenv)
    assert status["release"] == ("v2" if run.code == 0 else "v1"), run.told()
    assert status["restored"] is None, run.told()


def test_an_owner_that_was_removed_by_force_is_missed_and_given_up_by_a_person_alone(devenv: Devenv) -> None:
    devenv.done("down")
    devenv.done("up")
    [old] = devenv.containers("php-fpm")
    docker("rm", "--force", old)
    run = devenv("up")
    assert run.code == 1
    assert "the instance that has the content is not there" in run.failure["what"]
    assert "the newest snapshot is of 20" in run.failure["why"]
    [new] = devenv.containers("php-fpm")
    assert "devenv recover --from devenv-faults" in run.failure["next"]
    assert f"devenv recover --from {new}" in run.failure["instance_says"]
    devenv.done("recover", "--from", new, "--yes")
    devenv.done("up")
    restored = one_owner(devenv)["restored"]
    assert isinstance(restored, dict)
    assert restored["file"].endswith("-v1.tar")


SPOIL = """
import os, sqlite3
path = os.environ["GATE_DATABASE"]
database = sqlite3.connect(path)
database.execute("CREATE TABLE filler AS SELECT randomblob(100000) AS bytes")
database.execute("CREATE TABLE kept AS SELECT 'readable' AS word")
database.commit()
database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
[root] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'filler'").fetchone()
[size] = database.execute("PRAGMA page_size").fetchone()
database.close()
with open(path, "r+b") as file:
    file.seek((root - 1) * size)
    file.write(b"\\xff" * 200)
"""


def test_a_damaged_page_is_told_with_a_next_step_and_no_byte_is_lost(devenv: Devenv) -> None:
    [php] = devenv.containers("php-fpm")
    docker("exec", php, "python3", "-c", SPOIL)
    for command in (("upgrade", "--to", "v2"), ("verify",)):
        run = devenv(*command)
        assert run.code == 1
        assert "malformed" in run.failure["why"] or "btreeInitPage" in run.failure["why"], run.told()
        assert "devenv snapshot" in run.failure["next"]
    assert one_owner(devenv)["release"] == "v1"
    devenv.done("down")
    devenv.done("up")
    one_owner(devenv)
    [php] = devenv.containers("php-fpm")
    assert "cannot be read" in devenv("verify").failure["what"]
    look = "import os, sqlite3; database = sqlite3.connect(os.environ['GATE_DATABASE'])"
    kept = docker("exec", php, "python3", "-c", f"{look}; print(*database.execute('SELECT * FROM kept'))")
    assert kept == "('readable',)"
    devenv.done("reset", "--yes")


@pytest.mark.parametrize("phase", ["warmed", "leased", "completed"])
@pytest.mark.parametrize("which", ["old", "new"])
async def test_a_restart_in_the_middle_of_a_hand_over_costs_no_write(
    devenv: Devenv, which: str, phase: str
) -> None:
    """The engine ends it orderly and starts it again, while its hand-over is under way."""
    [old] = devenv.containers("php-fpm")
    async with writers(devenv.stack) as counted:
        process = devenv.start("upgrade", "--to", "v2")
        read = await asyncio.to_thread(read_until, process, phase=phase)
        ids = await asyncio.to_thread(devenv.containers, "php-fpm")
        [target] = [one for one in ids if (one == old) == (which == "old")]
        restart = ["docker", "restart", target]
        restarting = await asyncio.to_thread(subprocess.run, restart, capture_output=True, check=False)
        run = await asyncio.to_thread(devenv.finish, process, read)
        if (which, phase) != ("old", "completed"):  # there its end has come anyhow, perhaps before this
            assert restarting.returncode == 0, restarting.stderr
        await asyncio.to_thread(devenv.done, "up")
    nothing_lost(counted.report)
    assert one_owner(devenv)["release"] == ("v2" if run.code == 0 else "v1"), run.told()
    if run.code != 0:
        # Never "not verified": whoever has the content, it is whole.
        assert run.code == 1, run.told()
        assert "serves on with all content" in run.failure["what"]


@pytest.mark.parametrize("phase", ["lease", "completed"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_an_interrupted_upgrade_is_undone_or_finished(
    devenv: Devenv, phase: str, number: signal.Signals
) -> None:
    async with writers(devenv.stack) as counted:
        process = devenv.start("upgrade", "--to", "v2")
        read = await asyncio.to_thread(read_until, process, phase=phase)
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


def test_a_successor_that_is_gone_for_good_is_recovered_from_its_predecessor(devenv: Devenv) -> None:
    before = content(devenv)
    [old] = devenv.containers("php-fpm")
    process = devenv.start("upgrade", "--to", "v2")
    read = read_until(process, phase="completed")
    process.kill()
    devenv.finish(process, read)
    [new] = [one for one in devenv.containers("php-fpm") if one != old]
    name = docker("inspect", "--format", "{{.Name}}", old).lstrip("/")

    # As long as the other one is there, two would serve.
    refused = devenv("recover", "--from", name, "--yes")
    assert refused.code == 1
    assert f"devenv recover --from {name} --force" in refused.failure["next"]
    docker("rm", "--force", new)

    # Nothing is guessed: what is left is named, with the one way out.
    for command in ("up", "down"):
        refused = devenv(command)
        assert refused.code == 1
        assert "recover --from" in refused.failure["next"]
    assert devenv.containers("php-fpm") == [old]
    asked = devenv("recover", "--from", name)
    assert asked.code == 2
    assert "recover" in asked.failure["why"]

    devenv.done("recover", "--from", name, "--yes")
    devenv.done("up")
    assert one_owner(devenv)["release"] == "v1"
    assert content(devenv) == before
    devenv.done("upgrade", "--to", "v2")
    assert content(devenv) == before


def test_two_upgrades_at_once_are_one(devenv: Devenv) -> None:
    first = devenv.start("upgrade", "--to", "v2")
    read = read_until(first, phase="discover")
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
    settings = devenv.settings
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
    assert "/php-fpm:v1" in run.failure["what"]
    assert "this is on purpose" in run.failure["log_tail"]
    assert len(run.failure["log_tail"].splitlines()) <= 25
    log = run.failure["next"].rpartition(": ")[2]
    assert "this is on purpose" in Path(log).read_text()


def test_a_plain_compose_up_afterwards_does_no_harm(devenv: Devenv) -> None:
    devenv.done("upgrade", "--to", "v2")
    before = one_owner(devenv)
    compose = Path(__file__).parents[2] / "compose" / "compose.yaml"
    docker("compose", "-f", str(compose), "--env-file", str(devenv.settings), "up", "-d", "--wait")
    after = one_owner(devenv)
    assert (after["uid"], after["release"]) == (before["uid"], "v2")
