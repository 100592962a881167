"""What the compose backend concludes from what an instance has written down."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from devenv.backends import gates
from devenv.backends.compose import Compose, _saved_at_the_end
from devenv.engine.outcome import failure
from devenv.errors import CommandFailed, DevenvError
from devenv.model.instance import Gate, Instance
from devenv.model.stack import Stack
from devenv.tools import docker, process

BEFORE, STARTED = 50.0, 100.0


def event(phase: str, time: float = STARTED + 1, **details: Any) -> dict[str, Any]:
    side = "content" if phase in ("snapshot", "restored") else "owner"
    return {"uid": "a", "side": side, "phase": phase, "time": time, **details}


def saved(*events: dict[str, Any]) -> str:
    return _saved_at_the_end(events, STARTED)


def test_what_is_saved_while_it_ends_is_the_last_word() -> None:
    assert saved(event("opened"), event("terminating"), event("snapshot", file="a.tar")) == "a.tar"


def test_after_a_start_nothing_from_before_counts() -> None:
    earlier = [event("terminating", BEFORE), event("snapshot", BEFORE, file="a.tar")]
    assert saved(*earlier) == ""
    assert saved(*earlier, event("opened")) == ""
    assert saved(*earlier, event("opened"), event("terminating")) == ""
    both = [*earlier, event("opened"), event("terminating"), event("snapshot", file="b.tar")]
    assert saved(*both) == "b.tar"


def test_a_journal_that_the_full_disk_cut_off_is_not_believed() -> None:
    """Neither the opening nor the end is in it: that it was started since then is the engine's word."""
    assert saved(event("terminating", BEFORE), event("snapshot", BEFORE, file="a.tar")) == ""


def test_what_is_served_again_has_not_ended() -> None:
    ended = [event("terminating"), event("snapshot", file="a.tar")]
    for again in ("opened", "reopened", "recovered"):
        assert saved(*ended, event(again)) == ""


