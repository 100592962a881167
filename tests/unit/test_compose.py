"""What the compose backend concludes from what an instance has written down."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tarfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from unittest.mock import AsyncMock

import pytest

from devenv.backends import gates
from devenv.backends.compose import GRACE, Compose
from devenv.engine.outcome import failure
from devenv.errors import CommandFailed, DevenvError
from devenv.model.instance import Gate, Instance
from devenv.model.stack import Stack
from devenv.tools import docker, process

STARTED = 100.0


def tar_of(content: bytes, kind: bytes = tarfile.REGTYPE, times: int = 1) -> bytes:
    """What `docker cp` writes of a file, or of what is in its place."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for _ in range(times):
            about = tarfile.TarInfo("file")
            about.type, about.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return whole.getvalue()


def event(phase: str, time: float = STARTED + 1, **details: Any) -> dict[str, Any]:
    side = "content" if phase in ("snapshot", "restored") else "owner"
    return {"uid": "a", "side": side, "phase": phase, "time": time, **details}


def saved(*events: dict[str, Any], signed: str, uid: str = "a") -> str:
    return gates.saved_at_the_end(events, "a", json.dumps({"uid": uid, "saved": signed}).encode())


def test_what_is_saved_while_it_ends_is_the_last_word() -> None:
    ended = event("opened"), event("terminating"), event("snapshot", file="a.tar")
    assert saved(*ended, signed="a.tar") == "a.tar"


def test_a_clock_that_has_gone_back_takes_nothing_from_it() -> None:
    ended = event("opened", 100), event("terminating", 3), event("snapshot", 4, file="a.tar")
    assert saved(*ended, signed="a.tar") == "a.tar"


def test_after_a_start_nothing_from_before_counts() -> None:
    """An owner takes its signature back before it serves."""
    earlier = [event("terminating"), event("snapshot", file="a.tar")]
    assert saved(*earlier, signed="") == ""
    assert saved(*earlier, event("opened"), signed="a.tar") == ""
    assert saved(*earlier, event("opened"), event("terminating"), signed="a.tar") == ""
    both = [*earlier, event("opened"), event("terminating"), event("snapshot", file="b.tar")]
    assert saved(*both, signed="b.tar") == "b.tar"
    assert saved(*both, signed="a.tar") == ""


def test_what_another_instance_has_signed_is_not_what_this_one_saved() -> None:
    assert saved(event("terminating"), event("snapshot", file="a.tar"), signed="a.tar", uid="b") == ""


@pytest.mark.parametrize("signature", [None, b"{}", b'{"uid": "a"}', b'{"uid": "a", "saved": 7}'])
def test_without_a_signature_nothing_was_saved(signature: bytes | None) -> None:
    assert gates.saved_at_the_end([event("snapshot", file="a.tar")], "a", signature) == ""


def test_what_is_served_again_has_not_ended() -> None:
    ended = [event("terminating"), event("snapshot", file="a.tar")]
    for again in ("opened", "reopened", "recovered"):
        assert saved(*ended, event(again), signed="a.tar") == ""


