"""A node image that is made ready on this machine, and a real cluster of it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devenv.tools import kind, programs
from devenv.tools.programs import KUBECTL
from tests.e2e.cluster import on_kind
from tests.e2e.conftest import SUFFIX, Devenv, docker

pytestmark = pytest.mark.engine

NAME = f"devenv-kind{SUFFIX}"
CONFIG = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}]\n"


@dataclass(frozen=True, slots=True)
class Cluster:
    kubeconfig: Path
    program: str

    def __call__(self, *arguments: str) -> str:
        """kubectl."""
        argv = [self.program, "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def devenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    with on_kind(tmp_path_factory.mktemp("kind"), "devenv-kind") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(devenv: Devenv) -> Iterator[Cluster]:
    config, kubeconfig = devenv.folder / "kind.yaml", devenv.folder / "kubeconfig"
    config.write_text(CONFIG)
    asyncio.run(kind.delete(NAME, kubeconfig))
    try:
        asyncio.run(kind.create(NAME, config, devenv.stack.images.node, kubeconfig, 120))
        yield Cluster(kubeconfig, asyncio.run(programs.path(KUBECTL)))
    finally:
        asyncio.run(kind.delete(NAME, kubeconfig))


def test_the_node_image_is_made_ready_once(devenv: Devenv) -> None:
    run = devenv.done("node-image", "build")
    assert [step["result"] for step in run.of("step-ended")] == ["skipped", "skipped"]
    checks = run_checks(devenv)
    assert {checks[name] for name in ("kind", "kubectl", "node image")} == {"ok"}


def run_checks(devenv: Devenv) -> dict[str, str]:
    [answer] = devenv.done("doctor").of("answer")
    return {one["name"]: one["status"] for one in answer["data"]["checks"]}


def test_its_nodes_are_ready_and_names_resolve(cluster: Cluster) -> None:
    assert asyncio.run(kind.nodes(NAME)) == [f"{NAME}-control-plane"]
    assert cluster("get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}") == "v1.34.4"
    cluster("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    cluster("--namespace", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")


def test_it_runs_an_image_that_was_brought_once(cluster: Cluster, devenv: Devenv) -> None:
    image = devenv.stack.images.base
    assert asyncio.run(kind.load(NAME, [image])) == [image]
    assert asyncio.run(kind.load(NAME, [image])) == []
    cluster("run", "once", f"--image={image}", "--image-pull-policy=Never", "--restart=Never",
            "--command", "--", "getent", "hosts", "kubernetes.default.svc.cluster.local")  # fmt: skip
    cluster("wait", "pod/once", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    assert "kubernetes.default.svc.cluster.local" in cluster("logs", "once")


def test_a_node_image_is_made_beside_a_running_cluster(cluster: Cluster) -> None:
    """What it was made with goes then; the nodes of clusters, which descend from it as well, do not."""
    compiled = (programs.own_folder() / "kind").resolve().parent
    if not (compiled / "kube").exists():
        pytest.skip("the node image comes from a registry here")
    before = docker("image", "ls", "--quiet", "--filter", "reference=devenv-node-*/*")
    image = f"devenv-made{SUFFIX}:test"
    script = Path(__file__).parents[2] / "docker" / "node" / "build.sh"
    try:
        subprocess.run(["sh", script, compiled, image], check=True, capture_output=True, timeout=600)
        assert docker("image", "ls", "--quiet", image)
    finally:
        subprocess.run(["docker", "image", "rm", image], check=False, capture_output=True)
    assert docker("image", "ls", "--quiet", "--filter", "reference=devenv-node-*/*") == before
    assert cluster("get", "nodes", "--output", "name") == f"node/{NAME}-control-plane"


def test_nothing_is_left_of_one_that_was_deleted(cluster: Cluster) -> None:
    asyncio.run(kind.delete(NAME, cluster.kubeconfig))
    assert NAME not in asyncio.run(kind.clusters())
    assert docker("ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={NAME}") == ""
