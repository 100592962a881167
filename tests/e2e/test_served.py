"""What httpd serves of an application's folder by itself, and what it never does."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import SUFFIX, docker

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
SECRET = "the secret of the shop"
NEVER = [
    ".env",
    ".env.local",
    ".git/config",
    ".htaccess",
    ".htpasswd",
    ".user.ini",
    ".DS_Store",
    "a/.env",
    "a/.git/HEAD",
    "data/db.sqlite",
    "data/db.sqlite-wal",
    "data/uploads/private.txt",
    "data/.gate/record.json",
    "files/changed-by-an-instance.css",
    "copy.sqlite3",
    "other.db",
    "dump.sql",
    "dump.sql.gz",
    "a/DUMP.SQL",
    "config.inc",
    "Config.INC",
    "page.phtml",
    "page.php7",
    "app.phar",
    "index.php.bak",
    "index.php~",
    "index.php.swp",
    "#index.php#",
    "index.php.orig",
    "settings.ini",
    "composer.json",
    "composer.lock",
    "auth.json",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "build.sh",
    "packages.txt",
    "devenv.toml",
    "Dockerfile",
    "docker-compose.yml",
    "compose.yaml",
    "Makefile",
    "phpunit.xml",
    "web.config",
    "wp-config.php.save",
    "site.module",
    "page.html.twig",
    "view.tpl",
    "server.key",
    "app.log",
    "artisan",
    "id_rsa",
    "conf.neon",
]
SERVED = [
    "style.css",
    "a/script.js",
    "robots.txt",
    "manifest.json",
    "feed.xml",
    "a/page.html",
    "image.svg",
    "a/font.woff2",
    "download.zip",
    ".well-known/security.txt",
    "less.php/notes.txt",
    "openapi.yaml",
    "my.environment.css",
]
SCRIPTS = ("index.php", "a/index.php", "tools/run.PHP")


@pytest.fixture(params=["public", "."])
def httpd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A container of it, without any php-fpm, and its port."""
    root = request.param
    app = tmp_path / "app"
    for name in (*NEVER, *SERVED, *SCRIPTS):
        path = app / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    image = f"devenv-served{SUFFIX}/httpd:v1"
    arguments = {"DOCUMENT_ROOT": root, "WRITABLE": f"{root}/data:{root}/files"}
    options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    file = ROOT / "docker" / "httpd" / "Dockerfile"
    docker("build", "-t", image, "-f", str(file), *options, "--build-context", f"app={app}", str(ROOT))
    with serving(image) as found:
        yield found
    docker("rmi", image)


@contextmanager
def serving(image: str) -> Iterator[tuple[str, int]]:
    run = ("run", "--detach", "--publish", "127.0.0.1::8080", "--add-host", "php-fpm:127.0.0.1")
    container = docker(*run, image)
    try:
        port = int(docker("port", container, "8080").rpartition(":")[2])
        deadline = time.monotonic() + 20
        while True:
            try:
                asked(port, "/.httpd")
                break
            except OSError:
                assert time.monotonic() < deadline, docker("logs", container)
                time.sleep(0.1)
        yield container, port
    finally:
        docker("rm", "--force", container)


def asked(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path.replace("#", "%23"))
    answer = connection.getresponse()
    said = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, said


def test_what_is_nobodys_business_is_neither_served_nor_in_the_image(httpd: tuple[str, int]) -> None:
    container, port = httpd
    for name in NEVER:
        for path in (f"/{name}", f"/{name}/", f"/./{name}", f"/{name}?x=1"):
            status, said = asked(port, path)
            # Not even that it is there is told: the application answers, and there is none here.
            assert status == 503, path
            assert SECRET not in said, path
    # A person's script is run, and what is called like one of those can be a page of the application.
    for name in (*SCRIPTS[:2], "there-is-none", "posts/setup.py", "tags/makefile"):
        assert asked(port, f"/{name}")[0] == 503, name
    for name in SERVED:
        assert asked(port, f"/{name}") == (200, SECRET), name
    assert asked(port, "/a/page.html/")[0] != 200
    found = docker("exec", container, "sh", "-c", f"grep -rl '{SECRET}' /app || :").split()
    assert {one.removeprefix("/app/").removeprefix("public/") for one in found} == set(SERVED)
