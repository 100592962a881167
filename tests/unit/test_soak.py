"""The soak's own parts: its plan, and the judges, which can say no."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.e2e.leftovers import beyond
from tests.soak.ledger import Ledger, Replaced, Write
from tests.soak.plan import Backend, plan
from tests.soak.watcher import Seen, both


@pytest.mark.parametrize("backend", ["compose", "kind"])
def test_a_seed_is_a_whole_plan_and_a_longer_one_begins_with_it(backend: Backend) -> None:
    assert plan(4711, 300, backend) == plan(4711, 300, backend)
    assert plan(4711, 300, backend)[:50] == plan(4711, 50, backend)
    assert plan(4711, 50, backend) != plan(4712, 50, backend)


def test_three_hundred_rounds_have_every_operation_and_every_fault() -> None:
    rounds = plan(4711, 300)
    assert {one.operation for one in rounds} == {
        "upgrade", "down", "restore", "recover", "predecessor", "retire",
    }  # fmt: skip
    faults = {(one.fault.victim, one.fault.how) for one in rounds if one.fault}
    instances = {(victim, how) for victim in ("owner", "new") for how in ("kill", "stop", "pause")}
    assert faults == instances | {("devenv", "kill"), ("devenv", "stop")}
    jumps = [one.jump.to for one in rounds if one.jump]
    assert min(jumps) < -3600
    assert max(jumps) > 3600


def test_a_hundred_rounds_on_kind_have_every_operation() -> None:
    operations = {one.operation for one in plan(4711, 100, "kind")}
    assert operations == {"upgrade", "down", "restore", "delete", "recover"}


def test_a_round_says_all_that_happens_in_it() -> None:
    told = [str(one) for one in plan(4711, 300)]
    assert any("kill owner after" in line for line in told)
    assert any("pause new after" in line and "ms for" in line for line in told)
    assert any("clock to -" in line for line in told)


def write(nonce: str, sent: float, answered: float, failure: str | None = None) -> Write:
    return Write(nonce, sent, answered, failure)


def test_all_that_was_acknowledged_and_is_there_once_is_clean() -> None:
    verdict = Ledger().settle([write("a", 1, 2), write("b", 2, 3, "503")], Counter("a"))
    assert verdict.clean
    assert str(verdict) == "lost 0"


def test_a_write_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    verdict = Ledger().settle([write("a", 1, 2), write("b", 2, 3)], Counter("b"))
    assert verdict.lost == ("a",)
    assert not verdict.clean


def test_a_write_of_an_earlier_round_has_to_be_there_in_each_later_one() -> None:
    ledger = Ledger()
    assert ledger.settle([write("a", 1, 2)], Counter("a")).clean
    assert ledger.settle([write("b", 3, 4)], Counter("b")).lost == ("a",)


def test_a_write_that_is_there_twice_is_told_and_so_is_one_that_nobody_made() -> None:
    verdict = Ledger().settle([write("a", 1, 2)], Counter("aaz"))
    assert verdict.duplicated == ("a",)
    assert verdict.strange == ("z",)


def test_what_was_not_acknowledged_may_be_there_or_not_or_come_later() -> None:
    ledger = Ledger()
    assert ledger.settle([write("a", 1, 2, "cut"), write("b", 1, 2, "cut")], Counter("a")).clean
    assert ledger.settle([], Counter("ab")).clean
    assert ledger.settle([], Counter("a")).lost == ("b",)


RESTORED = Replaced(saved=(10, 12), put=(20, 25))
BEFORE, IN_SNAPSHOT, BETWEEN, WHILE_PUT, AFTER = (
    write("a", 8, 9), write("b", 10.5, 11.5), write("c", 15, 16), write("d", 21, 22), write("e", 26, 27),
)  # fmt: skip


def test_a_restore_takes_away_what_came_between_and_nothing_else() -> None:
    writes = [BEFORE, IN_SNAPSHOT, BETWEEN, WHILE_PUT, AFTER]
    for there in ("ae", "abe", "ade", "abde"):
        verdict = Ledger().settle(writes, Counter(there), [RESTORED])
        assert verdict.clean, there
        assert "c" in verdict.gone


@pytest.mark.parametrize("there", ["be", "ab", "b"])
def test_what_came_before_the_snapshot_or_after_the_restore_must_be_there(there: str) -> None:
    verdict = Ledger().settle([BEFORE, IN_SNAPSHOT, BETWEEN, AFTER], Counter(there), [RESTORED])
    assert set(verdict.lost) == {"a", "e"} - set(there)


def test_what_a_restore_should_have_taken_away_is_stale_also_when_it_comes_back_later() -> None:
    writes = [BEFORE, BETWEEN, AFTER]
    assert Ledger().settle(writes, Counter("ace"), [RESTORED]).stale == ("c",)
    ledger = Ledger()
    assert ledger.settle(writes, Counter("ae"), [RESTORED]).clean
    assert ledger.settle([], Counter("ace")).stale == ("c",)


def test_no_write_is_missing_in_a_snapshot_that_has_a_later_one() -> None:
    first, second = write("a", 10.2, 10.4), write("b", 10.6, 10.8)
    assert Ledger().settle([first, second], Counter("a"), [RESTORED]).clean
    assert Ledger().settle([first, second], Counter("b"), [RESTORED]).lost == ("a",)


def test_no_write_is_missing_after_one_that_came_to_the_restored_content() -> None:
    first, second = write("a", 21, 22), write("b", 23, 24)
    assert Ledger().settle([first, second], Counter("b"), [RESTORED]).clean
    assert Ledger().settle([first, second], Counter("a"), [RESTORED]).lost == ("b",)


def test_a_restore_that_was_cut_off_took_place_wholly_or_not_at_all() -> None:
    writes = [BEFORE, write("c", 15, 16), write("d", 17, 18), AFTER]
    worlds = (None, RESTORED)
    assert Ledger().settle(writes, Counter("acde"), worlds).clean
    assert Ledger().settle(writes, Counter("ae"), worlds).clean
    assert not Ledger().settle(writes, Counter("ade"), worlds).clean


def seen(uid: str, **changes: object) -> Seen:
    now = {"role": "owner", "lineage": "l", "epoch": 1, "served": True, "listens": True} | changes
    return Seen(pid=1, container=uid * 64, uid=uid, **now)  # type: ignore[arg-type]


def test_two_that_serve_in_two_looks_are_told() -> None:
    two = [seen("a"), seen("b", epoch=2)]
    assert both(two, two) == two
    assert "epoch 2" in str(two[1])


@pytest.mark.parametrize(
    "other",
    [
        seen("b", role="moved"),
        seen("b", role="incoming"),
        seen("b", served=False),
        seen("b", listens=False),
    ],
)
def test_one_that_owns_nothing_or_lets_nobody_in_does_not_serve_beside_another(other: Seen) -> None:
    assert both([seen("a"), other], [seen("a"), other]) == []


def test_a_hand_over_between_two_readings_of_one_look_is_none_of_it() -> None:
    assert both([seen("a"), seen("b")], [seen("a", role="moved"), seen("b")]) == []


def test_what_is_there_after_and_was_not_before_is_left_over() -> None:
    before = Counter({"container php-fpm": 1, "state lock": 1})
    assert beyond(before, before) == []
    assert beyond(before, Counter()) == []
    after = before + Counter({"container php-fpm": 1, "tmp devenv-load-#": 1})
    assert beyond(before, after) == [
        "container php-fpm (1 before, 2 after)", "tmp devenv-load-# (0 before, 1 after)",
    ]  # fmt: skip


def test_what_is_kept_on_purpose_may_grow_up_to_its_bound() -> None:
    kept = {"state snapshots/*.tar": 10}
    assert beyond(Counter(), Counter({"state snapshots/#_down_v#.tar": 10}), kept) == []
    many = Counter({"state snapshots/#_down_v#.tar": 6, "state snapshots/#_upgrade_v#.tar": 5})
    assert beyond(Counter(), many, kept) == ["state snapshots/*.tar (11, at most 10)"]
    assert beyond(Counter(), Counter({"state snapshots/#.part": 1}), kept)
