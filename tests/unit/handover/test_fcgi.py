"""One question in FastCGI, to a server that may break off at any byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.handover import fcgi

PAGE = b"Status: 200 OK\r\nContent-Type: text/html\r\n\r\nhello"
BEGIN, END, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7


def record(kind: int, content: bytes, padding: int = 0) -> bytes:
    """As the specification has it: version, type, id, length, padding, reserved."""
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), padding) + content + b"\0" * padding


FINISH = record(STDOUT, b"") + record(END, struct.pack(">IB3x", 0, 0))


class Responder:
    def __init__(self, where: Path) -> None:
        self.where = where
        self.chunks: list[bytes] = [record(STDOUT, PAGE) + FINISH]
        self.pause = 0.0
        self.records: list[tuple[int, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(where))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
                    self.records = []
                    while (STDIN, b"") not in self.records:
                        _, kind, _, length, padding = struct.unpack(">BBHHBx", stream.read(8))
                        self.records.append((kind, stream.read(length + padding)[:length]))
                    for chunk in self.chunks:
                        connection.sendall(chunk)
                        time.sleep(self.pause)

    @property
    def params(self) -> dict[str, str]:
        """Decoded, as a server does it."""
        raw = b"".join(content for kind, content in self.records if kind == PARAMS)
        found = {}

        def size() -> int:
            nonlocal raw
            if raw[0] < 128:
                value, raw = raw[0], raw[1:]
            else:
                value, raw = struct.unpack(">I", raw[:4])[0] & 0x7FFFFFFF, raw[4:]
            return int(value)

        while raw:
            name, value = size(), size()
            found[raw[:name].decode()] = raw[name : name + value].decode()
            raw = raw[name + value :]
        return found

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[Responder]:
    it = Responder(tmp_path / "fpm.sock")
    yield it
    it.close()


Get = Callable[..., tuple[int, bytes]]


@pytest.fixture
def get(responder: Responder) -> Get:
    return lambda timeout=2.0, **params: fcgi.get(responder.where, params, timeout)


def test_a_page_is_its_status_and_all_of_its_output(get: Get) -> None:
    assert get() == (200, PAGE)


def test_the_question_is_a_responder_request_that_is_complete(responder: Responder, get: Get) -> None:
    get(SCRIPT_NAME="/index.php")
    kinds = [
        (kind, content if kind != PARAMS or not content else b"...") for kind, content in responder.records
    ]
    begin = struct.pack(">HB5x", 1, 0)  # a responder; the connection is closed afterwards
    assert kinds == [(BEGIN, begin), (PARAMS, b"..."), (PARAMS, b""), (STDIN, b"")]
    assert responder.params["REQUEST_METHOD"] == "GET"
    assert responder.params["SCRIPT_NAME"] == "/index.php"


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(
    st.dictionaries(
        st.text("ABC_", min_size=1, max_size=200),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
            st.sampled_from(["", "x" * 127, "x" * 128, "y" * 9000]),
        ),
        max_size=5,
    )
)
def test_params_of_any_length_arrive(responder: Responder, params: dict[str, str]) -> None:
    fcgi.get(responder.where, params, 2)
    assert {name: responder.params[name] for name in params} == params


@pytest.mark.parametrize(
    ("output", "status"),
    [
        (b"Content-Type: text/html\r\n\r\nStatus: 500 in the body", 200),
        (b"Status: 404 Not Found\r\n\r\n", 404),
        (b"X-Status: 1\r\nstatus:503\r\n\r\n", 503),
        (b"", 200),
    ],
)
def test_the_status_is_read_from_the_headers_only(
    responder: Responder, get: Get, output: bytes, status: int
) -> None:
    responder.chunks = [record(STDOUT, output) + FINISH] if output else [FINISH]
    assert get() == (status, output)


def test_an_answer_in_many_packets_and_records_is_put_together(responder: Responder, get: Get) -> None:
    whole = b"".join(record(STDOUT, PAGE[n : n + 1], padding=n % 8) for n in range(len(PAGE))) + FINISH
    responder.chunks = [whole[n : n + 3] for n in range(0, len(whole), 3)]
    assert get() == (200, PAGE)


def test_a_large_answer_in_full_records_is_whole(responder: Responder, get: Get) -> None:
    part = bytes(65535)
    responder.chunks = [record(STDOUT, b"\r\n\r\n"), *[record(STDOUT, part, padding=255)] * 20, FINISH]
    status, output = get()
    assert (status, len(output)) == (200, 4 + 20 * 65535)


def test_what_the_server_says_on_stderr_is_no_output(responder: Responder, get: Get) -> None:
    responder.chunks = [record(STDERR, b"PHP Warning"), record(STDOUT, PAGE), record(99, b"?"), FINISH]
    assert get() == (200, PAGE)


WHOLE = record(STDOUT, PAGE, padding=5) + FINISH


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 30, len(WHOLE) - 25, len(WHOLE) - 17, len(WHOLE) - 9])
def test_an_answer_that_ends_early_is_no_answer(responder: Responder, get: Get, length: int) -> None:
    responder.chunks = [WHOLE[:length]]
    with pytest.raises(OSError, match="closed the connection before its answer was complete"):
        get()


def test_a_silent_server_is_given_up(responder: Responder, get: Get) -> None:
    responder.chunks = [WHOLE[:20], WHOLE[20:]]
    responder.pause = 0.5
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        get(timeout=0.1)
    assert time.monotonic() - started < 0.4


def test_an_answer_that_trickles_is_given_up_in_the_time_that_it_has_in_all(
    responder: Responder, get: Get
) -> None:
    responder.chunks = [record(STDOUT, b"x")] * 100
    responder.pause = 0.05
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        get(timeout=0.3)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("kind", [STDOUT, STDERR])
def test_an_answer_without_end_is_given_up_before_it_fills_the_memory(
    responder: Responder, get: Get, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(fcgi, "LARGEST", 1 << 20)
    responder.chunks = [record(kind, bytes(65535))] * 200
    with pytest.raises(OSError, match="more than 1 MiB"):
        get(timeout=20.0)


def test_where_no_server_is_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        fcgi.get(tmp_path / "none.sock", {}, 1)


@pytest.mark.parametrize(
    ("uri", "script", "query"),
    [
        ("/", "/index.php", ""),
        ("/posts/7?page=2&x=?", "/index.php", "page=2&x=?"),
        ("/health.php?full", "/health.php", "full"),
    ],
)
def test_a_page_is_asked_of_the_front_controller_or_of_the_script_that_is_named(
    uri: str, script: str, query: str
) -> None:
    params = fcgi.page("/app/public", uri)
    assert params["SCRIPT_FILENAME"] == f"/app/public{script}"
    assert (params["SCRIPT_NAME"], params["QUERY_STRING"], params["REQUEST_URI"]) == (script, query, uri)
