"""Whoever speaks FastCGI to php-fpm runs code in it: httpd and other instances may, users of the host not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Devenv, docker, make, remove_images
from tests.e2e.witness import nothing_lost, one_owner, writers

pytestmark = pytest.mark.engine

PORTS = (9000, 9010)
NOBODY = 65534
"""A user of the host without any right."""
LISTEN = "import socket, time; s = socket.create_server(('', 9000)); time.sleep(300)"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("neighbours"), "devenv-neighbours")
    made("reset", "--yes")
    try:
        made.done("up")
        yield made
    finally:
        made("reset", "--yes")
        remove_images(made)


def address(container: str) -> str:
    return docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


def network(stack: Devenv) -> str:
    return f"{stack.stack.stack.name}_default"


def beside(stack: Devenv, code: str, *arguments: str, detached: bool = False) -> str:
    """Run a program in a container of its own, on the network of the stack."""
    [instance] = stack.containers("php-fpm")
    image = docker("inspect", "-f", "{{.Config.Image}}", instance)
    how = ["--detach"] if detached else []
    run = ["run", *how, "--rm", "--network", network(stack), "--entrypoint", "python3", image]
    return docker(*run, "-c", code, *arguments)


def host_addresses() -> list[str]:
    shown = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
    return [one["local"] for link in shown for one in link["addr_info"] if link["ifname"] != "lo"]


def connects(where: str, port: int, source: str = "") -> bool:
    with socket.socket() as connection:
        connection.settimeout(2)
        try:
            connection.bind((source, 0))
            connection.connect((where, port))
        except OSError:
            return False
        return True


def connects_as_nobody(where: str, port: int) -> bool:
    attempt = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{where}/{port}"]
    user = NOBODY if os.geteuid() == 0 else None
    return subprocess.run(attempt, user=user, capture_output=True, check=False).returncode == 0


@pytest.fixture
def reachable(stack: Devenv) -> None:
    """The host reaches containers at all: else what is tested here is true without any filter."""
    container = beside(stack, LISTEN, detached=True)
    try:
        where = address(container)
        deadline = time.monotonic() + 20
        while not connects(where, 9000):  # it may not listen yet
            if time.monotonic() > deadline:
                pytest.skip("this host has no way to its containers' addresses")
            time.sleep(0.1)
        assert connects_as_nobody(where, 9000)
    finally:
        docker("rm", "-f", container)


def require_closed_to_the_host(stack: Devenv) -> None:
    [instance] = stack.containers("php-fpm")
    where = address(instance)
    assert "unguarded" not in docker("logs", instance)
    for port in PORTS:
        for source in ("", *host_addresses()):
            assert not connects(where, port, source), f"{where}:{port} from {source or 'the host'}"
        assert not connects_as_nobody(where, port)


def test_no_user_of_the_host_connects_and_neighbours_do(stack: Devenv, reachable: None) -> None:
    require_closed_to_the_host(stack)
    [instance] = stack.containers("php-fpm")
    for port in PORTS:
        beside(stack, CONNECT, address(instance), str(port))
        beside(stack, CONNECT, "php-fpm", str(port))
    docker("exec", instance, "gate", "ready")
    assert connects("127.0.0.1", stack.stack.stack.port)


async def test_an_upgrade_and_a_new_httpd_are_served_and_the_host_is_still_not(
    stack: Devenv, reachable: None
) -> None:
    async with writers(stack.stack) as counted:
        await asyncio.to_thread(stack.done, "upgrade", "--to", "v2")
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == []
    one_owner(stack)
    require_closed_to_the_host(stack)

    [httpd] = stack.containers("httpd")
    before = address(httpd)
    docker("rm", "-f", httpd)
    taken = beside(stack, LISTEN, detached=True)  # so that the new one gets another address
    try:
        stack.done("up")
        [httpd] = stack.containers("httpd")
        assert address(httpd) != before
    finally:
        docker("rm", "-f", taken)
    assert stack.done("verify").code == 0
    require_closed_to_the_host(stack)