GATE = {
    "uid": "a", "release": "v1", "role": "owner", "epoch": 1, "lineage": None, "state": "open", "ready": True,
    "held": 0, "relayed": 0, "since": 12.5, "restored": None, "successor": None, "failed": None, "newer": "x",
}  # fmt: skip
UNREADABLE = [
    "", "{", "[]", "null", "7", "[" * 100_000, json.dumps({"uid": "a"}), json.dumps({**GATE, "epoch": "1"}),
    json.dumps({**GATE, "role": None}), json.dumps({**GATE, "successor": "b"}),
    json.dumps({**GATE, "failed": {"why": "?"}}), json.dumps({**GATE, "epoch": -1}),
    json.dumps({**GATE, "epoch": True}), json.dumps({**GATE, "epoch": 1 << 70}),
    json.dumps({**GATE, "since": float("nan")}), json.dumps({**GATE, "held": -5}),
    json.dumps({**GATE, "release": "v" * 1000}), json.dumps({**GATE, "uid": "a\x1b]0;b"}),
    json.dumps({**GATE, "state": "open\n✓ content verified"}), json.dumps({**GATE, "restored": {"time": 1}}),
    json.dumps({**GATE, "failed": {"error": 1, "why": [], "next": None}}),
    json.dumps({**GATE, "since": False}), json.dumps({**GATE, "staged": 1}),
    json.dumps({**GATE, "served": "no"}),
]  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What docker says to the next calls."""
    answers: list[str] = []

    async def run(argv: list[str], **_: Any) -> process.Completed:
        return process.Completed(tuple(argv), 0, answers.pop(0), "", 0.0)

    monkeypatch.setattr(process, "run", run)
    return answers


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the next calls of `docker cp` write, as if it were the engine."""
    answers: list[bytes] = []

    async def run(argv: list[str], *, stdout: IO[bytes], **_: Any) -> process.Completed:
        assert argv[:2] == ["docker", "cp"]
        assert argv[3:] == ["-"]
        if argv[2].endswith("/events.jsonl.1"):
            why = f"Could not find the file {argv[2]} in container id1"
            raise process.failure(argv, 1, [f"Error response from daemon: {why}"])
        with suppress(BrokenPipeError):
            await asyncio.to_thread(write, stdout, answers.pop(0))
        return process.Completed(tuple(argv), 0, "", "", 0.0)

    monkeypatch.setattr(process, "run", run)
    return answers


def write(file: IO[bytes], content: bytes) -> None:
    """All of it: a pipe that nobody buffers takes a part."""
    while content:
        content = content[file.write(content) :]


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


PROBLEM = {"error": "no room", "why": "the disk", "next": "run this"}


def refused(*lines: str) -> CommandFailed:
    return CommandFailed("gate", "exit code 1", "?", argv=["docker"], code=1, log_tail="\n".join(lines))


def test_what_a_gate_advises_is_told_as_its_words_and_the_next_step_is_ours() -> None:
    error = gates.failure("a", "docker logs a", refused("noise", json.dumps(PROBLEM), "[]"))
    assert (error.what, error.why) == ("a: no room", "the disk")
    assert (error.instance_says, error.next_step) == ("run this", "see its log: docker logs a")
    told = failure(error, Path("crash.log"))
    assert (told.instance_says, told.next) == ("run this", "see its log: docker logs a")


NO_FAILURES = (
    "", "[]", "{}", "7", "[" * 100_000, '{"error": "x"}', '{"error": "a", "why": "b"}',
    '{"error": 1, "why": 2, "next": 3}',
)  # fmt: skip


def test_what_is_no_error_of_a_gate_stays_the_one_of_the_command() -> None:
    for said in NO_FAILURES:
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


@pytest.mark.parametrize(
    "record",
    [
        *(tar_of(text) for text in (b"", b"{", b"[]", b"\xff", b'{"uid": 7, "role": "owner"}')),
        tar_of(b" " * (2 << 20)), tar_of(b"", tarfile.SYMTYPE), tar_of(b"", tarfile.DIRTYPE),
        tar_of(b"{}")[:512], b"no tar", b"",
    ],
)  # fmt: skip
async def test_a_record_that_cannot_be_read_is_an_error_of_the_instance(
    copied: list[bytes], record: bytes
) -> None:
    copied.append(record)
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


async def test_the_record_of_a_stopped_instance_tells_whether_it_has_all_of_the_content(
    copied: list[bytes],
) -> None:
    successor = {"uid": "b", "address": "10.0.0.2:9000", "control": "10.0.0.2:9010", "token": "t"}
    record = {"uid": "a", "role": "incoming", "epoch": 2, "lineage": "x", "served": False, "staged": True}
    copied.append(tar_of(json.dumps({**record, "successor": successor}).encode()))
    gate = await compose().gate(instance("exited"))
    assert gate is not None
    assert gate.staged
    assert gate.served is False
    assert gate.successor == successor