GATE = {
    "uid": "a", "release": "v1", "role": "owner", "epoch": 1, "lineage": None, "state": "open", "ready": True,
    "held": 0, "relayed": 0, "since": 12.5, "restored": None, "successor": None, "failed": None, "newer": "x",
}  # fmt: skip
UNREADABLE = [
    "", "{", "[]", "null", "7", "[" * 100_000, json.dumps({"uid": "a"}), json.dumps({**GATE, "epoch": "1"}),
    json.dumps({**GATE, "role": None}), json.dumps({**GATE, "successor": "b"}),
    json.dumps({**GATE, "failed": {"why": "?"}}),
]  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What docker says to the next calls."""
    answers: list[str] = []

    async def run(argv: list[str], **_: Any) -> process.Completed:
        return process.Completed(tuple(argv), 0, answers.pop(0), "", 0.0)

    monkeypatch.setattr(process, "run", run)
    return answers


def compose() -> Compose:
    return Compose(Stack(), Path("compose.yaml"), Path("compose.env"))


def instance(state: str = "running") -> Instance:
    return Instance("id1", "devenv-php-fpm-1", "php-fpm", "x-php-fpm:v1", "sha256:1", 0.0, state)


async def test_what_a_gate_answers_is_read(said: list[str]) -> None:
    said.append(json.dumps(GATE))
    gate = await compose().gate(instance())
    assert gate == Gate.from_json(GATE)
    assert gate.since == 12.5


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_an_answer_that_cannot_be_read_is_an_error_of_the_instance(
    said: list[str], answer: str
) -> None:
    said.append(answer)
    with pytest.raises(DevenvError, match="devenv-php-fpm-1 says cannot be read") as error:
        await compose().gate(instance())
    assert "docker logs devenv-php-fpm-1" in error.value.next_step


PROBLEM = {"error": "no room", "why": ["the disk", 7], "next": "run this"}


def refused(*lines: str) -> CommandFailed:
    return CommandFailed("gate", "exit code 1", "?", argv=["docker"], code=1, log_tail="\n".join(lines))


def test_what_a_gate_advises_is_told_as_its_words_and_the_next_step_is_ours() -> None:
    error = gates.failure("a", "docker logs a", refused("noise", json.dumps(PROBLEM), "[]"))
    assert (error.what, error.why) == ("a: no room", "['the disk', 7]")
    assert (error.instance_says, error.next_step) == ("run this", "see its log: docker logs a")
    told = failure(error, Path("crash.log"))
    assert (told.instance_says, told.next) == ("run this", "see its log: docker logs a")


def test_what_is_no_error_of_a_gate_stays_the_one_of_the_command() -> None:
    for said in ("", "[]", "{}", "7", "[" * 100_000, json.dumps({"error": "x"})):
        error = refused(said)
        assert gates.failure("a", "docker logs a", error) is error


async def test_an_instance_that_failed_to_start_does_not_speak_for_devenv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = compose()
    broken = replace(instance(), gate=Gate.from_json({**GATE, "failed": PROBLEM}))
    monkeypatch.setattr(backend, "instances", AsyncMock(return_value=[broken]))
    monkeypatch.setattr(backend, "log_tail", AsyncMock(return_value="its log"))
    error = await backend._explain(refused("unhealthy"))
    assert (error.instance_says, error.next_step) == ("run this", "see its log below")
    assert error.log_tail == "its log"


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"\xff", b'{"uid": 7, "role": "owner"}', None])
async def test_a_record_that_cannot_be_read_is_an_error_of_the_instance(
    monkeypatch: pytest.MonkeyPatch, record: bytes | None
) -> None:
    async def read_file(container: str, path: str) -> bytes:
        return b"no tar" if record is None else tar_of(record)

    monkeypatch.setattr(docker, "read_file", read_file)
    with pytest.raises(DevenvError, match="devenv-php-fpm-1 says cannot be read"):
        await compose().gate(instance("exited"))


@pytest.mark.parametrize(
    ("stderr", "blank"),
    [
        (
            "Error response from daemon: Could not find the file /app/data/.gate/record.json in container x",
            True,
        ),
        ("Error response from daemon: No such container: x", True),
        ("Error response from daemon: input/output error", False),
    ],
)
async def test_a_record_is_missing_only_where_the_engine_says_so(
    monkeypatch: pytest.MonkeyPatch, stderr: str, blank: bool
) -> None:
    """One without a record has never had content, and may be removed."""

    async def run(argv: list[str], **_: Any) -> process.Completed:
        raise process.failure(argv, 1, [stderr])

    monkeypatch.setattr(process, "run", run)
    if blank:
        assert await compose().gate(instance("exited")) is None
    else:
        with pytest.raises(DevenvError, match="input/output error"):
            await compose().gate(instance("exited"))


async def test_a_stopped_instance_is_what_its_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_file(container: str, path: str) -> bytes:
        return tar_of(json.dumps({"uid": "a", "role": "moved", "epoch": 2, "lineage": ""}).encode())

    monkeypatch.setattr(docker, "read_file", read_file)
    gate = await compose().gate(instance("exited"))
    assert gate == Gate("a", "v1", "moved", 2, None, "stopped", ready=False)


@pytest.mark.parametrize("answer", ["{", "[{}]", "[7]", '[{"Config": null}]'])
async def test_an_engine_that_answers_otherwise_is_an_error_and_no_crash(
    said: list[str], answer: str
) -> None:
    said.extend(["id1", answer])
    with pytest.raises(DevenvError, match="cannot be read"):
        await compose().instances()


def test_an_event_is_whole_or_none() -> None:
    whole = event("opened", held=3)
    assert gates.event(json.dumps(whole)) == whole
    for wrong in (
        {"phase": 7}, {"side": None}, {"uid": ["a"]}, {"held": "x"}, {"relayed": None}, {"held": True},
        {"time": "now"}, {"time": True}, {"time": float("nan")}, {"time": float("inf")}, {"time": 10**400},
    ):  # fmt: skip
        assert gates.event(json.dumps({**whole, **wrong})) is None
    for text in ("", "{", "7", "null", "[]", "[" * 100_000):
        assert gates.event(text) is None


def tar_of(content: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        about = tarfile.TarInfo("file")
        about.size = len(content)
        tar.addfile(about, io.BytesIO(content))
    return whole.getvalue()
