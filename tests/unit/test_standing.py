"""Who owns the content: every mixture of instances leads to one owner, or nothing is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from devenv.model import standing as judged
from devenv.model.instance import Gate, Instance
from devenv.model.standing import Standing


def instance(
    name: str, role: str | None, epoch: int = 1, *, lineage: str | None = "born", state: str = "running"
) -> Instance:
    gate = None
    if role is not None:
        known = None if role == "fresh" else lineage
        gate = Gate(name, "v1", role, epoch, known, "open", role in ("owner", "moved"))
    return Instance(name, name, "php-fpm", "php-fpm:v1", "sha256:1", 0.0, state, "", None, gate)


def standing(instances: Sequence[Instance]) -> Standing:
    return judged.standing(instances, lambda verb, one: f"{verb} {one.name}")


def test_nothing_is_tidy() -> None:
    assert standing([]).tidy
    assert standing([]).owner is None


def test_one_owner_is_tidy() -> None:
    assert standing([one := instance("a", "owner")]).owner is one
    assert standing([one]).tidy


def test_after_a_completed_hand_over_the_moved_one_goes() -> None:
    old, new = instance("a", "moved", 1), instance("b", "owner", 2)
    assert standing([old, new]).moved == (old,)
    assert standing([old, new]).owner is new


def test_before_completion_the_new_one_goes() -> None:
    old, new = instance("a", "owner", 1), instance("b", "incoming", 0)
    assert standing([old, new]).discard == (new,)


def test_between_completion_and_opening_nothing_goes_and_the_new_one_goes_on() -> None:
    found = standing([instance("a", "moved", 1), new := instance("b", "incoming", 0)])
    assert found.resume is new
    assert not found.moved
    assert not found.discard


def test_nobody_is_gone_as_long_as_one_that_runs_has_not_answered() -> None:
    """It was started a moment ago, and may be the one that the others know of."""
    silent = instance("s", None)
    for others in (
        [instance("a", "moved")],
        [instance("a", "owner", 1), instance("b", "moved", 2)],
        [instance("a", "incoming"), instance("b", "fresh")],
        [instance("a", "fresh", state="exited")],
    ):
        assert standing([*others, silent]) == Standing(unknown=(silent,))


def staged(name: str, state: str = "running") -> Instance:
    one = instance(name, "incoming", 1, state=state)
    assert one.gate is not None
    return replace(one, gate=replace(one.gate, staged=True))


def gave_to(name: str, successor: str, state: str = "running") -> Instance:
    one = instance(name, "moved", 1, state=state)
    assert one.gate is not None
    return replace(one, gate=replace(one.gate, successor={"uid": successor, "address": "10.0.0.3:9000"}))


def test_one_that_has_all_of_the_content_but_whose_giver_is_gone_wants_a_person() -> None:
    """It would ask for the giver's word for ever; and it may be the only one that has the content."""
    for state in ("running", "exited"):
        whole = staged("b", state)
        for others in ([], [instance("c", "fresh")], [gave_to("a", "another")], [instance("d", "incoming")]):
            found = standing([whole, *others])
            assert "is not there" in found.problem
            assert "devenv recover --from b" in found.next_step
            assert (found.resume, found.revive, found.discard) == (None, None, ())


def test_one_that_has_all_of_the_content_goes_on_with_its_giver_though_they_were_stopped() -> None:
    giver, whole = gave_to("a", "b"), staged("b")
    assert standing([giver, whole]) == Standing(resume=whole)
    assert standing([instance("a", "moved"), whole]) == Standing(resume=whole)
    stopped = gave_to("a", "b", "exited")
    assert standing([stopped, whole]) == Standing(revive=stopped)
    assert standing([giver, staged("b", "exited")]) == Standing(revive=staged("b", "exited"))


def test_one_that_takes_the_content_back_comes_before_a_newer_one_that_waits_for_it() -> None:
    back, new = instance("a", "incoming", 1), instance("b", "incoming", 0)
    assert back.gate is not None
    back = replace(back, gate=replace(back.gate, successor={"uid": "c", "address": "10.0.0.3:9000"}))
    assert standing([back, new]).resume is back
    assert not standing([back, new]).problem