async def test_a_stopped_instance_is_what_its_record_says(copied: list[bytes]) -> None:
    copied.append(tar_of(json.dumps({"uid": "a", "role": "moved", "epoch": 2, "lineage": ""}).encode()))
    gate = await compose().gate(instance("exited"))
    assert gate == Gate("a", "v1", "moved", 2, None, "stopped", ready=False)


async def test_the_journal_of_a_stopped_instance_is_read_from_its_earlier_file_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"events.jsonl": ["moved", "ending"], "events.jsonl.1": ["closed"]}

    async def read_file(container: str, path: str, limit: int) -> bytes | None:
        if (phases := files.get(Path(path).name)) is None:
            return None
        torn = b'{"uid": "a", "pha\n\0\0\0\n'
        return torn + b"".join(json.dumps(event(phase)).encode() + b"\n" for phase in phases)

    monkeypatch.setattr(docker, "read_file", read_file)

    async def phases() -> list[str]:
        return [one["phase"] async for one in compose().gate_events(instance("exited"), follow=False)]

    assert await phases() == ["closed", "moved", "ending"]
    del files["events.jsonl.1"]
    assert await phases() == ["moved", "ending"]


@pytest.mark.parametrize("answer", ["{", "[{}]", "[7]", '[{"Config": null}]'])
async def test_an_engine_that_answers_otherwise_is_an_error_and_no_crash(
    said: list[str], answer: str
) -> None:
    said.extend(["id1", answer])
    with pytest.raises(DevenvError, match="cannot be read"):
        await compose().instances()


FINGERPRINT = {"total": "a", "tables": {"post": {"rows": 3, "hash": "b"}}, "newer": "x"}
NO_FINGERPRINTS: list[Any] = [
    {}, {"total": "a"}, {**FINGERPRINT, "total": 7}, {**FINGERPRINT, "tables": []},
    {**FINGERPRINT, "tables": {"post": 3}}, {**FINGERPRINT, "tables": {"post": {"rows": -3, "hash": "b"}}},
    {**FINGERPRINT, "tables": {"post": {"rows": 3, "hash": None}}},
]  # fmt: skip


async def test_what_is_no_fingerprint_is_an_error_of_the_instance(said: list[str]) -> None:
    said.append(json.dumps(FINGERPRINT))
    assert await compose().fingerprint(instance()) == FINGERPRINT
    for wrong in NO_FINGERPRINTS:
        said.append(json.dumps(wrong))
        with pytest.raises(DevenvError, match="devenv-php-fpm-1 says cannot be read"):
            await compose().fingerprint(instance())
        assert gates.event(json.dumps(event("fingerprint", fingerprint=wrong))) is None
    assert gates.event(json.dumps(event("fingerprint", fingerprint=FINGERPRINT)))


