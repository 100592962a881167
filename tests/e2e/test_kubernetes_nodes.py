"""A cluster of several nodes: what a pod has goes with it to another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Kubectl, kubeconfig, on_kind
from tests.e2e.conftest import SUFFIX, Devenv
from tests.e2e.witness import nothing_lost, writers

pytestmark = pytest.mark.engine

NAME = f"devenv-nodes{SUFFIX}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """It runs, on two workers."""
    with on_kind(tmp_path_factory.mktemp("nodes"), "devenv-nodes", "[kind]\nworkers = 2\n") as made:
        made.done("up")
        yield made


@pytest.fixture
def kubectl(stack: Devenv) -> Kubectl:
    return Kubectl(kubeconfig(stack))


def node_of(kubectl: Kubectl) -> str:
    """Where the one php-fpm pod is that stays."""
    [pod] = kubectl.php_fpm()
    return kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")


def test_there_are_as_many_workers_as_were_asked_for(stack: Devenv, kubectl: Kubectl) -> None:
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    names = {one["metadata"]["name"] for one in nodes}
    assert names == {f"{NAME}-control-plane", f"{NAME}-worker", f"{NAME}-worker2"}
    assert node_of(kubectl) != f"{NAME}-control-plane"


async def test_a_node_that_is_drained_under_load_takes_nothing_with_it(
    stack: Devenv, kubectl: Kubectl
) -> None:
    before = await asyncio.to_thread(node_of, kubectl)
    drain = ("drain", before, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    try:
        async with writers(stack.stack) as counted:
            await asyncio.sleep(1)
            await asyncio.to_thread(kubectl, *drain)
            await asyncio.sleep(5)
    finally:
        await asyncio.to_thread(kubectl, "uncordon", before)
    nothing_lost(counted.report)
    assert counted.report.failures == []
    assert await asyncio.to_thread(node_of, kubectl) != before


def test_an_upgrade_to_another_node_is_verified(stack: Devenv, kubectl: Kubectl) -> None:
    before = node_of(kubectl)
    kubectl("cordon", before)
    try:
        receipt = stack.done("upgrade", "--to", "v2", "--probe", "4").receipt
    finally:
        kubectl("uncordon", before)
    assert receipt["verified"]
    assert (receipt["probe"]["lost"], receipt["probe"]["failed"]) == (0, 0)
    assert node_of(kubectl) != before
