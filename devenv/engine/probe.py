"""A client that writes real content through the front door, and afterwards looks for each write.

One connection a request and no retry anywhere: what the server did not answer well is a failure, and so is
an answer that cannot be understood. Whatever else goes wrong, the writes are told to be uncounted.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import secrets
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from devenv.errors import DevenvError
from devenv.model.probe import Form, ProbeConfig, ProbeReport, Sample, compare

TIMEOUT = 60.0
"""Seconds. A request that takes longer has failed, also where its answer comes all the while."""
MOST = 256 * 2**20
"""Bytes of one answer. A longer one has failed."""
MOST_PAGES = 100_000
_PIECE = 2**16
_JOIN = 5.0
"""Seconds beyond those of a request, in which a writer ends that is told to."""
NONCE = re.compile(r"probe-[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Counters:
    """How it stands. Seconds."""

    writers: int
    acknowledged: int
    failed: int
    slowest: float
    pause: float
    """The slowest request beyond the median."""
    last_failure: str | None


class Probe:
    """Writes with `writers` clients at once from `start` to `stop`."""

    def __init__(self, config: ProbeConfig, url: str, writers: int = 8) -> None:
        self._config = config
        self._url = url
        self._writers = writers
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._samples: list[Sample] = []
        self._died: list[str] = []
        """Why writers ended that nobody had told to: what they did last is not known."""
        self._first = ""

    @property
    def counters(self) -> Counters:
        samples = tuple(self._samples)
        failures = [sample for sample in samples if sample.failure]
        report = ProbeReport(self._writers, samples)
        return Counters(
            writers=self._writers,
            acknowledged=len(samples) - len(failures),
            failed=len(failures),
            slowest=report.slowest,
            pause=report.pause,
            last_failure=failures[-1].failure if failures else None,
        )

    async def start(self) -> None:
        """Log in and begin to write. Raises DevenvError if the first write cannot be made."""
        self._stopping.clear()
        try:
            await asyncio.to_thread(self._start)
        except BaseException:
            # The thread that logs in cannot be cancelled: those that it starts end at once.
            self._stopping.set()
            raise

    def _start(self) -> None:
        try:
            clients = [self._client() for _ in range(self._writers)]
            self._write_one(clients[0])
            if failure := self._samples[-1].failure:
                raise LookupError(f"the first write failed: {failure}")
            self._threads = [
                threading.Thread(target=self._write, args=(client,), daemon=True) for client in clients
            ]
            for thread in self._threads:
                thread.start()
        except Exception as error:  # there is no end to what a server can answer
            raise DevenvError(
                "the probe cannot begin",
                f"{self._url}: {_words(error)}",
                "open the page in a browser; [probe] in devenv.toml describes how to write to it",
            ) from error

    async def stop(self) -> ProbeReport:
        """End the writers and count, exactly, what of their writes is there."""
        self._stopping.set()
        return await asyncio.to_thread(self._stop)

    def _stop(self) -> ProbeReport:
        deadline = time.monotonic() + TIMEOUT + _JOIN
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        samples = tuple(sorted(self._samples, key=lambda sample: sample.started))
        if wrong := self._incomplete():
            return ProbeReport(self._writers, samples, uncounted=wrong)
        acknowledged = [sample.nonce for sample in samples if sample.failure is None]
        try:
            found = self._found(self._client())
        except Exception as error:  # there is no end to what a server can answer
            return ProbeReport(self._writers, samples, uncounted=f"{self._config.read}: {_words(error)}")
        ours = {nonce: found[nonce] for nonce in (sample.nonce for sample in samples)}
        lost, duplicated = compare(acknowledged, ours)
        return ProbeReport(self._writers, samples, lost, duplicated)

    def _found(self, client: Client) -> Counter[str]:
        """How often each nonce is on the page that shows them, and on those that it leads on to."""
        found: Counter[str] = Counter()
        path, been = self._resolve(self._config.read, client), set[str]()
        while path and path not in been:
            been.add(path)
            body = client.get(path).body
            found.update(NONCE.findall(body))
            path = next_page(body, f"{self._url}{path}")
            if len(been) == MOST_PAGES:
                raise LookupError(f"more than {MOST_PAGES:,} pages follow on it")
        return found

    def _incomplete(self) -> str:
        """Why the samples are not all that was written; empty where they are."""
        if self._died:
            return f"{len(self._died)} of {self._writers} writers died: {self._died[0]}"
        if writing := sum(thread.is_alive() for thread in self._threads):
            return f"{writing} of {self._writers} writers did not end"
        return ""

    def _client(self) -> Client:
        client = Client(self._url)
        form = self._config.login
        if form != Form():
            answer = client.submit(self._prepare(form, client), form.fields)
            location = answer.headers.get("Location", "")
            if answer.status >= 400 or urlsplit(location).path == form.page:
                raise LookupError(f"login at {form.page} was refused ({answer.status})")
        client.prepared = self._prepare(self._config.write, client)
        return client

    def _prepare(self, form: Form, client: Client) -> Prepared:
        if form.action:
            return Prepared(self._resolve(form.action, client), {})
        page = self._resolve(form.page, client)
        return find_form(client.get(page).body, page, set(form.fields))

    def _resolve(self, path: str, client: Client) -> str:
        if "{first}" not in path:
            return path
        if not self._first:
            link = re.search(
                rf'href="(?:{re.escape(self._url)})?({re.escape(self._config.first_link)}[^"#?]+)',
                client.get(self._config.first).body,
            )
            if link is None:
                raise LookupError(
                    f"{self._config.first} has no link that begins with {self._config.first_link}"
                )
            self._first = link[1]
        return self._first

    def _write(self, client: Client) -> None:
        try:
            while not self._stopping.is_set():
                if not self._write_one(client):
                    self._stopping.wait(0.05)
        except BaseException as error:  # the end of this thread, and told with the count: not on the screen
            self._died.append(_words(error))

    def _write_one(self, client: Client) -> bool:
        nonce = f"probe-{secrets.token_hex(12)}"
        fields = {name: value.replace("{nonce}", nonce) for name, value in self._config.write.fields.items()}
        started = time.time()
        try:
            failure = self._refusal(client.submit(client.prepared, fields))
        except Exception as error:  # there is no end to what a server can answer
            failure = _words(error)
        self._samples.append(Sample(nonce, started, time.time(), failure))
        return failure is None

    def _refusal(self, answer: Answer) -> str | None:
        """Why an answer is no acknowledgement of a write."""
        if not 200 <= answer.status < 400:
            return f"{answer.status} {answer.reason}"
        if (
            self._config.login.page
            and urlsplit(answer.headers.get("Location", "")).path == self._config.login.page
        ):
            return "the login was lost"
        if answer.status == 200 and self._config.write.page:
            return "the form came back: it was not accepted"
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where a form goes, and the hidden fields that go with it."""

    action: str
    hidden: dict[str, str]


