"""The plain front end: answers and receipts in words on stdout, all talk on stderr."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from devenv.cli.plain import Plain
from devenv.model.events import (
    ActionEnded,
    ActionFailed,
    Answer,
    CommandStarted,
    Event,
    LogLine,
    Notice,
    PhaseReached,
    ReceiptWritten,
    StepEnded,
    StepStarted,
)
from devenv.model.freshness import Freshness, Made
from devenv.model.receipt import Receipt, Side, Table, words

RECEIPT = Receipt(
    time=0.0,
    old=Side("v1", "shop-php-fpm-1", "a" * 64, "sha256:" + "1" * 64, 3),
    new=Side("v2", "shop-php-fpm-2", "b" * 64, "sha256:" + "2" * 64, 4),
    lineage="0123456789abcdef",
    verified=True,
    reason="the fingerprints are the same",
    tables=(Table("comment", 12, 12, same=True), Table("tag", 3, 3, same=True)),
    total_before="x",
    total_after="x",
    closed_ms=70.4,
    held=5,
    relayed=7,
    phases=(),
    seconds=3.2,
)
PROBE = {
    "writers": 8,
    "acknowledged": 2335,
    "failed": 0,
    "lost": 0,
    "duplicated": 0,
    "uncounted": None,
    "pause": 0.25,
}


def test_a_receipt_in_words_has_the_verdict_last() -> None:
    tables = (Table("comment", 12, 12, same=True), Table("tag", None, 3, same=False))
    lines = words(replace(RECEIPT, tables=tables))
    assert lines[0] == "v1 → v2   epoch 3 → 4, lineage 0123456789abcdef"
    assert lines[1].split() == ["shop-php-fpm-1", "1" * 12]
    assert [line.split() for line in lines if line.split()[0] in ("comment", "tag")] == [
        ["comment", "12", "12", "="],
        ["tag", "-", "3", "≠"],
    ]
    assert "  closed for 70 ms; held 5, relayed 7" in lines
    assert lines[-1] == "✓ content verified: the fingerprints are the same"


def test_a_receipt_says_what_the_probe_counted_and_where_the_content_from_before_is() -> None:
    lines = words(replace(RECEIPT, snapshot="/state/before.tar").with_probe(PROBE))
    probe = "  probe: 8 writers, acknowledged 2335, failed 0, lost 0, duplicated 0; pause 250 ms"
    assert lines[-3:-1] == [probe, "  snapshot from before: /state/before.tar"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"lost": 2}, "the probe misses 2 acknowledged writes, finds 0 twice"),
        ({"duplicated": 1}, "the probe misses 0 acknowledged writes, finds 1 twice"),
        ({"uncounted": "the page is gone"}, "the probe could not count its writes: the page is gone"),
        ({"acknowledged": 0}, "not one write of the probe was acknowledged"),
    ],
)
def test_what_the_probe_misses_takes_the_verdict_back(wrong: dict[str, Any], reason: str) -> None:
    assert words(RECEIPT.with_probe(PROBE | wrong))[-1] == f"✗ content NOT verified: {reason}"


def test_a_receipt_says_nothing_on_what_is_lost_where_that_could_not_be_counted() -> None:
    lines = words(RECEIPT.with_probe(PROBE | {"uncounted": "the page is gone"}))
    assert lines[-2] == "  probe: 8 writers, acknowledged 2335, failed 0, not counted; pause 250 ms"


def test_a_receipt_without_a_pause_or_tables_has_words_too() -> None:
    lines = words(replace(RECEIPT, closed_ms=None, tables=()))
    assert not any("closed" in line for line in lines)


class Said:
    def __init__(self, capsys: pytest.CaptureFixture[str], *, verbose: bool = False) -> None:
        self._capsys = capsys
        self._front = Plain(verbose=verbose)

    def __call__(self, *events: Event) -> tuple[str, str]:
        """Data and talk."""
        for event in events:
            self._front(event)
        captured = self._capsys.readouterr()
        return captured.out, captured.err


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


async def test_steps_are_talk_with_their_time_and_the_url_is_data(said: Said) -> None:
    data, talk = said(
        StepStarted("start", "containers"),
        StepEnded("start", "containers", "done", 1.62, "healthy"),
        StepEnded("build", "image httpd", "skipped", 0.04, "up to date"),
        ActionEnded("up", 0, 2.0, "http://127.0.0.1:8080"),
    )
    assert data == "http://127.0.0.1:8080\n"
    lines = talk.splitlines()
    assert lines[0].split() == ["✓", "containers", "1.6", "s", "healthy"]
    assert lines[1].split() == ["·", "image", "httpd", "0.0", "s", "up", "to", "date"]
    assert "up took 2.0 s" in lines[2]


def test_a_failure_says_what_why_and_next_and_shows_its_log(said: Said) -> None:
    data, talk = said(ActionFailed("port 80 is taken", "nginx listens on it", "end it", "first\nlast"))
    assert data == ""
    assert [line.strip() for line in talk.splitlines()] == [
        "✗ port 80 is taken",
        "why:  nginx listens on it",
        "next: end it",
        "| first",
        "| last",
    ]


def test_commands_that_change_something_are_shown_as_one_would_type_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changing = CommandStarted(1, ("docker", "compose", "-f", "a file.yaml", "up"))
    reading = CommandStarted(2, ("docker", "ps", "--all"))
    assert Said(capsys)(changing, reading)[1] == "    $ docker compose -f 'a file.yaml' up\n"
    assert "$ docker ps --all" in Said(capsys, verbose=True)(reading)[1]


def test_phases_and_notices_are_talk_and_log_lines_are_data(said: Said) -> None:
    phase = PhaseReached("opened", "successor", "shop-2", "v2", 1571.5, {"epoch": 4, "sizes": {"a": 1}})
    data, talk = said(phase, Notice("look", "warning"), LogLine("shop-2", "ready"))
    assert "1571.5 ms  successor v2  opened  epoch=4\n" in talk
    assert "! look" in talk
    assert data == "shop-2 | ready\n"


def test_a_receipt_is_data_and_its_path_is_talk(said: Said) -> None:
    data, talk = said(ReceiptWritten("/state/receipt.json", asdict(RECEIPT)))
    assert data.splitlines() == words(RECEIPT)
    assert "/state/receipt.json" in talk


GATE = {"role": "owner", "epoch": 4, "state": "open", "failed": None}
STATUS = {
    "stack": "shop",
    "url": "http://127.0.0.1:8080",
    "serves": True,
    "release": "v2",
    "at_work": "",
    "problem": "",
    "next": "",
    "instances": [],
    "images": [],
}
STALE = Freshness("httpd", "v2", "sha256:1a2b", Made("sha256:1a2b", "x", "y"))
PUSHED = {
    "release": "v1",
    "images": {
        "httpd": {
            "reference": "localhost:5001/app:httpd-v1",
            "digest": "sha256:0",
            "platforms": {"linux/amd64": "sha256:1", "linux/arm64": "sha256:2"},
        }
    },
}


def instance(**values: Any) -> dict[str, Any]:
    of = {"name": "shop-php-fpm-2", "release": "v2", "state": "running", "health": "healthy", "gate": GATE}
    return {**of, "created": time.time() - 7300, **values}


@pytest.mark.parametrize(
    ("about", "answer", "shown"),
    [
        (
            "status",
            {**STATUS, "instances": [instance()]},
            ["shop serves  http://127.0.0.1:8080  release v2", "(healthy)", "2h  owner, epoch 4, open"],
        ),
        (
            "status",
            {**STATUS, "serves": False, "release": None, "problem": "nothing runs", "next": "devenv up"},
            ["shop does not serve", "release -", "! nothing runs", "next: devenv up"],
        ),
        ("status", {**STATUS, "at_work": "`devenv up`, process 7"}, ["▸ at work: `devenv up`, process 7"]),
        (
            "status",
            {**STATUS, "instances": [instance(gate={**GATE, "failed": {"error": "no room", "why": "full"}})]},
            ["failed: no room: full"],
        ),
        ("status", {**STATUS, "instances": [instance(gate=None, health="")]}, ["running"]),
        (
            "status",
            {**STATUS, "images": [STALE.as_json()]},
            [
                "  image httpd:v2  1a2b  the working tree has changed since",
                "    next: devenv build --release v2, then devenv up",
            ],
        ),
        ("push", PUSHED, ["localhost:5001/app:httpd-v1@sha256:0", "  linux/arm64  sha256:2"]),
        (
            "verify",
            {"tables": {"post": {"then": None, "now": 3}}, "verified": False, "reason": "table tag is gone"},
            ["post         -         3", "✗ NOT verified: table tag is gone"],
        ),
        ("verify", {"tables": {}, "verified": True, "reason": "one owner"}, ["✓ verified: one owner"]),
        ("snapshots", {"snapshots": []}, ["no snapshots yet", "devenv snapshot save"]),
        (
            "snapshots",
            {"snapshots": [{"name": "a.tar", "bytes": 106496, "time": time.time() - 3 * 3600}]},
            ["a.tar", "106,496 bytes", "3h old"],
        ),
        (
            "doctor",
            {"checks": [
                {"name": "port", "status": "fail", "reason": "8080 is taken", "mend": "end it"},
                {"name": "disk", "status": "ok", "reason": "9 GB", "mend": "not said"},
            ]},
            ["✗ port", "8080 is taken", "    mend: end it", "✓ disk"],
        ),
        (
            "mends",
            {"steps": [{"title": "the engine", "does": ["apt-get install docker.io"]}]},
            ["▸ the engine", "    apt-get install docker.io"],
        ),
        ("snapshot", {"path": "/state/a.tar", "bytes": 7}, ["/state/a.tar"]),
        ("restore", {"path": "a.tar", "instance": "shop-php-fpm-2"}, ["content of a.tar in shop-php-fpm-2"]),
        ("path", {"config": "-", "state": "/state"}, ["config   -", "state    /state"]),
        ("something new", {"a": 1}, ['"a": 1']),
    ],
)  # fmt: skip
def test_an_answer_in_words(said: Said, about: str, answer: dict[str, Any], shown: list[str]) -> None:
    data, talk = said(Answer(about, answer))
    assert talk == ""
    for words_ in shown:
        assert words_ in data
    assert "not said" not in data


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_is_closed_takes_nothing_and_stops_nothing(
    closed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"sys.{closed}", None)
    plain = Plain(verbose=False)
    plain(Notice("talk"))
    plain(LogLine("httpd", "data"))
    data, talk = capsys.readouterr()
    assert ("talk" in talk, "data" in data) == (closed != "stderr", closed != "stdout")
    assert "talk" not in data