class Engine:
    """One httpd and one owner that run. It remembers what it was told; a command can be stuck, or refused."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stuck = ""
        self.reached = asyncio.Event()
        self.refuses = ""

    async def run(self, argv: list[str], **_: Any) -> process.Completed:
        words = " ".join(argv)
        said = ""
        if argv[1] == "compose":
            said, words = "", "compose " + " ".join(argv[4:])
        if words.startswith("docker ps"):
            said = "one two"
        elif words.startswith("docker container inspect"):
            said = json.dumps([self._inspected("one", "httpd"), self._inspected("two", "php-fpm")])
        elif words.endswith("gate status"):
            said = json.dumps(GATE)
        else:
            self.told.append(words)
        if self.refuses and self.refuses in words:
            raise process.failure(argv, 1, ["no"])
        if self.stuck and self.stuck in words:
            self.reached.set()
            await asyncio.Event().wait()
        return process.Completed(tuple(argv), 0, said, "", 0.0)

    def _inspected(self, name: str, service: str) -> dict[str, Any]:
        return {
            "Id": name, "Name": f"/{name}", "Image": "sha256:1", "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": "running"}, "HostConfig": {},
            "Config": {
                "Image": f"{service}:v1",
                "Labels": {docker.SERVICE_LABEL: service, docker.IMAGE_LABEL: f"{service}:v1"},
            },
        }  # fmt: skip


STOPS_HTTPD, STOPS_PHP_FPM = (f"docker stop --time {GRACE} {name}" for name in ("one", "two"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    one = Engine()
    monkeypatch.setattr(process, "run", one.run)
    return one


async def test_a_stop_tells_the_owner_last_that_no_successor_comes(engine: Engine) -> None:
    await compose().stop()
    assert engine.told == [STOPS_HTTPD, "docker exec two gate retire", STOPS_PHP_FPM]


@pytest.mark.parametrize("stuck", [STOPS_HTTPD, "gate status"])
async def test_a_stop_that_is_interrupted_early_leaves_an_owner_that_waits_for_a_successor(
    engine: Engine, stuck: str
) -> None:
    engine.stuck = stuck
    stopping = asyncio.create_task(compose().stop())
    async with asyncio.timeout(5):
        await engine.reached.wait()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not [words for words in engine.told if "retire" in words]


@pytest.mark.parametrize("force", [False, True])
async def test_a_gate_is_asked_to_recover_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """One of an older release does not know the option: it does without a look what it is told."""
    asked: list[str] = []
    old = False

    async def run(argv: list[str], **_: Any) -> process.Completed:
        asked.append(" ".join(argv[3:]))
        if old and "--force" in argv:
            raise process.failure(
                argv, 2, ["usage: gate [-h]", "gate: error: unrecognized arguments: --force"]
            )
        return process.Completed(tuple(argv), 0, json.dumps(GATE), "", 0.0)

    monkeypatch.setattr(process, "run", run)
    for knows in (True, False):
        old = not knows
        assert (await compose().recover(instance(), force=force))["role"] == "owner"
    assert asked == (["gate recover --force"] * 2 if force else ["gate recover"]) + ["gate recover"]


async def test_what_a_gate_refuses_is_not_asked_again_without_the_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(argv: list[str], **_: Any) -> process.Completed:
        raise process.failure(argv, 1, [json.dumps({"error": "no", "why": "nothing here", "next": "look"})])

    monkeypatch.setattr(process, "run", run)
    with pytest.raises(DevenvError, match="nothing here"):
        await compose().recover(instance(), force=True)


@pytest.mark.parametrize("refused", ["gate status", "gate retire"])
async def test_an_owner_that_cannot_be_told_is_stopped_all_the_same(engine: Engine, refused: str) -> None:
    engine.refuses = refused
    await compose().stop()
    assert engine.told[-1] == STOPS_PHP_FPM


def test_an_event_is_whole_or_none() -> None:
    whole = event("opened", held=3)
    assert gates.event(json.dumps(whole)) == whole
    for wrong in (
        {"phase": 7}, {"side": None}, {"uid": ["a"]}, {"held": "x"}, {"relayed": None}, {"held": True},
        {"held": -1}, {"relayed": 1 << 70}, {"phase": "x" * 1000}, {"side": "a\nb"},
        {"time": "now"}, {"time": True}, {"time": float("nan")}, {"time": float("inf")}, {"time": 10**400},
    ):  # fmt: skip
        assert gates.event(json.dumps({**whole, **wrong})) is None
    for text in ("", "{", "7", "null", "[]", "[" * 100_000):
        assert gates.event(text) is None


def journal(file: object) -> bytes:
    """Of an instance that has ended, and says that it has saved its content there."""
    events = [event("opened"), event("terminating"), event("snapshot", file=file)]
    return tar_of("\n".join(map(json.dumps, events)).encode())


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instance has signed what its journal says that it saved."""
    true = docker.read_file
    named: list[str] = []

    async def read_file(container: str, path: str, limit: int) -> bytes | None:
        if path.endswith("/record.json"):
            return json.dumps({"uid": "a", "role": "owner", "epoch": 1, "lineage": "l"}).encode()
        if path.endswith("/owner.json"):
            return json.dumps({"uid": "a", "saved": named[-1]}).encode()
        found = await true(container, path, limit)
        named.extend(json.loads(line)["file"] for line in (found or b"").splitlines() if b'"file"' in line)
        return found

    monkeypatch.setattr(docker, "read_file", read_file)


