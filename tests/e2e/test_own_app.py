"""Another application, described by devenv.toml alone: no framework, WAL mode, rows that violate foreign
keys, uploads. What is in flight when its content moves is not what a form sends, but what takes long.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.e2e.conftest import PATIENCE, Devenv, Run, docker, make, read_until, remove_images
from tests.e2e.witness import nothing_lost, one_owner, writers

pytestmark = pytest.mark.engine

SOURCE = Path(__file__).parents[1] / "handover" / "app" / "index.php"
DESCRIBED = """
[app]
source = "shop"
document_root = "web"
database = "store/content.sqlite"
warmup = "/"

[probe]
login = {}
read = "/notes"

[probe.write]
action = "/write"
fields = { nonce = "{nonce}" }
"""
ADMIN = """<?php
echo $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['HTTP_AUTHORIZATION'] ?? '-';
"""
UPLOAD = os.urandom(1 << 20) * 50
SMALL = b"a file that is there before"
BOUNDARY = "a-boundary-that-is-in-no-file"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    folder = tmp_path_factory.mktemp("shop")
    made = make(folder, "devenv-own", DESCRIBED)
    (folder / "shop" / "web").mkdir(parents=True)
    moved = SOURCE.read_text().replace("'/data'", "'/store'").replace("database.sqlite", "content.sqlite")
    (folder / "shop" / "web" / "index.php").write_text(moved)
    (folder / "shop" / "web" / "admin").mkdir()
    (folder / "shop" / "web" / "admin" / "index.php").write_text(ADMIN)
    # As an editor on Windows leaves it, with a shell of its own choice.
    (folder / "shop" / "build.sh").write_text("#!/bin/bash\r\nmkdir -p store/{uploads,more}\r\n")
    (folder / "shop" / "packages.txt").write_text("# what it needs\r\nphp-ctype   # comes with PHP\r\n\r\n")
    made("reset", "--yes")
    try:
        yield made
    finally:
        made("reset", "--yes")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    release: str
    began: float
    ended: float


class Visitor:
    """Requests of one's own; none is ever repeated."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> Answer:
        return self._send("GET", path)

    def lines(self, path: str) -> list[str]:
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.body.decode().splitlines()

    def upload(self, content: bytes, told: Event | None = None) -> Answer:
        """`told`: its second half waits for that."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self._send("POST", "/upload", body, told)

    def _send(self, method: str, path: str, body: bytes = b"", told: Event | None = None) -> Answer:
        began = time.time()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.putrequest(method, path)
        connection.putheader("Connection", "close")
        if body:
            connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[: len(body) // 2])
        if told is not None:
            assert told.wait(PATIENCE)
        connection.send(body[len(body) // 2 :])
        response = connection.getresponse()
        said = response.read()
        connection.close()
        return Answer(response.status, said, response.getheader("X-Release", ""), began, time.time())


def test_all_that_is_in_flight_arrives_and_all_content_travels(shop: Devenv) -> None:
    asyncio.run(_story(shop))


async def _story(shop: Devenv) -> None:
    await asyncio.to_thread(shop.done, "up")
    await asyncio.to_thread(shop.done, "build", "--release", "v2")
    visitor = Visitor(shop.stack.stack.port)
    assert visitor.upload(SMALL).body.decode() == sha256(SMALL)

    async with writers(shop.stack) as counted:
        run, answers = await asyncio.to_thread(upgrade_with, shop, visitor)
    nothing_lost(counted.report)
    assert [sample.failure for sample in counted.report.failures] == []
    assert run.receipt["verified"]
    assert one_owner(shop)["release"] == "v2"

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 200)
    for name, content in (("upload", UPLOAD), ("slow client", SMALL + b"2")):
        assert answers[name].body.decode() == sha256(content)
    chunks = [line.split(b".")[0] for line in answers["stream"].body.splitlines()]
    assert chunks == [b"chunk %d" % number for number in range(len(chunks))]
    assert answers["long"].body == b"done"
    # They were what the hand-over had to reckon with: begun before the old one closed, ended after that.
    [closing, *_] = [event["time"] for event in run.of("phase-reached") if event["phase"] == "closing"]
    for name in ("slow client", "stream", "long"):
        assert answers[name].began < closing < answers[name].ended, name
    content_is_there(visitor, files=3)

    back = await asyncio.to_thread(shop.done, "rollback")
    assert back.receipt["verified"]
    assert visitor.get("/").release == "v1"
    content_is_there(visitor, files=3)
    await asyncio.to_thread(shop.done, "verify")

    await asyncio.to_thread(shop.done, "down")
    again = await asyncio.to_thread(shop.done, "up")
    assert any("restored" in notice["text"] for notice in again.of("notice"))
    content_is_there(visitor, files=3)


def test_requests_reach_the_script_that_they_are_for_as_they_were_sent(shop: Devenv) -> None:
    shop.done("up")

    def told(path: str, **headers: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", shop.stack.stack.port, timeout=30)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, answer.getheader("X-Release", ""), said

    assert told("/admin/?a=b") == (200, "", "/admin/index.php /admin/?a=b -")
    assert told("/admin/index.php")[2] == "/admin/index.php /admin/index.php -"
    assert told("/admin/", Authorization="Basic eDp5")[2] == "/admin/index.php /admin/ Basic eDp5"
    # The application's own front controller has what is no script of its own, slashes in names included.
    for path in ("/there-is-none", "/a/b/", "/notes/a%2Fb", "/admin/none"):
        assert told(path)[1] == "v1", path


def images(shop: Devenv) -> dict[str, str]:
    [answer] = shop("status").of("answer")
    return {one["service"]: one["verdict"] for one in answer["data"]["images"]}


def test_an_image_that_the_working_tree_has_left_behind_is_seen_until_it_runs_anew(shop: Devenv) -> None:
    shop.done("up")
    assert Visitor(shop.stack.stack.port).lines("/notes") is not None
    assert images(shop) == {"httpd": "current", "php-fpm": "current"}
    build = shop.folder / "shop" / "build.sh"
    build.write_text(f"{build.read_text()}# changed\n")
    assert images(shop) == {"httpd": "current", "php-fpm": "stale"}
    index = shop.folder / "shop" / "web" / "index.php"
    index.write_text(f"{index.read_text()}\n")
    assert images(shop) == {"httpd": "stale", "php-fpm": "stale"}
    shop.done("build")
    assert images(shop) == {"httpd": "older", "php-fpm": "older"}
    shop.done("upgrade", "--to", "v1")
    assert images(shop) == {"httpd": "older", "php-fpm": "current"}
    shop.done("up")
    assert images(shop) == {"httpd": "current", "php-fpm": "current"}


def test_an_image_names_the_commit_that_it_was_made_of(shop: Devenv) -> None:
    source, release = shop.folder / "shop", f"v{secrets.token_hex(4)}"
    as_somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost")

    def git(*arguments: str) -> str:
        argv = ["git", "-C", str(source), *as_somebody, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def revision() -> str:
        shop.done("build", "--release", release)
        [image] = json.loads(docker("image", "inspect", shop.stack.image("php-fpm", release)))
        return str(image["Config"]["Labels"]["org.opencontainers.image.revision"])

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    assert revision() == git("rev-parse", "HEAD")
    (source / "web" / "more.txt").write_text("more\n")
    git("add", "--all")
    assert revision() == f"{git('rev-parse', 'HEAD')}-dirty"
    docker("rmi", *(shop.stack.image(service, release) for service in ("httpd", "php-fpm")))


PLUGIN = """<?php namespace Shop\\Plugin;
use Composer\\Composer; use Composer\\IO\\IOInterface;
use Composer\\Plugin\\PluginInterface; use Composer\\EventDispatcher\\EventSubscriberInterface;
class Plugin implements PluginInterface, EventSubscriberInterface {
    function activate(Composer $composer, IOInterface $io) {}
    function deactivate(Composer $composer, IOInterface $io) {}
    function uninstall(Composer $composer, IOInterface $io) {}
    static function getSubscribedEvents() { return ['post-autoload-dump' => 'dump']; }
    function dump() {
        file_put_contents('vendor/autoload_runtime.php', '<?php return "' . getenv('APP_ENV') . '";');
    }
}
"""


def test_composer_installs_what_an_application_has_not_brought_and_goes(tmp_path: Path) -> None:
    own = make(tmp_path, "devenv-composer", '[app]\nsource = "app"\nwarmup = "/"\n')
    app = tmp_path / "app"
    (app / "public").mkdir(parents=True)
    (app / "src").mkdir()
    (app / "plugin").mkdir()
    # Nothing that it would have to fetch: its autoloader, and a plugin as symfony/runtime is one.
    described: dict[str, Any] = {
        "repositories": [{"packagist.org": False}, {"type": "path", "url": "plugin"}],
        "require": {"shop/plugin": "*", "ext-mbstring": "*"},
        "minimum-stability": "dev",
        "autoload": {"psr-4": {"Shop\\": "src/"}},
        "config": {"allow-plugins": {"shop/plugin": True}},
    }
    plugin = {
        "name": "shop/plugin", "type": "composer-plugin", "require": {"composer-plugin-api": "^2.0"},
        "autoload": {"psr-4": {"Shop\\Plugin\\": ""}}, "extra": {"class": "Shop\\Plugin\\Plugin"},
    }  # fmt: skip
    (app / "composer.json").write_text(json.dumps(described))
    (app / "plugin" / "composer.json").write_text(json.dumps(plugin))
    (app / "plugin" / "Plugin.php").write_text(PLUGIN)
    (app / "src" / "Word.php").write_text("<?php namespace Shop; class Word { const SAID = 'loaded'; }\n")
    (app / "public" / "index.php").write_text(
        "<?php require '../vendor/autoload.php';"
        " echo Shop\\Word::SAID, ' in ', require '../vendor/autoload_runtime.php';"
    )
    (app / "build.sh").write_text("composer --version > said\n")
    # composer brought it, and takes it along when it goes.
    lacking = own("build").failure
    assert lacking["why"].endswith("ext-mbstring: composer.json and its packages ask for it"), lacking
    assert "add to packages.txt, a line each: php-mbstring; then build again" in lacking["next"]
    (app / "packages.txt").write_text("php-mbstring\n")
    own.done("build")
    try:
        shell = "cat said; cd public; php8.2 index.php; command -v composer || :"
        told = docker("run", "--rm", "--entrypoint", "sh", own.stack.image("php-fpm", "v1"), "-c", shell)
        assert told.startswith("Composer")
        assert told.splitlines()[-1] == "loaded in prod"
    finally:
        remove_images(own)


def test_a_seed_that_somebody_has_open_is_whole_or_the_build_says_why_not(tmp_path: Path) -> None:
    own = make(tmp_path, "devenv-seed", '[app]\nsource = "app"\nwarmup = "/"\n')
    app = tmp_path / "app"
    (app / "public").mkdir(parents=True)
    (app / "public" / "index.php").touch()
    seed = app / "data" / "database.sqlite"
    seed.parent.mkdir()
    with closing(sqlite3.connect(seed, isolation_level=None)) as editor:
        editor.execute("PRAGMA journal_mode = WAL")
        editor.execute("PRAGMA wal_autocheckpoint = 0")
        editor.execute("CREATE TABLE note (text)")
        editor.executemany("INSERT INTO note VALUES (?)", [(str(number),) for number in range(1500)])
        for name in (".git/config", "node_modules/left.js", "auth.json", ".env.local", ".env"):
            (app / name).parent.mkdir(exist_ok=True)
            (app / name).touch()
        own.done("build")
    read = "new PDO('sqlite:seed/database.sqlite')"
    count = f"echo ({read})->query('SELECT count(*) FROM note')->fetchColumn();"
    try:
        # SQLite makes files of its own beside one in WAL mode, also to read it.
        run = ("run", "--rm", "--user", "0", "--entrypoint", "php8.2")
        assert docker(*run, own.stack.image("php-fpm", "v1"), "-r", count) == "1500"
        # Of one's own machine nothing comes along.
        listed = docker(*run[:-1], "ls", own.stack.image("php-fpm", "v1"), "-A").split()
        assert listed == [".env", "data", "public", "seed"]
    finally:
        remove_images(own)
    seed.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    failure = own("build").failure
    assert failure["why"].startswith("the seed is no database: data/database.sqlite is a pointer of Git LFS")
    assert failure["next"].startswith("fetch it: git lfs pull; then build again: devenv build")


def upgrade_with(shop: Devenv, visitor: Visitor) -> tuple[Run, dict[str, Answer]]:
    """Upgrade to v2 while four kinds of long requests are in flight; three do not end before it closes."""
    [old] = shop.containers("php-fpm")
    closing = Event()
    with ThreadPoolExecutor(4) as pool:
        begun = {
            "slow client": pool.submit(visitor.upload, SMALL + b"2", closing),
            "stream": pool.submit(visitor.get, f"/stream?chunks={PATIENCE * 20}"),
            "long": pool.submit(visitor.get, f"/slow?seconds={PATIENCE}&nonce=long"),
        }
        try:
            process = shop.start("upgrade", "--to", "v2")
            read = read_until(process, event="step-started", step="handover")
            begun["upload"] = pool.submit(visitor.upload, UPLOAD)
            read += read_until(process, phase="closing")
            time.sleep(0.5)  # it holds what comes for these
        finally:
            closing.set()
            docker("exec", old, "touch", "/app/store/told")
        run = shop.finish(process, read)
        assert run.code == 0, run.told()
        return run, {name: answer.result() for name, answer in begun.items()}


def content_is_there(visitor: Visitor, *, files: int) -> None:
    kept = visitor.lines("/files")
    assert len(kept) == files
    assert {line.split()[0] for line in kept} == {"whole"}
    assert visitor.lines("/notes").count("note long") == 1


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
