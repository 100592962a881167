"""Whatever others say, the lines of the plain front end and of the JSON one stay their own."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest

from devenv.cli import app, commands
from devenv.cli.json_lines import JsonLines
from devenv.cli.plain import Plain
from devenv.engine.outcome import failure
from devenv.errors import UsageError
from devenv.model import answers
from devenv.model import events as e
from tests import hostile
from tests.hostile import FORGED, STEERS, WORDS, forged, unsafe

CASES = [(name, event) for words in WORDS for name, event in hostile.events(words)]
IDS = [f"{name}-{number}" for number in range(len(WORDS)) for name, _ in hostile.events("x")]


def check(said: str) -> None:
    for line in said.split("\n"):
        assert not unsafe(line), ascii(line)
        assert not forged(line), line
        assert len(line) < 40_000, "a value can fill the terminal"


def test_every_kind_of_answer_is_among_the_hostile_ones() -> None:
    assert answers._KINDS.keys() <= hostile.answers("x").keys()


@pytest.mark.parametrize(("name", "event"), CASES, ids=IDS)
async def test_no_event_steers_a_terminal_or_begins_a_line_of_its_own(
    name: str, event: e.Event, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.cli.plain._SLOW", 0.0)
    Plain(verbose=True)(event)
    await asyncio.sleep(0.01)  # A step is announced a moment later.
    captured = capsys.readouterr()
    check(captured.out)
    check(captured.err)


@pytest.mark.parametrize(("name", "event"), CASES, ids=IDS)
def test_json_is_plain_ascii_on_one_line_and_is_read_back_as_it_was(
    name: str, event: e.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    JsonLines()(event)
    said = capsys.readouterr().out
    assert said.endswith("\n")
    assert said[:-1].isascii()
    assert said[:-1].isprintable()
    assert json.loads(said) == json.loads(json.dumps(e.as_json(event)))
    assert "FORGED" in said, "it stays data"


@pytest.mark.parametrize("words", WORDS)
def test_a_question_is_asked_in_lines_of_our_own(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.StringIO("y\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    commands._ask(f"this installs {words}")
    said = capsys.readouterr().err
    check(said)
    assert said.startswith("this installs ")
    assert said.endswith("\nGo on? [y/N] ")


@pytest.mark.parametrize("words", WORDS)
def test_a_wrong_argument_is_told_on_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["probe", f"--writers={words}"]) == app.USAGE
    said = capsys.readouterr().err
    check(said)
    assert len(said.splitlines()) == 2


def test_a_pipe_gets_no_more_than_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It may lead to one: `devenv up 2>&1 | tee up.log`."""
    Plain(verbose=False)(e.LogLine("httpd", f"\x1b[31mred\x1b[0m\x1b]0;title\x07 {FORGED}"))
    assert capsys.readouterr().out == f"httpd | red {FORGED}\n"


def test_a_trace_of_a_mistake_is_kept_harmless_also_where_no_encoding_has_its_words(tmp_path: Path) -> None:
    crash = tmp_path / "crash.log"
    failed = failure(ZeroDivisionError(f"{STEERS}\ud800"), crash)
    assert str(crash) in failed.next
    kept = crash.read_text(encoding="utf-8")
    assert not unsafe(kept.replace("\n", ""))
    assert "ZeroDivisionError" in kept


def test_a_configuration_that_cannot_even_be_looked_for_leaves_no_bare_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find(folder: Path) -> None:
        raise PermissionError(13, STEERS, f"{folder}/\n{FORGED}")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("devenv.model.stack.find", find)
    assert app.run(["config", "path"]) == 1
    said = capsys.readouterr().err
    check(said)
    assert "devenv itself failed" in said
    assert "crash.log" in said


def test_what_a_container_advises_is_told_as_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    Plain(verbose=False)(e.ActionFailed("a: no room", "it is full", "see its log", instance_says="rm -rf /"))
    assert capsys.readouterr().err.splitlines() == [
        "✗ a: no room",
        "  why:  it is full",
        "  the instance says: rm -rf /",
        "  next: see its log",
    ]


def test_without_a_yes_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="needs a yes"):
        commands._ask("this removes it")
