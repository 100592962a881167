"""The probe against a real site that answers junk: nothing that goes wrong is passed over."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from devenv.engine import probe as probe_module
from devenv.engine.probe import Answer, Probe, next_page
from devenv.errors import DevenvError
from devenv.model.probe import Form, ProbeConfig, ProbeReport
from devenv.tools import http
from tests.unit.local_site import WELL, LocalSite, Said, open_site

CONFIG = ProbeConfig(
    login=Form(page="/login", action="/login", fields={"name": "jane"}),
    write=Form(action="/write", fields={"text": "{nonce}"}),
    read="/notes",
)


@pytest.fixture
def site() -> Iterator[LocalSite]:
    with open_site() as one:
        yield one


async def written(site: LocalSite, *, broken: Said, number: int = 2) -> ProbeReport:
    """One writer, until it has written more after the answer to its write `number`, which is broken."""
    site.written.clear()
    site.broken = lambda method, path, count: broken if (path, count) == ("/write", number) else None
    probe = Probe(CONFIG, site.url, 1)
    await probe.start()
    await reached(
        lambda: len(site.written) > number or not any(thread.is_alive() for thread in probe._threads)
    )
    return await probe.stop()


async def reached(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def redirect(location: str) -> bytes:
    return b"HTTP/1.1 303 See Other\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location.encode("latin-1")


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
BROKEN = st.one_of(
    st.binary(max_size=200).filter(lambda said: not said.startswith(b"HTTP/")),
    WORDS.map(lambda words: redirect(f"http://[{words.replace(']', '')}")),
    WORDS.map(lambda words: redirect(f"//{words.replace('/', '').replace('[', '')}]")).filter(
        lambda said: b"#" not in said and b"?" not in said
    ),
    st.integers(1, 6000).map(lambda length: b"HTTP/1.1 %s\r\n\r\n" % (b"9" * length)),
    st.integers(66_000, 90_000).map(lambda length: b"HTTP/1.1 303 %s\r\n\r\n" % (b"x" * length)),
    st.integers(101, 300).map(lambda many: b"HTTP/1.1 303 x\r\n%s\r\n" % (b"A: b\r\n" * many)),
    st.text("ghxyz-", min_size=1).map(
        lambda size: b"HTTP/1.1 303 x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % size.encode()
    ),
    st.integers(1, 9000).map(lambda length: b"HTTP/1.1 303 x\r\nContent-Length: %d\r\n\r\n" % length),
    st.sampled_from(
        [
            b"HTTP/1.1 303 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\n\r\n",
            redirect("/login"),
            redirect("/login?again=1"),
        ]
    ),
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(broken=BROKEN)
def test_an_answer_that_is_not_understood_is_a_failure_and_the_writer_goes_on(
    site: LocalSite, broken: bytes
) -> None:
    report = asyncio.run(written(site, broken=broken))
    assert report.uncounted is None
    assert len(report.samples) == len(site.written)
    assert [one.failure is not None for one in report.samples[:3]] == [False, True, False]
    assert len(report.failures) == 1
    assert not report.clean


async def test_an_answer_without_an_end_is_a_failure(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "MOST", 2**20)
    endless = itertools.chain([b"HTTP/1.1 303 x\r\n\r\n"], itertools.repeat(b"x" * 2**16))
    report = await written(site, broken=endless)
    [failed] = report.failures
    assert "longer than 1,048,576 bytes" in str(failed.failure)


@pytest.mark.parametrize("head", [b"HTTP/1.1 303 x\r\n\r\n", b"HTTP/1.1 303 x\r\nA: "])
async def test_an_answer_that_trickles_is_a_failure_in_the_time_of_a_request(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(probe_module, "TIMEOUT", 2.0)

    def trickle() -> Iterator[bytes]:
        yield head
        for _ in range(120):
            time.sleep(0.1)
            yield b"x"

    report = await written(site, broken=trickle())
    failed = report.samples[1]
    assert "Timeout" in str(failed.failure)
    assert failed.seconds < 8


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt])
async def test_a_writer_that_dies_leaves_the_writes_uncounted_and_no_trace_on_the_screen(
    site: LocalSite, capfd: pytest.CaptureFixture[str], death: type[BaseException]
) -> None:
    class Mortal(Probe):
        def _refusal(self, answer: Answer) -> str | None:
            if threading.current_thread() in self._threads:
                raise death("out of its hands")
            return super()._refusal(answer)

    probe = Mortal(CONFIG, site.url, 2)
    await probe.start()
    await reached(lambda: not any(thread.is_alive() for thread in probe._threads))
    report = await probe.stop()
    assert report.uncounted == f"2 of 2 writers died: {death.__name__}: out of its hands"
    assert not report.clean
    assert capfd.readouterr() == ("", "")


async def test_writers_that_do_not_end_are_waited_for_once_and_not_one_after_the_other(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "TIMEOUT", 0.3)
    monkeypatch.setattr(probe_module, "_JOIN", 0.1)
    ended = threading.Event()

    class Stuck(Probe):
        def _write_one(self, client: Any) -> bool:
            if threading.current_thread() in self._threads:
                ended.wait(30)
            return super()._write_one(client)

    probe = Stuck(CONFIG, site.url, 40)
    await probe.start()
    began = time.monotonic()
    try:
        report = await probe.stop()
        assert time.monotonic() - began < 8
        assert report.uncounted == "40 of 40 writers did not end"
    finally:
        ended.set()
        for thread in probe._threads:
            thread.join()


JUNK = [
    b"",
    b"\x00\xff",
    b"HTTP/1.1 200 OK\r\n\r\n<![no section[",
    b"HTTP/1.1 200 OK\r\n\r\n<form action='http://[x'><input name='name'></form>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
]


@pytest.mark.parametrize("junk", JUNK)
async def test_a_login_page_that_is_not_understood_is_told_before_anything_is_written(
    site: LocalSite, junk: bytes
) -> None:
    site.broken = lambda method, path, number: junk
    config = CONFIG.model_copy(update={"login": Form(page="/login", fields={"name": "jane"})})
    with pytest.raises(DevenvError, match="the probe cannot begin"):
        await Probe(config, site.url, 2).start()
    assert site.written == []


async def test_a_redirect_after_the_login_that_is_not_understood_is_told(site: LocalSite) -> None:
    site.broken = lambda method, path, number: redirect("http://[") if path == "/login" else None
    with pytest.raises(DevenvError, match="the probe cannot begin"):
        await Probe(CONFIG, site.url, 1).start()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
    ],
)
async def test_a_page_of_what_was_written_that_is_not_whole_counts_for_nothing(
    site: LocalSite, junk: bytes
) -> None:
    probe = Probe(CONFIG, site.url, 1)
    await probe.start()
    site.broken = lambda method, path, number: junk if path == "/notes" else None
    report = await probe.stop()
    assert report.uncounted or report.lost
    assert not report.clean


async def test_what_was_written_and_answered_well_is_counted(site: LocalSite) -> None:
    probe = Probe(CONFIG, site.url, 3)
    await probe.start()
    await reached(lambda: len(site.written) > 20)
    report = await probe.stop()
    assert report.clean, report.as_json()
    assert len(report.acknowledged) == len(site.written)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(said=st.one_of(BROKEN, st.binary(max_size=60).map(lambda rest: b"HTTP/1.1 " + rest)))
def test_a_site_is_asked_for_its_status_and_answers_with_one_or_not_at_all(
    site: LocalSite, said: bytes
) -> None:
    site.broken = lambda method, path, number: said
    try:
        code = asyncio.run(http.status(site.port, "/"))
    except OSError:
        return
    assert 100 <= code <= 999
    assert said.split()[1] == b"%d" % code


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000,
        b"SSH-2.0 200 x\r\n",
        b"200\r\n",
    ],
)
async def test_what_speaks_no_http_does_not_serve(site: LocalSite, said: bytes) -> None:
    site.broken = lambda method, path, number: said
    with pytest.raises(DevenvError, match="the site does not answer"):
        await http.until_it_serves(site.port, "/", 0.3)
    site.broken = lambda method, path, number: WELL
    await http.until_it_serves(site.port, "/", 5)


@pytest.mark.parametrize(
    ("html", "path"),
    [
        ('<a rel="next" href="?page=2">', "/notes?page=2"),
        ('<link rel="prefetch next" href="/notes/2">', "/notes/2"),
        ('<a href="/x" REL="Next">on</a><a rel="next" href="/y">', "/x"),
        ('<a rel="next" href="http://site:8080/notes?after=7&amp;n=1">', "/notes?after=7&n=1"),
        ('<a rel="next" href="http://elsewhere/notes?page=2">', ""),
        ('<a rel="prev" href="?page=0"><a href="?page=2">next</a>', ""),
        ('<a rel="next">', ""),
        ("", ""),
    ],
)
def test_a_page_leads_on_to_the_next_one_of_the_same_site(html: str, path: str) -> None:
    assert next_page(html, "http://site:8080/notes?page=1") == path


async def test_writes_are_counted_over_all_pages_that_follow(site: LocalSite) -> None:
    site.page_size = 3
    probe = Probe(CONFIG, site.url, 2)
    await probe.start()
    await reached(lambda: len(site.written) > 20)
    report = await probe.stop()
    assert (report.uncounted, report.lost, report.duplicated) == (None, (), ())
    assert len(report.acknowledged) > 20


async def test_pages_that_follow_one_another_without_an_end_are_not_counted(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "MOST_PAGES", 5)
    site.page_size = 1
    probe = Probe(CONFIG, site.url, 1)
    await probe.start()
    await reached(lambda: len(site.written) > 7)
    report = await probe.stop()
    assert "more than 5 pages follow" in (report.uncounted or "")