@pytest.fixture
def snapshot() -> bytes:
    whole = io.BytesIO()
    said = {
        "format": 2, "lineage": "a", "epoch": 1, "release": "v1", "time": "2026-01-31T12:00:00Z", "bytes": 3,
        "sha256": "0" * 64,
    }  # fmt: skip
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in {
            "snapshot.json": json.dumps(said).encode(), "database.sqlite": b"abc", "changes.tar": b""
        }.items():  # fmt: skip
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return whole.getvalue()


@pytest.mark.usefixtures("signed")
async def test_what_a_stopped_instance_has_saved_is_taken_and_nobody_else_may_read_it(
    copied: list[bytes], snapshot: bytes, tmp_path: Path
) -> None:
    copied += [journal("20260131T120000Z-0001-v1.tar"), tar_of(snapshot)]
    before = os.umask(0)
    try:
        assert await compose().last_snapshot(instance("exited"), tmp_path / "down.tar")
    finally:
        os.umask(before)
    assert (tmp_path / "down.tar").read_bytes() == snapshot
    assert (tmp_path / "down.tar").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)  # fmt: skip
async def test_what_lies_in_the_place_of_a_snapshot_is_not_taken(
    copied: list[bytes], tmp_path: Path, kind: bytes
) -> None:
    copied += [journal("a.tar"), tar_of(b"", kind)]
    with pytest.raises(DevenvError, match="cannot be taken") as refused:
        await compose().last_snapshot(instance("exited"), tmp_path / "down.tar")
    assert "container is kept" in refused.value.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("signed")
async def test_one_file_is_taken_and_not_two(copied: list[bytes], snapshot: bytes, tmp_path: Path) -> None:
    copied += [journal("a.tar"), tar_of(snapshot, times=2)]
    with pytest.raises(DevenvError, match="more came"):
        await compose().last_snapshot(instance("exited"), tmp_path / "down.tar")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    "file",
    [
        "../../etc/shadow", "..", "a/b.tar", "/etc/shadow", ".hidden.tar", "-a.tar", "a.tar\n",
        "a\x1b[2J.tar", "a.sh", "ä.tar", "x" * 300 + ".tar",
    ],
)  # fmt: skip
async def test_only_the_name_of_a_snapshot_is_asked_for(
    copied: list[bytes], tmp_path: Path, file: str
) -> None:
    """The journal and the signature are the application's to write, and the name becomes a path."""
    copied.append(journal(file))
    with pytest.raises(DevenvError, match="no file of ours"):
        await compose().last_snapshot(instance("exited"), tmp_path / "down.tar")


@pytest.mark.usefixtures("signed")
async def test_a_journal_beyond_all_measure_is_not_read_into_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file with a terabyte of nothing in it costs the application nothing."""
    run = process.run
    made = (
        "import sys, tarfile; t = tarfile.TarInfo('a'); t.size = 1 << 40; sys.stdout.buffer.write(t.tobuf())"
    )
    for_ever = [sys.executable, "-c", f"{made}\nwhile True: sys.stdout.buffer.write(bytes(1 << 20))"]

    async def copying(argv: list[str], **options: Any) -> process.Completed:
        return await run(for_ever, **options)

    monkeypatch.setattr(process, "run", copying)
    with pytest.raises(DevenvError, match="cannot be read: ValueError: .*events.jsonl.* has more than"):
        await compose().last_snapshot(instance("exited"), tmp_path / "down.tar")
