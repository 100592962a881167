"""The order of the deadlines, here and in the files that repeat one of them."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.handover import shell
from devenv.handover.deadlines import Deadlines
from devenv.handover.ending import EXIT

ROOT = Path(__file__).parents[3]
CHAIN = ("poll", "drain", "lease", "absent", "hook", "termination", "grace")
PAIRS = list(itertools.pairwise(CHAIN))


def test_the_deadlines_as_they_are_fit_together() -> None:
    assert Deadlines().disorder() is None


@given(st.lists(st.floats(0.001, 1e6), min_size=len(CHAIN), max_size=len(CHAIN)))
def test_an_order_is_accepted_exactly_when_each_is_shorter_than_the_next(values: list[float]) -> None:
    chained = dict(zip(CHAIN, values, strict=True))
    deadlines = replace(Deadlines(), **chained, finish=0.0, save=0.0, endpoints=0.0, linger=0.0)
    rising = all(shorter < longer for shorter, longer in itertools.pairwise(values))
    assert (deadlines.disorder() is None) == rising


@pytest.mark.parametrize(("shorter", "longer"), PAIRS)
def test_two_neighbours_that_are_swapped_are_named(shorter: str, longer: str) -> None:
    right = Deadlines()
    swapped = replace(right, **{shorter: getattr(right, longer), longer: getattr(right, shorter)})
    assert swapped.disorder() == f"deadline {shorter} must be shorter than {longer}"


@pytest.mark.parametrize(("shorter", "longer"), PAIRS)
def test_two_neighbours_that_are_equal_are_named(shorter: str, longer: str) -> None:
    equal = replace(Deadlines(), **{shorter: getattr(Deadlines(), longer)})
    assert equal.disorder() == f"deadline {shorter} must be shorter than {longer}"


def test_the_engine_kills_exactly_when_the_table_says() -> None:
    compose = (ROOT / "compose/compose.yaml").read_text()
    periods = re.findall(r"^\s*stop_grace_period: (\d+)s$", compose, re.MULTILINE)
    assert [float(period) for period in periods] == [Deadlines().grace]


def test_httpd_waits_longer_than_any_request_is_held() -> None:
    config = (ROOT / "docker/httpd/httpd.conf").read_text()
    (proxy,) = re.findall(r'^<Proxy "fcgi:.*\btimeout=(\d+)>$', config, re.MULTILINE)
    (overall,) = re.findall(r"^Timeout (\d+)$", config, re.MULTILINE)
    # An owner may be closed until its successor's hook ends; then a relay may look for it.
    longest = Deadlines().hook + Deadlines().relay
    assert float(proxy) > longest
    assert float(overall) > longest


def test_an_end_fits_into_the_grace_period_with_all_that_it_can_consist_of() -> None:
    """The wait for a successor, the last requests, the snapshot, the linger; and the time to exit."""
    deadlines = Deadlines()
    whole = deadlines.termination + deadlines.finish + deadlines.shell + 2 * shell.ENDS
    whole += deadlines.save + deadlines.linger
    assert whole + EXIT < deadlines.grace


@pytest.mark.parametrize("longer", ["finish", "shell", "save", "endpoints", "linger"])
def test_an_end_that_does_not_fit_into_the_grace_period_is_told(longer: str) -> None:
    disorder = replace(Deadlines(), **{longer: 60.0}).disorder()
    together = "deadlines termination, finish, shell, save, endpoints and linger together"
    assert disorder == f"{together} must be shorter than grace"


def test_names_that_are_old_for_longer_than_a_hook_lasts_are_told() -> None:
    disorder = replace(Deadlines(), names=80.0).disorder()
    assert disorder == "deadlines names and absent together must be shorter than hook"


def test_an_owner_that_hands_over_at_the_last_moment_gives_its_requests_as_long_as_a_sole_one() -> None:
    deadlines = Deadlines()
    assert deadlines.grace - deadlines.termination - deadlines.linger - EXIT >= deadlines.finish


@pytest.mark.parametrize("name", [field.name for field in fields(Deadlines)])
def test_each_deadline_can_be_set_by_its_variable_and_no_other_changes(name: str) -> None:
    deadlines = Deadlines.from_env({f"GATE_DEADLINE_{name.upper()}": "0.25"})
    assert deadlines == replace(Deadlines(), **{name: 0.25})


def test_an_empty_variable_means_the_default() -> None:
    assert Deadlines.from_env({"GATE_DEADLINE_LEASE": ""}) == Deadlines()


def test_a_successor_renews_more_than_once_within_a_lease() -> None:
    deadlines = Deadlines()
    # `_renewing` asks each third of a lease; the way there and back must fit in the rest.
    assert deadlines.lease / 3 + deadlines.connect < deadlines.lease * 2 / 3


def test_the_deadlines_of_the_kubernetes_manifest_fit_together() -> None:
    manifest = (Path(__file__).parents[3] / "k8s" / "base" / "php-fpm-deployment.yaml").read_text()
    given = dict(re.findall(r'\{name: (GATE_DEADLINE_\w+), value: "(\d+)"\}', manifest))
    deadlines = Deadlines.from_env(given)
    assert deadlines.disorder() is None
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest)
    assert float(grace) == deadlines.grace
    assert deadlines.endpoints > 0
    # kubeadm's CoreDNS gives names to any cache for 30 s.
    assert deadlines.names > 30
