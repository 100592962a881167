"""The site of the image php-fpm:v1, served by PHP's own server in one container."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException

import pytest

from tests.site.visitor import Visitor

SERVE = """
cp seed/database.sqlite data/database.sqlite
exec php8.2 -S 0.0.0.0:8000 -t public
"""
ENVIRONMENT = {
    "APP_SECRET": "of the tests",
    "APP_RELEASE": "v1",
    "APP_STARTED": "2026-01-02T03:04:05Z",
    "PHP_CLI_SERVER_WORKERS": "8",
}


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def container() -> Iterator[str]:
    image = os.environ.get("SITE_IMAGE", "php-fpm:v1")
    settings = [part for name, value in ENVIRONMENT.items() for part in ("--env", f"{name}={value}")]
    name = docker(
        "run", "--detach", *settings, "--publish", "127.0.0.1::8000", "--no-healthcheck",
        "--entrypoint", "sh", image, "-euc", SERVE,
    )  # fmt: skip
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="session")
def site(container: str) -> str:
    """Its host and port, once it answers."""
    address = docker("port", container, "8000/tcp")
    deadline = time.monotonic() + 30
    while True:
        try:
            if Visitor(address).get("/healthz").status == 200:
                return address
        except (OSError, HTTPException):
            pass
        if time.monotonic() > deadline:
            pytest.fail(f"the site does not answer:\n{docker('logs', container)}")
        time.sleep(0.1)


@pytest.fixture
def visitor(site: str) -> Visitor:
    return Visitor(site)


@pytest.fixture
def login(site: str) -> Callable[[str], Visitor]:
    def log_in(name: str) -> Visitor:
        visitor = Visitor(site)
        visitor.log_in(name)
        return visitor

    return log_in


@pytest.fixture
def jane(login: Callable[[str], Visitor]) -> Visitor:
    """An administrator."""
    return login("jane_admin")


@pytest.fixture
def john(login: Callable[[str], Visitor]) -> Visitor:
    """A plain user."""
    return login("john_user")
