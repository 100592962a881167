"""An application that keeps its content in several places, some beside code: the next one has all of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.e2e.conftest import Devenv, docker, make, remove_images

pytestmark = pytest.mark.engine

DESCRIBED = """
[app]
source = "blog"
document_root = "."
database = "content/database/.ht.sqlite"
writable = ["content/database", "content/uploads", "users"]
leave = ["users/cache"]
warmup = "/"
"""
INDEX = """<?php
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$db = new PDO('sqlite:content/database/.ht.sqlite');
$db->exec('CREATE TABLE IF NOT EXISTS post (text)');
echo $_SESSION['visits'], ' visits, ', $db->query('SELECT count(*) FROM post')->fetchColumn(), " posts";
"""
CHANGE = """
mkdir('content/uploads/2026'); file_put_contents('content/uploads/2026/cat.jpg', str_repeat('cat', 3000000));
unlink('content/uploads/hello.txt'); file_put_contents('content/uploads/theme.css', 'mine');
mkdir('users/cache'); file_put_contents('users/cache/page', 'made anew');
$db = new PDO('sqlite:users/ann.db'); $db->exec('PRAGMA journal_mode = WAL');
$db->exec('CREATE TABLE feed (url)'); $db->exec("INSERT INTO feed VALUES ('https://example.org')");
(new PDO('sqlite:content/database/.ht.sqlite'))->exec("INSERT INTO post VALUES ('first')");
"""
READ = """
$files = [];
foreach (['content/uploads', 'users', 'content/database'] as $top) {
    $all = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($top, FilesystemIterator::SKIP_DOTS));
    foreach ($all as $path => $file) {
        if (preg_match('#/\\.gate|\\.ht\\.sqlite|ann\\.db|sessions/#', $path)) {
            continue;
        }
        $files[$path] = hash_file('sha256', $path);
    }
}
ksort($files);
$feeds = file_exists('users/ann.db')
    ? (new PDO('sqlite:users/ann.db'))->query('SELECT url FROM feed')->fetchAll(PDO::FETCH_COLUMN) : [];
echo json_encode([$files, $feeds]);
"""


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    made = make(tmp_path_factory.mktemp("blog"), "devenv-beside", DESCRIBED)
    for name, content in {
        "index.php": INDEX,
        "content/uploads/hello.txt": "hello",
        "content/uploads/theme.css": "of the release",
        "content/database/schema.php": "<?php // code beside the database",
        "users/readme.txt": "of the first release",
    }.items():
        path = made.folder / "blog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    made("reset", "--yes")
    try:
        yield made
    finally:
        made("reset", "--yes")


Content = tuple[dict[str, str], list[str]]
"""SHA-256 of each file, and what the second database has."""
NEW = "content/uploads/new.txt"
CACHE = "users/cache/page"


def php(blog: Devenv, code: str) -> str:
    [instance] = blog.containers("php-fpm")
    return docker("exec", instance, "php8.2", "-r", code)


def content(blog: Devenv) -> Content:
    files, feeds = json.loads(php(blog, READ))
    return files, feeds


def asked(port: int, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, answer.getheader("Content-Type", ""), said


class Visitor:
    """Somebody with a session."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookie = ""

    def visit(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/", headers={"Cookie": self._cookie})
        answer = connection.getresponse()
        self._cookie = (answer.getheader("Set-Cookie") or self._cookie).partition(";")[0]
        said = answer.read().decode()
        connection.close()
        return said


def of_next_release(there: Content) -> Content:
    """The same, with what that image brings."""
    files, feeds = there
    return {**files, NEW: sha256(b"new").hexdigest()}, feeds


def test_what_an_instance_has_changed_is_in_the_next_one_and_comes_back(blog: Devenv) -> None:
    blog.done("up")
    php(blog, CHANGE)
    port = blog.stack.stack.port
    # What an instance has got while it runs is served from there; what it has removed is not.
    assert asked(port, "/content/uploads/2026/cat.jpg") == (200, "image/jpeg", b"cat" * 3_000_000)
    assert asked(port, "/content/uploads/theme.css") == (200, "text/css", b"mine")
    for nobodys in ("/users/ann.db", "/content/database/schema.php", "/content/uploads/hello.txt"):
        assert b"visits" in asked(port, nobodys)[2]
    somebody = Visitor(port)
    assert somebody.visit() == "1 visits, 1 posts"
    files, feeds = content(blog)
    assert files.pop(CACHE)
    made = files, feeds
    assert set(files) == {
        "content/database/schema.php", "content/uploads/2026/cat.jpg", "content/uploads/theme.css",
        "users/readme.txt",
    }  # fmt: skip
    assert feeds == ["https://example.org"]

    # What came with the image is that of the next release, where nobody has changed it.
    uploads = blog.folder / "blog" / "content" / "uploads"
    (uploads / "theme.css").write_text("of the second release")
    (uploads / "new.txt").write_text("new")
    blog.done("build", "--release", "v2")
    upgraded = blog.done("upgrade", "--to", "v2")
    [saved] = [event for event in upgraded.of("step-ended") if event["step"] == "snapshot"]
    assert "stays behind: users/cache (1 file, 9 B)" in saved["note"]
    receipt = upgraded.receipt
    assert receipt["verified"]
    assert receipt["beside"]["changed"]["files"] >= 4  # each visitor has a session
    assert receipt["beside"]["left"] == [{"path": "users/cache", "files": 1, "bytes": 9}]
    assert content(blog) == of_next_release(made)
    assert somebody.visit() == "2 visits, 1 posts"

    blog.done("rollback")
    assert content(blog) == made
    saved = blog.done("snapshot", "save").of("answer")[-1]["data"]
    assert saved["changed"]["files"] >= 4
    assert saved["left"] == {}

    blog.done("down")
    blog.done("up")  # of what the working tree has now
    assert content(blog) == of_next_release(made)
    assert somebody.visit() == "3 visits, 1 posts"

    # A restore puts back what was there, and takes away what came since.
    php(blog, "unlink('content/uploads/2026/cat.jpg'); touch('users/later'); unlink('users/ann.db');")
    blog.done("snapshot", "restore", saved["path"], "--yes")
    assert content(blog) == of_next_release(made)


def test_an_application_that_waits_for_its_installer_is_upgraded_and_comes_back(tmp_path: Path) -> None:
    """Whether there is a database is what it goes by."""
    shop = make(tmp_path, "devenv-installer", '[app]\nsource = "shop"\nwarmup = "/"\n')
    (tmp_path / "shop" / "public").mkdir(parents=True)
    index = "<?php echo file_exists('../data/database.sqlite') ? 'the shop' : 'the installer';"
    (tmp_path / "shop" / "public" / "index.php").write_text(index)
    try:
        shop.done("up")
        visitor = Visitor(shop.stack.stack.port)
        assert visitor.visit() == "the installer"
        assert shop.done("upgrade", "--to", "v1").receipt["verified"]
        assert visitor.visit() == "the installer"
        php(shop, "touch('data/uploaded');")
        shop.done("down")
        shop.done("up")
        assert visitor.visit() == "the installer"
        assert php(shop, "echo json_encode(file_exists('data/uploaded'));") == "true"
    finally:
        shop("reset", "--yes")
        remove_images(shop)
