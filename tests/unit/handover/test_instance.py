"""An instance as one thing: what its state says, and the order of its steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.handover import mark as marks
from devenv.handover import record as records
from devenv.handover.instance import Instance
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role, Successor
from devenv.handover.settings import Settings
from devenv.handover.states import State


@pytest.fixture
async def instance(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Instance]:
    monkeypatch.setenv("GATE_RUN", str(tmp_path / "run"))
    it = Instance(settings, ["true"])
    yield it
    it.listener.close()


class Servers:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.states: list[State] = []
        self.broken = False

    async def begin_drain(self) -> None:
        self.states.append(self._instance.state)
        if self.broken:
            raise RuntimeError

    async def drained(self, budget: float) -> bool:
        return True


async def test_it_is_closed_before_the_server_is_asked_to_end(instance: Instance) -> None:
    """A server that dies meanwhile is not replaced by one that nobody would know of."""
    servers = Servers(instance)
    instance.servers = servers  # type: ignore[assignment]
    instance.record = instance.record.evolve(role=Role.OWNER)
    instance.state = State.OPEN
    assert await instance.close(1)
    assert servers.states == [State.CLOSED]


async def test_it_is_open_as_before_if_the_server_could_not_be_told(instance: Instance) -> None:
    servers = Servers(instance)
    servers.broken = True
    instance.servers = servers  # type: ignore[assignment]
    instance.record = instance.record.evolve(role=Role.OWNER)
    instance.state = State.OPEN
    with pytest.raises(RuntimeError):
        await instance.close(1)
    assert instance.state is State.OPEN


@pytest.mark.parametrize(
    ("role", "state", "ready"),
    [
        (Role.FRESH, State.STARTING, False),
        (Role.INCOMING, State.INCOMING, False),
        (Role.INCOMING, State.RELAYING, False),
        (Role.OWNER, State.STARTING, False),
        (Role.OWNER, State.OPEN, True),
        (Role.OWNER, State.CLOSED, True),
        (Role.OWNER, State.ENDING, False),
        (Role.MOVED, State.RELAYING, True),
        (Role.MOVED, State.ENDING, False),
    ],
)
async def test_it_is_ready_exactly_when_requests_are_served_or_held(
    instance: Instance, role: Role, state: State, ready: bool
) -> None:
    instance.record = instance.record.evolve(role=role)
    instance.state = state
    instance.found_self = True
    assert instance.status()["ready"] is ready
    instance.found_self = False
    assert instance.status()["ready"] is False


async def test_its_status_tells_no_secret_and_no_token(instance: Instance) -> None:
    successor = Successor("u2", "127.0.0.2:9000", "127.0.0.2:9010", "the-token")
    instance.record = instance.record.evolve(role=Role.MOVED, token="the-token", successor=successor)
    told = str(instance.status())
    assert "the-token" not in told
    assert instance.secret.decode() not in told


async def test_a_change_of_the_record_is_on_the_disk(instance: Instance) -> None:
    instance.write_record(epoch=3)
    loaded = records.load(instance.settings.state / "record.json")
    assert loaded is not None
    assert loaded.epoch == 3


async def test_it_goes_on_with_the_record_that_it_had(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_RUN", str(tmp_path / "run"))
    records.save(settings.state / "record.json", Record(uid="mine", role=Role.OWNER, epoch=5, served=True))
    it = Instance(settings, ["true"])
    it.listener.close()
    assert (it.record.uid, it.record.epoch) == ("mine", 5)


async def test_nobody_is_let_in_before_it_listens_for_them(instance: Instance) -> None:
    import socket

    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(instance.listener.getsockname())
    instance.listen()
    with socket.socket() as client:
        client.connect(instance.listener.getsockname())


async def test_an_address_that_is_taken_is_told_at_once(instance: Instance, settings: Settings) -> None:
    instance.listen()
    taken = replace(settings, listen=instance.listener.getsockname())
    with pytest.raises(Problem, match="the gate cannot have its address"):
        Instance(taken, ["true"])


async def test_a_signature_that_cannot_be_written_leaves_no_snapshot_named_and_is_tried_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full volume: else a new instance would begin with what is older than what is served."""
    instance.record = instance.record.evolve(role=Role.OWNER, lineage="line", epoch=3, served=True)
    instance.sign(saved="a.tar")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(marks, "save", full)
        instance.sign()
        instance.sign()
    found = marks.load(instance.settings.snapshots)
    assert found is not None
    assert found.saved == ""
    assert instance.journal.path.read_text().count('"unsigned"') == 1
    instance.sign()
    found = marks.load(instance.settings.snapshots)
    assert found is not None
    assert (found.uid, found.saved) == (instance.record.uid, "")


async def test_a_copy_of_a_disk_is_an_instance_of_its_own(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_RUN", str(tmp_path / "run"))
    theirs = Record(uid="theirs", role=Role.OWNER, epoch=5, served=True, host="another-host")
    records.save(settings.state / "record.json", theirs)
    it = Instance(settings, ["true"])
    it.listener.close()
    assert it.record.copied
    assert it.record.uid != "theirs"
    again = Instance(settings, ["true"])
    again.listener.close()
    assert again.record.uid == it.record.uid
    assert again.record.copied, "until it has seen that nobody serves"
