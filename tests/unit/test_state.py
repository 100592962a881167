"""State is a fold: it depends on the events and on nothing else."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from devenv.model import events as e
from devenv.model.actions import ACTIONS, COMMANDS
from devenv.model.state import KEPT_COMMANDS, State, apply, fold

NAMES = st.sampled_from(["engine", "image", "snapshot"])
EVENTS = st.lists(
    st.one_of(
        st.builds(e.ActionStarted, st.sampled_from(["up", "upgrade"])),
        st.builds(e.ActionEnded, st.just("up"), st.integers(0, 4), st.floats(0, 9)),
        st.builds(e.StepWaiting, NAMES, NAMES, st.tuples(NAMES)),
        st.builds(e.StepStarted, NAMES, NAMES),
        st.builds(e.StepNoted, NAMES, st.text(max_size=5)),
        st.builds(e.StepEnded, NAMES, NAMES, st.sampled_from(["done", "failed"]), st.floats(0, 9)),
        st.builds(e.CommandStarted, st.integers(1, 5), st.tuples(st.just("docker"))),
        st.builds(
            e.CommandEnded, st.integers(1, 5), st.tuples(st.just("docker")), st.just(0), st.floats(0, 9)
        ),
        st.builds(e.PhaseReached, NAMES, NAMES, NAMES, st.just("v2"), st.floats(0, 9)),
        st.builds(e.Notice, st.text(max_size=5)),
        st.builds(e.LogLine, NAMES, st.text(max_size=5)),
    ),
    max_size=30,
)


@given(EVENTS, st.integers(0, 30))
def test_folding_in_two_parts_is_folding_at_once(events: list[e.Event], cut: int) -> None:
    assert fold(events[cut:], fold(events[:cut])) == fold(events)


@given(EVENTS)
def test_every_event_is_one_line_of_json_that_names_it(events: list[e.Event]) -> None:
    for event in events:
        text = json.dumps(e.as_json(event))
        assert "\n" not in text
        assert json.loads(text)["event"] == e.event_name(type(event))


def test_every_kind_of_event_has_a_name_of_its_own() -> None:
    kinds = get_args(e.Event)
    assert len({e.event_name(kind) for kind in kinds}) == len(kinds)
    assert all(fields(kind)[0].name == "time" for kind in kinds)


def test_a_new_action_forgets_the_steps_of_the_last_one() -> None:
    before = fold([e.ActionStarted("up"), e.StepStarted("engine", "engine"), e.ActionEnded("up", 0, 1.0)])
    assert before.steps["engine"].state == "running"
    assert not before.busy
    assert apply(before, e.ActionStarted("down")).steps == {}


def test_the_command_log_is_bounded() -> None:
    commands = [e.CommandStarted(number, ("docker",)) for number in range(KEPT_COMMANDS + 5)]
    assert len(fold(commands).commands) == KEPT_COMMANDS


def test_actions_say_why_they_are_not_available() -> None:
    busy = fold([e.ActionStarted("upgrade")])
    nothing = fold([e.InstancesSeen(())])
    why = {action.name: (action.why_not(busy), action.why_not(nothing)) for action in ACTIONS}
    assert why["down"] == ("upgrade is at work", "nothing is there")
    assert why["upgrade"][1] == "the stack does not run: up starts it"
    assert why["status"] == ("", "")
    assert why["cancel"] == ("", "nothing is at work")
    assert all(not action.why_not(State()) for action in ACTIONS if action.name not in ("cancel", "failure"))


def test_no_two_actions_share_a_key_and_each_example_is_its_own_command() -> None:
    keys = [key for action in ACTIONS for key in action.keys.split(",") if key]
    assert len(set(keys)) == len(keys)
    assert all(action.example.startswith(f"devenv {action.name}") for action in COMMANDS)
