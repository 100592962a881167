"""What an instance may do stands in one table, and only that can be done."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import NoReturn

import pytest

from devenv.handover import record as records
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role
from devenv.handover.states import TABLE, Machine, State, Transition, While, find

PLACES = list(itertools.product(Role, State))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "record.json", Record(uid="u"))


def at(machine: Machine, role: Role, state: State) -> Machine:
    machine.record, machine.state = machine.record.evolve(role=role), state
    return machine


def test_nothing_leads_out_of_the_end() -> None:
    assert [one.name for one in TABLE if any(state is State.ENDING for _, state in one.places)] == []


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
def test_each_transition_leads_where_it_says_and_from_nowhere_else(machine: Machine, one: Transition) -> None:
    for role, state in PLACES:
        at(machine, role, state).terminating = one.terminating is While.ONLY
        if (role, state) in one.places:
            machine.make(one.name)
            assert (machine.record.role, machine.state) == (one.role or role, one.state or state)
        else:
            with pytest.raises(Problem, match=f"cannot {one.name} now") as caught:
                machine.make(one.name)
            assert not caught.value.final
            assert (machine.record.role, machine.state) == (role, state)


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
@pytest.mark.parametrize("terminating", [False, True])
@pytest.mark.parametrize("retired", [False, True])
def test_a_terminating_instance_makes_only_what_the_table_grants_it(
    machine: Machine, one: Transition, terminating: bool, retired: bool
) -> None:
    at(machine, *one.places[0]).terminating = terminating
    machine.retire(60 if retired else 0)
    granted = {
        While.ALWAYS: True,
        While.NEVER: not terminating,
        While.ONLY: terminating,
        While.UNLESS_RETIRED: not (terminating and retired),
    }
    assert machine.may(one.name) is granted[one.terminating]


def test_only_an_owner_opens_and_only_who_fetched_or_begins_or_recovers_becomes_one() -> None:
    assert {role for one in TABLE if one.state is State.OPEN for role, _ in one.places} == {Role.OWNER}
    assert {one.name for one in TABLE if one.role is Role.OWNER} == {"begin", "take over", "recover"}


def test_from_every_place_there_is_a_way_to_the_end() -> None:
    reached = {(Role.FRESH, State.STARTING)}
    while True:
        more = {
            ((one.role or role), (one.state or state))
            for role, state in reached
            for one in TABLE
            if (role, state) in one.places
        } | {(role, State.STARTING) for role, state in reached if state is not State.ENDING}
        if more <= reached:
            break
        reached |= more
    ends = {place for one in TABLE if one.terminating is While.ONLY for place in one.places}
    # One that has moved relays as soon as it is started again.
    assert {place for place in reached if place[1] is not State.ENDING} - ends == {
        (Role.MOVED, State.STARTING)
    }
    assert find("relay", (Role.MOVED, State.STARTING)) is not None


def test_a_transition_is_on_the_disk_when_it_is_made(machine: Machine, tmp_path: Path) -> None:
    machine.make("begin", lineage="l", epoch=1)
    assert records.load(tmp_path / "record.json") == machine.record
    assert machine.record.role is Role.OWNER


def test_one_that_cannot_be_written_down_is_not_made(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "save", full)
    with pytest.raises(OSError, match="No space"):
        machine.make("begin")
    assert (machine.record.role, machine.state) == (Role.FRESH, State.STARTING)


def test_a_disk_that_fails_when_the_rename_is_done_has_the_old_record_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restart would go on from what nobody was told of."""
    machine.write_record(epoch=7)
    true, failed = records.sync_folder, []

    def fail_once(folder: Path) -> None:
        if not failed:
            failed.append(folder)
            raise OSError(errno.EIO, "Input/output error")
        true(folder)

    monkeypatch.setattr(records, "sync_folder", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        machine.make("begin", epoch=8)
    assert failed
    loaded = records.load(tmp_path / "record.json")
    assert loaded == machine.record
    assert loaded is not None
    assert (loaded.role, loaded.epoch) == (Role.FRESH, 7)


def test_where_the_disk_does_not_take_the_old_record_either_the_process_ends(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(records, "sync_folder", fail)
    with pytest.raises(SystemExit, match="may be another one than ours"):
        machine.make("begin")


def test_a_role_changes_by_a_transition_alone(machine: Machine) -> None:
    with pytest.raises(AssertionError, match="by a transition"):
        machine.write_record(role=Role.OWNER)


def test_a_retirement_lapses_and_can_be_taken_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has said it may be gone: days later an end shall wait for a successor again."""
    now = [1000.0]
    monkeypatch.setattr("devenv.handover.states.time.monotonic", lambda: now[0])
    machine.retire(60)
    assert machine.retired
    now[0] += 59
    assert machine.retired
    now[0] += 1
    assert not machine.retired
    machine.retire(60)
    machine.retire(0)
    assert not machine.retired
