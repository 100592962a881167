"""The images as they are built: what is in them, what is not, and what two releases share."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SUFFIX, Devenv, docker, make

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
SERVICES = ("httpd", "php-fpm")
LARGEST = {"httpd": 110_000_000, "php-fpm": 225_000_000}
"""Some room above what they were, 93 and 211 MB: what goes beyond that was not meant to come in."""
NEEDLESS = (
    "gcc", "cc", "c++", "make", "composer", "git", "curl", "wget", "phpize", "pip", "pip3", "sudo", "ssh",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("images"), "devenv-images")
    for release in ("v1", "v2"):
        made.done("build", "--release", release)
    yield made
    docker("rmi", *(made.stack.image(service, release) for service in SERVICES for release in ("v1", "v2")))


def inspected(stack: Devenv, service: str, release: str) -> dict[str, Any]:
    [found] = json.loads(docker("image", "inspect", stack.stack.image(service, release)))
    return dict(found)


def inside(stack: Devenv, service: str, script: str) -> list[str]:
    image = stack.stack.image(service, "v1")
    return docker("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", script).splitlines()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_says_what_it_is_and_is_nobody_of_importance(stack: Devenv, service: str) -> None:
    config = inspected(stack, service, "v2")["Config"]
    labels = {
        name.rpartition(".")[2]: value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels["title"] == service
    assert labels["version"] == "v2"
    assert labels["description"]
    assert config["User"] == "www-data"
    assert not config.get("Volumes")
    assert config["Healthcheck"]["Test"]


@pytest.mark.parametrize("service", SERVICES)
def test_two_releases_share_every_layer(stack: Devenv, service: str) -> None:
    """What tells them apart is their configuration: an upgrade moves no more than that."""
    first, second = (inspected(stack, service, release) for release in ("v1", "v2"))
    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]
    assert first["Id"] != second["Id"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_left_of_how_it_was_built(stack: Devenv, service: str) -> None:
    assert inside(stack, service, f"for name in {' '.join(NEEDLESS)}; do command -v $name || :; done") == []
    assert inside(stack, service, "find /var/lib/apt/lists /var/cache /var/log /tmp -type f") == []
    assert inside(stack, service, "find / -xdev -name '*.env' -path '*compose*' -o -xdev -name .git") == []


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_the_size_that_it_is_known_to_have(stack: Devenv, service: str) -> None:
    assert inspected(stack, service, "v1")["Size"] < LARGEST[service]


def test_httpd_holds_no_source_of_the_application(stack: Devenv) -> None:
    assert inside(stack, "httpd", "find /app -name '*.php' -size +0") == []
    assert inside(stack, "httpd", "find /app -name '*.twig' -o -name '*.sqlite'") == []


def test_php_fpm_may_write_to_its_data_alone(stack: Devenv) -> None:
    writable = "find / -xdev ! -type l -writable -not -path '/proc/*' -not -path '/dev/*'"
    image = stack.stack.image("php-fpm", "v1")
    found = docker("run", "--rm", "--entrypoint", "sh", image, "-c", f"{writable} 2>/dev/null || :").split()
    places = (
        "/app/data",
        "/run/gate",
        "/snapshots",
        "/tmp",
        "/var/tmp",
        "/run/lock",
        "/run/php",
        "/var/lib/php",
    )
    assert [path for path in found if not path.startswith(places)] == []


def test_an_instance_that_is_told_to_end_in_its_first_moments_ends(stack: Devenv, tmp_path: Path) -> None:
    """Its first process would not hear of a signal that it has no handler for yet; an engine waits on."""
    secret = tmp_path / "secret"
    secret.write_text("0" * 64)
    secret.chmod(0o644)
    given = ("--volume", f"{secret}:/secret:ro", "--env", "GATE_SECRET_FILE=/secret", "--env", "APP_SECRET=x")
    for after in (0, 0.05, 0.1, 0.2):
        made = docker("create", *given, stack.stack.image("php-fpm", "v1"))
        try:
            docker("start", made)
            time.sleep(after)
            docker("kill", "--signal", "TERM", made)
            began = time.monotonic()
            docker("stop", "--signal", "CONT", "--time", "30", made)
            assert time.monotonic() - began < 20, f"{after} s: {docker('logs', made)}"
        finally:
            docker("rm", "--force", made)


def test_a_checkout_of_any_umask_makes_images_that_run(tmp_path: Path) -> None:
    """As `git clone` leaves it under umask 077: nobody but its owner can read a file of it."""
    for part in ("docker", "devenv/handover"):
        left = shutil.ignore_patterns("__pycache__", "var", "data", "seed", "node")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=left)
    for path in tmp_path.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    images = {service: f"devenv-umask{SUFFIX}/{service}:v1" for service in SERVICES}
    try:
        for service, image in images.items():
            file = str(tmp_path / "docker" / service / "Dockerfile")
            docker("build", "--quiet", "--tag", image, "--file", file, str(tmp_path))
        # As who they run as.
        docker("run", "--rm", images["httpd"], "apache2", "-t", "-f", "/etc/httpd/httpd.conf")
        docker(
            "run",
            "--rm",
            images["httpd"],
            "sh",
            "-c",
            "cat /app/public/style.css && test -x /etc/httpd/health",
        )
        docker("run", "--rm", images["php-fpm"], "run", "--help")
        shell = ("run", "--rm", "--entrypoint", "sh", images["php-fpm"], "-c")
        told = docker(*shell, "cat /etc/gate/* /app/public/index.php >/dev/null && php-fpm8.2 -i")
        # Debian's own way of clearing sessions away is cron's.
        assert "session.gc_probability => 1 => 1" in told
    finally:
        for image in images.values():
            subprocess.run(["docker", "rmi", image], check=False, capture_output=True)
