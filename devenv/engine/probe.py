"""A client that writes real content through the front door, and afterwards looks for each write.

One connection a request and no retry anywhere: what the server did not answer well is a failure.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from devenv.errors import DevenvError
from devenv.model.probe import Form, ProbeConfig, ProbeReport, Sample, compare

TIMEOUT = 60.0
"""A request that takes longer has failed."""
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
        except (OSError, http.client.HTTPException, LookupError) as error:
            raise DevenvError(
                "the probe cannot begin",
                f"{self._url}: {error}",
                "open the page in a browser; [probe] in devenv.toml describes how to write to it",
            ) from error
        self._threads = [
            threading.Thread(target=self._write, args=(client,), daemon=True) for client in clients
        ]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> ProbeReport:
        """End the writers and count, exactly, what of their writes is there."""
        self._stopping.set()
        return await asyncio.to_thread(self._stop)

    def _stop(self) -> ProbeReport:
        for thread in self._threads:
            thread.join(TIMEOUT)
        samples = tuple(sorted(self._samples, key=lambda sample: sample.started))
        acknowledged = [sample.nonce for sample in samples if sample.failure is None]
        try:
            client = self._client()
            found = Counter(NONCE.findall(client.get(self._resolve(self._config.read, client)).body))
        except (OSError, http.client.HTTPException, LookupError) as error:
            return ProbeReport(self._writers, samples, uncounted=f"{self._config.read}: {error}")
        ours = {nonce: found[nonce] for nonce in (sample.nonce for sample in samples)}
        lost, duplicated = compare(acknowledged, ours)
        return ProbeReport(self._writers, samples, lost, duplicated)

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
        while not self._stopping.is_set():
            if not self._write_one(client):
                self._stopping.wait(0.05)

    def _write_one(self, client: Client) -> bool:
        nonce = f"probe-{secrets.token_hex(12)}"
        fields = {name: value.replace("{nonce}", nonce) for name, value in self._config.write.fields.items()}
        started = time.time()
        try:
            failure = self._refusal(client.submit(client.prepared, fields))
        except (OSError, http.client.HTTPException) as error:
            failure = f"{type(error).__name__}: {error}"
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
        """A page. Raises LookupError unless it is there."""
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
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
        return Answer(response.status, response.reason, response.headers, text)


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


def find_form(html: str, page: str, fields: set[str]) -> Prepared:
    """The form of `page` that has all of `fields`. Raises LookupError."""
    parser = _Forms()
    parser.feed(html)
    for action, hidden, names in parser.forms:
        if fields <= names:
            return Prepared(urlsplit(urljoin(page, action or page)).path, hidden)
    raise LookupError(f"{page} has no form with the fields {', '.join(sorted(fields))}")
