"""Files of run time: sent by an instance as httpd would send them, and nothing that is nobody's business."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.handover.instances import ROOT

CAT = bytes(range(256)) * 1000
FILES = {
    "uploads/cat.jpg": CAT,
    "uploads/empty.txt": b"",
    "uploads/with space é.css": b"a {}",
    "uploads/unknown.xyz": b"?",
    "uploads/.well-known/proof": b"proof",
}
PRIVATE = [
    "uploads/.env", "uploads/.gate/record.json", "uploads/shell.php", "uploads/x.PHP", "uploads/users.db",
    "uploads/copy.sql.gz", "uploads/page.phtml", "uploads/page.php~", "uploads/closed/letter.pdf",
    "uploads/closed/deep/letter.pdf", "data/uploads/of-the-database.jpg", "data/x.db", "code/style.css",
    "leads-out.jpg", "leads-to-private.jpg",
]  # fmt: skip
# PHP's own little server prepends nothing to a script that answers for all paths.
INDEX = """<?php require getenv('SERVE');
http_response_code(404); echo 'the application: ', $_SERVER['REQUEST_METHOD'];"""
SECRET = b"a secret"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of an application with the document root ".", writable in uploads and data."""
    app = tmp_path_factory.mktemp("app")
    for name, content in {**FILES, **dict.fromkeys(PRIVATE[:-2], SECRET)}.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_bytes(content)
    (app / "uploads/closed/.htaccess").write_text("Order deny,allow\nDeny from all\n")
    (app / "index.php").write_text(INDEX)
    outside = tmp_path_factory.mktemp("outside") / "leads-out.jpg"
    outside.write_bytes(SECRET)
    (app / "leads-out.jpg").symlink_to(outside)
    (app / "leads-to-private.jpg").symlink_to("uploads/users.db")
    (app / "storage").symlink_to("uploads")
    script = tmp_path_factory.mktemp("gate")
    shutil.copy(ROOT / "docker/php-fpm/serve.php", script)
    shutil.copy(ROOT / "docker/never-served", script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    env = {
        "PATH": os.environ["PATH"], "GATE_ROOT": str(app), "GATE_DATABASE": str(app / "data/x.db"),
        "GATE_WRITABLE": "data:uploads", "SERVE": str(script / "serve.php"),
    }  # fmt: skip
    argv = ["php8.2", "-n", "-S", f"127.0.0.1:{number}", "-t", str(app), str(app / "index.php")]
    server = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                asked(number, "/")
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield number
    finally:
        server.kill()
        server.wait()


Answer = tuple[int, http.client.HTTPMessage, bytes]


def asked(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, answer.headers, said


def url(name: str) -> str:
    from urllib.parse import quote

    return "/" + quote(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("uploads/cat.jpg", "image/jpeg"),
        ("uploads/empty.txt", "text/plain"),
        ("uploads/with space é.css", "text/css"),
        ("uploads/unknown.xyz", "application/octet-stream"),
        ("uploads/.well-known/proof", "application/octet-stream"),
    ],
)
def test_a_file_is_sent_whole_with_its_type(port: int, name: str, kind: str) -> None:
    status, headers, said = asked(port, url(name) + "?v=2")
    assert (status, said, headers["Content-Type"]) == (200, FILES[name], kind)
    assert int(headers["Content-Length"]) == len(said)
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_link_below_the_document_root_leads_to_what_it_names(port: int) -> None:
    """As `artisan storage:link` makes one."""
    assert asked(port, "/storage/cat.jpg")[2] == CAT


@pytest.mark.parametrize("name", [*PRIVATE, "uploads", "uploads/none.jpg", "storage/users.db"])
def test_what_is_nobodys_business_is_for_the_application_to_answer(port: int, name: str) -> None:
    for path in (url(name), f"/./{name}", f"//{name}", f"/uploads/../{name}", f"/{name.replace('.', '%2e')}"):
        status, _, said = asked(port, path)
        assert (status, said) == (404, b"the application: GET"), path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_for_the_application(port: int, method: str) -> None:
    assert asked(port, "/uploads/cat.jpg", method)[2] == b"the application: " + method.encode()


def test_a_head_has_no_body(port: int) -> None:
    status, headers, said = asked(port, "/uploads/cat.jpg", "HEAD")
    assert (status, said, headers["Content-Length"]) == (200, b"", str(len(CAT)))


@pytest.mark.parametrize(
    ("asks", "gets", "range_"),
    [
        ("bytes=0-9", CAT[:10], "bytes 0-9/256000"),
        ("bytes=255990-", CAT[-10:], "bytes 255990-255999/256000"),
        ("bytes=-10", CAT[-10:], "bytes 255990-255999/256000"),
        ("bytes=100-999999999", CAT[100:], "bytes 100-255999/256000"),
    ],
)
def test_a_part_is_sent_as_it_is_asked_for(port: int, asks: str, gets: bytes, range_: str) -> None:
    status, headers, said = asked(port, "/uploads/cat.jpg", Range=asks)
    assert (status, said, headers["Content-Range"]) == (206, gets, range_)


def test_a_part_that_there_is_not_is_said(port: int) -> None:
    status, headers, _ = asked(port, "/uploads/cat.jpg", Range="bytes=256000-")
    assert (status, headers["Content-Range"]) == (416, "bytes */256000")


@pytest.mark.parametrize("asks", ["bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b"])
def test_parts_that_make_no_sense_are_all_of_it(port: int, asks: str) -> None:
    assert asked(port, "/uploads/cat.jpg", Range=asks)[::2] == (200, CAT)


def test_who_has_it_already_is_told_so(port: int) -> None:
    _, headers, _ = asked(port, "/uploads/cat.jpg")
    for known in ({"If_None_Match": headers["ETag"]}, {"If_Modified_Since": headers["Last-Modified"]}):
        assert asked(port, "/uploads/cat.jpg", **known)[::2] == (304, b"")
    for other in ({"If_None_Match": '"1-1"'}, {"If_Modified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}):
        assert asked(port, "/uploads/cat.jpg", **other)[::2] == (200, CAT)
    # Half of what it was is not continued with half of what it is.
    assert asked(port, "/uploads/cat.jpg", Range="bytes=0-9", If_Range='"1-1"')[::2] == (200, CAT)
