"""How the log of a pod is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.backends import pods
from devenv.logs.pods import Pods
from devenv.model.instance import Instance
from devenv.tools.kubectl import Cluster
from tests.unit.test_pods import pod


async def nobody() -> list[Instance]:
    return []


def asked(since: str | None, *, follow: bool = False, tail: int | None = None) -> list[str]:
    origin = Pods(Cluster(Path("k"), "c", "n"), "a=b", nobody)
    argv = origin.argv(pods.instance(pod()), follow=follow, tail=tail, since=since)
    assert argv[:7] == ["kubectl", "--kubeconfig", "k", "--context", "c", "--namespace", "n"]
    assert argv[7:10] == ["logs", "php-fpm-1", "--timestamps"]
    return argv[10:]


@pytest.mark.parametrize(
    ("since", "option"),
    [
        ("10m", "--since=10m"),
        ("2026-01-31T12:00:00.123456789Z", "--since-time=2026-01-31T12:00:00.123456789Z"),
        ("1769860800.5", "--since-time=2026-01-31T12:00:00.500000+00:00"),
    ],
)
def test_since_is_what_docker_takes_as_well(since: str, option: str) -> None:
    assert asked(since) == [option]


def test_a_time_without_a_zone_is_this_machines() -> None:
    [option] = asked("2026-01-31T12:00:00")
    assert option.startswith("--since-time=2026-01-31T12:00:00")
    assert option[-6] in "+-"


def test_the_log_of_the_container_before_is_asked_for_where_there_was_one() -> None:
    origin = Pods(Cluster(Path("k"), "c", "n"), "a=b", nobody)
    first, again = pods.instance(pod()), pods.instance(pod(restartCount=1))
    assert origin.argv_of_previous(first, tail=5, since=None) == []
    assert origin.argv_of_previous(again, tail=5, since=None)[-2:] == ["--tail=5", "--previous"]


def test_all_of_it_is_asked_for_where_nothing_is_said() -> None:
    assert asked(None) == []
    assert asked(None, follow=True, tail=5) == ["--follow", "--tail=5"]