def test_one_that_is_started_again_may_own_the_content_and_stays() -> None:
    """A node that has restarted: its pods are back in a moment, with all that they had."""
    back = instance("a", None, state="restarting")
    assert standing([back]) == Standing(unknown=(back,))
    assert standing([back, instance("b", "fresh")]) == Standing(unknown=(back,))
    assert standing([back, instance("b", "moved")]) == Standing(unknown=(back,))
    # Who owns it answers: so the other one never got it.
    assert standing([back, instance("b", "owner")]).discard == (back,)
    assert standing([instance("a", None, state="created")]).discard


def test_one_that_is_being_removed_is_left_to_hand_over_by_itself() -> None:
    going = replace(instance("a", "owner", 1), leaving=True)
    found = standing([going, instance("b", "incoming", 0)])
    assert found.owner is going
    assert found.unknown == (going,)
    assert not found.tidy
    assert not found.discard


def test_one_that_is_being_removed_and_has_no_content_is_no_business_of_ours() -> None:
    gone = (replace(instance("a", "moved", 1), leaving=True), replace(instance("b", "fresh"), leaving=True))
    found = standing([*gone, owner := instance("c", "owner", 2)])
    assert found.owner is owner
    assert found.tidy


def test_of_two_owners_the_later_one_stays_and_the_other_is_a_fork() -> None:
    earlier, later = instance("a", "owner", 1), instance("b", "owner", 2)
    assert standing([earlier, later]).forks == (earlier,)
    assert standing([earlier, later]).owner is later


def test_a_fork_is_not_touched_while_the_later_owner_does_not_run() -> None:
    found = standing([instance("a", "owner", 1), instance("b", "owner", 2, state="exited")])
    assert "later content" in found.problem
    assert "restart b; then devenv up" in found.next_step


def test_a_stopped_owner_is_started_again() -> None:
    assert standing([one := instance("a", "owner", state="exited")]).revive is one


def test_content_that_went_to_an_instance_which_is_gone_is_not_touched() -> None:
    found = standing([instance("a", "moved", 1)])
    assert "is gone" in found.problem
    assert "recover" in found.next_step


def test_an_owner_older_than_what_is_known_is_not_trusted() -> None:
    found = standing([instance("a", "owner", 1), instance("b", "moved", 2)])
    assert found.problem
    assert not found.moved


def test_owners_of_different_origin_are_a_problem() -> None:
    found = standing([instance("a", "owner", 1), instance("b", "owner", 3, lineage="other")])
    assert "different origin" in found.problem


def test_a_database_that_went_elsewhere_is_not_removed_for_another_one() -> None:
    found = standing([instance("a", "moved", 1), instance("b", "owner", 2, lineage="other")])
    assert "another database" in found.problem


def test_two_owners_of_one_epoch_are_a_problem() -> None:
    assert "same epoch" in standing([instance("a", "owner", 2), instance("b", "owner", 2)]).problem


def test_a_silent_gate_makes_it_untidy() -> None:
    assert not standing([instance("a", "owner"), instance("b", None)]).tidy


SETS = st.lists(
    st.one_of(
        st.builds(
            instance,
            st.text("abcdef", min_size=1, max_size=3),
            st.sampled_from(["owner", "moved", "incoming", "fresh", None]),
            st.integers(0, 3),
            lineage=st.sampled_from(["born", "other"]),
            state=st.sampled_from(["running", "exited", "created"]),
        ),
        st.builds(staged, st.text("abcdef", min_size=1, max_size=3), st.sampled_from(["running", "exited"])),
    ),
    max_size=4,
    unique_by=lambda one: one.name,
)


@given(SETS)
def test_content_without_a_living_owner_is_never_removed(instances: list[Instance]) -> None:
    """Whatever the mixture: what may hold the only copy goes only beside a running owner of a later epoch."""
    found = standing(instances)
    going = {*found.moved, *found.forks, *found.discard}
    holders = [one for one in going if one.gate and one.gate.role in ("owner", "moved")]
    whole = [one for one in going if one.gate and one.gate.staged]
    assert not whole or found.owner is not None
    if found.problem:
        assert not going
        assert found.next_step
    for one in holders:
        assert found.owner is not None
        assert found.owner.running
        assert found.owner.gate is not None
        assert one.gate is not None
        assert found.owner not in going
        assert found.owner.gate.epoch >= one.gate.epoch


@given(SETS)
def test_an_untidy_set_has_something_to_do_or_says_why_not(instances: list[Instance]) -> None:
    found = standing(instances)
    if not found.tidy:
        to_do = (
            found.revive,
            found.resume,
            found.moved,
            found.forks,
            found.discard,
            found.unknown,
            found.problem,
        )
        assert any(to_do)