class Client:
    """One visitor with its cookies."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise LookupError(f"{url!r} is no URL")
        self._host, self._port = parts.hostname, parts.port or 80
        self._cookies: dict[str, str] = {}
        self.prepared = Prepared("", {})

    def get(self, path: str) -> Answer:
        """A page. Raises LookupError unless it is there, or whatever a broken answer leads to."""
        answer = self._request("GET", path)
        if answer.status != 200:
            raise LookupError(f"{path} answers {answer.status} {answer.reason}")
        return answer

    def submit(self, form: Prepared, fields: dict[str, str]) -> Answer:
        return self._request("POST", form.action, urlencode({**form.hidden, **fields}))

    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        headers = {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        deadline = time.monotonic() + TIMEOUT
        connection = http.client.HTTPConnection(self._host, self._port)
        try:
            connection.sock = _Bounded(self._host, self._port, deadline)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = _whole(response, keep=method == "GET").decode("utf-8", "replace")
        finally:
            connection.close()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
        return Answer(response.status, response.reason, response.headers, text)


class _Bounded(socket.socket):
    """A connection all of whose words come until `deadline`, by time.monotonic(), or a TimeoutError."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        connected = socket.create_connection((host, port), max(deadline - time.monotonic(), 0.001))
        super().__init__(fileno=connected.detach())
        # As http.client does: what follows the head of a request goes at once.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = deadline
        self._allow()

    def _allow(self) -> None:
        self.settimeout(max(self._deadline - time.monotonic(), 0.001))

    def recv_into(self, *into: Any) -> int:
        self._allow()
        return super().recv_into(*into)


def _whole(response: http.client.HTTPResponse, *, keep: bool) -> bytes:
    """The body, empty unless it is to be kept. Raises HTTPException where it is cut off, or does not end."""
    body, size = bytearray(), 0
    while piece := response.read(_PIECE):
        size += len(piece)
        if size > MOST:
            raise http.client.HTTPException(f"the answer is longer than {MOST:,} bytes")
        if keep:
            body += piece
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(body)


def _words(error: BaseException) -> str:
    # A LookupError is one of ours, and says it all.
    return str(error) if type(error) is LookupError else f"{type(error).__name__}: {error}"


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str], set[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((values.get("action", ""), {}, set()))
        elif tag in ("input", "textarea", "select") and self.forms and "name" in values:
            _, hidden, names = self.forms[-1]
            names.add(values["name"])
            if values.get("type") == "hidden":
                hidden[values["name"]] = values.get("value", "")


class _Next(HTMLParser):
    found = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("a", "link") and "next" in (values.get("rel") or "").lower().split() and not self.found:
            self.found = values.get("href") or ""


def next_page(html: str, url: str) -> str:
    """The path that the page at `url` leads on to by `rel="next"`; empty if none, or that of another site."""
    parser = _Next()
    parser.feed(html)
    parts = urlsplit(urljoin(url, parser.found))
    if not parser.found or parts.netloc != urlsplit(url).netloc:
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def find_form(html: str, page: str, fields: set[str]) -> Prepared:
    """The form of `page` that has all of `fields`. Raises LookupError."""
    parser = _Forms()
    parser.feed(html)
    for action, hidden, names in parser.forms:
        if fields <= names:
            return Prepared(urlsplit(urljoin(page, action or page)).path, hidden)
    raise LookupError(f"{page} has no form with the fields {', '.join(sorted(fields))}")
