"""The graph runs what it can side by side, in the order of its dependencies, and ends as a whole."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.engine import graph
from devenv.engine.graph import Skipped, Work
from devenv.errors import DevenvError
from devenv.model import plan
from devenv.model.events import Event, Note, StepEnded, StepStarted, StepWaiting
from devenv.model.plan import Plan, Step, order


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    count = draw(st.integers(1, 7))
    made = []
    for number in range(count):
        after = draw(st.sets(st.integers(0, number - 1))) if number else set()
        made.append(Step(str(number), str(number), tuple(str(one) for one in after)))
    return draw(st.permutations(made))


@given(steps())
def test_each_step_comes_after_what_it_waits_for(made: list[Step]) -> None:
    done: set[str] = set()
    for step in order(made):
        assert done.issuperset(step.after)
        done.add(step.name)
    assert len(done) == len(made)


@given(steps())
def test_a_run_keeps_that_order(made: list[Step]) -> None:
    ended: list[str] = []

    def work(name: str) -> Work:
        async def do(note: Note) -> None:
            ended.append(name)

        return do

    asyncio.run(
        graph.run(Plan("test", tuple(made)), {step.name: work(step.name) for step in made}, [].append)
    )
    for step in made:
        assert all(ended.index(before) < ended.index(step.name) for before in step.after)


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        Plan("test", (Step("a", "a", ("b",)), Step("b", "b", ("a",))))


def test_an_unknown_dependency_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the plan"):
        Plan("test", (Step("a", "a", ("z",)),))


@pytest.mark.parametrize(
    "made",
    [
        plan.up(),
        plan.up("kind"),
        plan.up("cluster"),
        plan.build("v1"),
        plan.upgrade("v2"),
        plan.down(),
        plan.reset(),
    ],
)
def test_our_plans_have_an_order(made: Plan) -> None:
    assert order(made.steps)[-1] == made.steps[-1]


THREE = Plan("test", (Step("a", "A"), Step("b", "B", ("a",)), Step("c", "C")))


async def test_independent_steps_run_side_by_side() -> None:
    met = asyncio.Barrier(2)

    async def meet(note: Note) -> None:
        await asyncio.wait_for(met.wait(), 1)

    async def nothing(note: Note) -> Skipped:
        return Skipped("nothing to do")

    told: list[Event] = []
    await graph.run(THREE, {"a": meet, "b": nothing, "c": meet}, told.append)
    assert [event.step for event in told if isinstance(event, StepStarted)] == ["a", "c", "b"]
    assert [event.waiting_for for event in told if isinstance(event, StepWaiting)] == [("a",)]
    assert {event.step: event.result for event in told if isinstance(event, StepEnded)} == {
        "a": "done", "b": "skipped", "c": "done",
    }  # fmt: skip


async def test_a_failure_cancels_the_rest_and_is_raised_itself() -> None:
    tidied = False

    async def fail(note: Note) -> None:
        raise DevenvError("no", "because", "try")

    async def long(note: Note) -> None:
        nonlocal tidied
        try:
            await asyncio.sleep(60)
        finally:
            tidied = True

    told: list[Event] = []
    with pytest.raises(DevenvError, match="because"):
        await graph.run(THREE, {"a": fail, "b": long, "c": long}, told.append)
    assert tidied
    results = {event.step: event.result for event in told if isinstance(event, StepEnded)}
    assert results == {"a": "failed", "b": "cancelled", "c": "cancelled"}
