"""What the phases of both instances add up to."""

from __future__ import annotations

from devenv.model.course import course, simple
from devenv.model.events import PhaseReached


def phase(name: str, side: str, ms: float, **details: object) -> PhaseReached:
    which = ("old", "v1") if side == "owner" else ("new", "v2")
    return PhaseReached(name, side, *which, ms, details)


WHOLE = [
    phase("discover", "successor", 1.0),
    phase("copy-served", "owner", 5.0),
    phase("lease", "successor", 8.0),
    phase("closing", "owner", 10.0),
    phase("closed", "owner", 60.0),
    phase("moved", "owner", 90.0),
    phase("relaying", "owner", 91.0, held=4),
    phase("opened", "successor", 95.5, held=0, epoch=2),
    phase("terminating", "owner", 500.0),
    phase("ending", "owner", 1500.0, relayed=17),
]


def test_before_the_first_phase_nothing_is_known() -> None:
    now = course([])
    assert (now.old.instance, now.new.instance, now.held, now.relayed, now.closed_ms) == (
        "",
        "",
        None,
        None,
        None,
    )


def test_each_side_has_the_gate_of_its_last_phase() -> None:
    now = course(WHOLE[:5])
    assert (now.old.instance, now.old.gate) == ("old", "closed: requests are held")
    assert (now.new.instance, now.new.gate) == ("new", "asks for the lease")


def test_the_pause_is_from_the_close_to_the_opening() -> None:
    now = course(WHOLE)
    assert (now.closed_ms, now.held, now.relayed) == (85.5, 4, 17)
    assert (now.old.gate, now.new.gate) == ("ended", "open")


def test_a_count_that_is_none_is_passed_over() -> None:
    odd = [phase("relaying", "owner", 91.0, held="x"), phase("ending", "owner", 1500.0, relayed=None)]
    assert (course(odd).held, course(odd).relayed) == (0, 0)
    assert course([*WHOLE, *odd]).held == 4


def test_phases_that_come_late_are_put_in_their_place() -> None:
    assert course(WHOLE[::-1]) == course(WHOLE)


def test_an_owner_that_opened_again_counts_from_its_last_close() -> None:
    again = [phase("reopened", "owner", 70.0, why="x"), phase("closing", "owner", 80.0), WHOLE[-3]]
    assert course([*WHOLE[:5], *again]).closed_ms == 15.5


def test_a_successor_that_waits_says_for_what() -> None:
    waits = phase("waiting", "successor", 9.0, error="another has the lease", why="v3 takes it")
    assert course([*WHOLE[:3], waits]).waits == "another has the lease: v3 takes it"
    assert course([*WHOLE[:3], waits, WHOLE[3], WHOLE[7]]).waits == ""


def test_details_are_short() -> None:
    words = simple({"sha256": "a" * 64, "blocks": 2, "fingerprint": {"tables": {}}})
    assert words == "sha256=aaaaaaaaaaaa… blocks=2"
