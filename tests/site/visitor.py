"""A browser in small: cookies, forms, and no redirect followed unasked."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlencode, urlsplit

PASSWORD = "kitten"
"""Of every account of the demonstration."""


@dataclass(frozen=True)
class Form:
    action: str
    values: dict[str, str]
    """Of its hidden and filled-in fields; the others are empty."""


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass(frozen=True)
class Page:
    path: str
    status: int
    headers: HTTPMessage
    html: str

    @property
    def location(self) -> str:
        """Where it redirects to, without the host."""
        parts = urlsplit(self.headers.get("Location", ""))
        return (
            parts.path
            + (f"?{parts.query}" if parts.query else "")
            + (f"#{parts.fragment}" if parts.fragment else "")
        )

    @property
    def cookies(self) -> list[str]:
        return self.headers.get_all("Set-Cookie", [])

    @property
    def text(self) -> str:
        """What one reads, in one line."""
        return " ".join(" ".join(self._parsed.texts).split())

    def elements(self, tag: str, css_class: str = "") -> list[_Element]:
        return [
            element
            for element in self._parsed.elements
            if element.tag == tag
            and (not css_class or css_class in element.attributes.get("class", "").split())
        ]

    def form(self, field_name: str) -> Form:
        """The form that has this field."""
        for form in self._parsed.forms:
            if field_name in form.values:
                return Form(urlsplit(form.action or self.path).path, form.values)
        raise LookupError(f"{self.path} ({self.status}) has no form with {field_name}")

    @property
    def _parsed(self) -> _Parser:
        parser = _Parser()
        parser.feed(self.html)
        return parser


@dataclass
class Visitor:
    address: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Page:
        return self._request("GET", path)

    def post(self, path: str, values: dict[str, str]) -> Page:
        return self._request("POST", path, urlencode(values))

    def submit(self, form: Form, values: dict[str, str]) -> Page:
        return self.post(form.action, {**form.values, **values})

    def log_in(self, name: str, password: str = PASSWORD) -> Page:
        return self.submit(self.get("/login").form("_username"), {"_username": name, "_password": password})

    def log_out(self) -> Page:
        page = self.get("/")
        form = next(form for form in page._parsed.forms if form.action == "/logout")
        return self.submit(form, {})

    def comment(self, path: str, text: str) -> Page:
        return self.submit(self.get(path).form("comment[content]"), {"comment[content]": text})

    def _request(self, method: str, path: str, body: str | None = None) -> Page:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            html = response.read().decode()
        finally:
            connection.close()
        page = Page(path, response.status, response.headers, html)
        for cookie in page.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return page


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[_Element] = []
        self.forms: list[Form] = []
        self.texts: list[str] = []
        self._open: list[_Element] = []
        self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        element = _Element(tag, values)
        self.elements.append(element)
        if tag not in ("area", "base", "br", "hr", "img", "input", "link", "meta"):
            self._open.append(element)
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), {}))
        elif tag in ("input", "textarea") and self.forms and "name" in values:
            self.forms[-1].values[values["name"]] = values.get("value", "")
            self._textarea = values["name"] if tag == "textarea" else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        for element in self._open:
            element.text += data
        if self._textarea:
            self.forms[-1].values[self._textarea] += data
