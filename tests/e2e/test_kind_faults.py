"""What goes wrong with a cluster: each time a clear word and a next step, nothing lost, nothing left over."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devenv.tools import apiserver, kind, programs
from devenv.tools.programs import KIND, KUBECTL
from tests.e2e.cluster import Kubectl, kubeconfig, on_kind
from tests.e2e.conftest import SUFFIX, Devenv, Run, docker, make
from tests.e2e.witness import content, nothing_lost, writers

pytestmark = pytest.mark.engine

NAME = f"devenv-kf{SUFFIX}"
NODE = f"{NAME}-control-plane"
HTTPD = ("get", "pods", "-l", "app.kubernetes.io/name=httpd", "-o", "name")
SOON = 12
"""Seconds in which a command that only looks has told of an API server that does not answer."""
PATIENCE = 60


@pytest.fixture(scope="module")
def devenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    with on_kind(tmp_path_factory.mktemp("kf"), "devenv-kf") as made:
        yield made


@pytest.fixture
def stack(devenv: Devenv) -> Devenv:
    """It runs, and serves."""
    devenv.done("up")
    return devenv


@pytest.fixture
def kubectl(stack: Devenv) -> Kubectl:
    return Kubectl(kubeconfig(stack))


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> float:
    """When it came true."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)  # kubectl alone takes a tenth of a second of a processor
    return time.monotonic()


def answers(devenv: Devenv) -> bool:
    """The API server does."""
    server = apiserver.of(kubeconfig(devenv))
    assert server is not None
    return not asyncio.run(server.silent(0.5))


def is_back(devenv: Devenv) -> bool:
    """It also does what it is asked: right after its start it knows nobody's rights yet."""
    program = asyncio.run(programs.path(KUBECTL))
    get = [program, "--kubeconfig", str(kubeconfig(devenv)), "--namespace", "testing", "get", "pods",
           "--request-timeout=5s"]  # fmt: skip
    return subprocess.run(get, capture_output=True, timeout=PATIENCE, check=False).returncode == 0


def serves(devenv: Devenv) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", devenv.stack.stack.port), timeout=1) as site:
            site.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in site.recv(64)
    except OSError:
        return False


def refused(devenv: Devenv, *command: str, code: int = 1) -> Run:
    run = devenv(*command)
    assert run.code == code, run.told()
    assert run.failure["next"]
    return run


def state_of_the_node() -> str:
    return docker("inspect", "--format", "{{.State.Status}}", NODE)


@contextmanager
def without_api_server(devenv: Devenv) -> Iterator[None]:
    manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
    docker("exec", NODE, "mv", manifest, "/etc/kubernetes/")
    try:
        until(lambda: not answers(devenv), "the API server does not end")
        yield
    finally:
        docker("exec", NODE, "mv", "/etc/kubernetes/kube-apiserver.yaml", manifest)


def test_an_api_server_that_is_away_is_told_of_at_once_and_the_port_heals_when_it_is_back(
    stack: Devenv,
) -> None:
    before = content(stack)
    log = stack.state / "kind" / "portforward" / "portforward.log"
    told = len(log.read_text())
    with without_api_server(stack):
        for command in ("status", "verify"):
            began = time.monotonic()
            run = refused(stack, command, code=4)
            assert time.monotonic() - began < SOON
            assert "does not answer" in run.failure["what"]
            assert "API server" in run.failure["why"]
            assert f"docker restart {NODE}" in run.failure["next"]
        began = time.monotonic()
        run = refused(stack, "upgrade", "--to", "v2", code=4)
        assert time.monotonic() - began < 2 * SOON
        assert [step["step"] for step in run.of("step-started")] == ["engine"]
        until(lambda: "the API server does not answer" in log.read_text()[told:], "the port does not notice")
    there = until(lambda: is_back(stack), "the API server does not come back")
    assert until(lambda: serves(stack), "the port does not heal") - there < 3
    said = log.read_text()[told:]
    assert len(re.findall("is back after", said)) == 1, said
    assert content(stack) == before


@contextmanager
def asleep(process: int) -> Iterator[None]:
    """Neither it nor anything that it has started gets a moment, as while a laptop is closed."""
    family = [process]
    for one in family:
        for task in Path(f"/proc/{one}/task").iterdir():
            family += map(int, (task / "children").read_text().split())
    for one in family:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in family:
            os.kill(one, signal.SIGCONT)


def test_a_port_that_slept_while_httpd_was_replaced_heals_as_it_wakes(
    stack: Devenv, kubectl: Kubectl
) -> None:
    forwarder = int((stack.state / "kind" / "portforward" / "portforward.pid").read_text())
    with asleep(forwarder):
        kubectl("rollout", "restart", "deployment/httpd")
        kubectl("rollout", "status", "deployment/httpd", "--timeout=120s")
        until(lambda: len(kubectl(*HTTPD).split()) == 2, "the old pods of httpd do not go")
        assert not serves(stack)
    woken = time.monotonic()
    assert until(lambda: serves(stack), "the port does not heal") - woken < 3


def test_a_node_that_does_not_run_is_not_started_by_a_look(stack: Devenv) -> None:
    before = content(stack)
    docker("pause", NODE)
    run = refused(stack, "status", code=4)
    assert "is paused" in run.failure["why"]
    assert "devenv up" in run.failure["next"]
    assert state_of_the_node() == "paused"
    stack.done("up")
    assert content(stack) == before
    docker("stop", NODE)
    for command in ("status", "verify"):
        run = refused(stack, command, code=4)
        assert "is exited" in run.failure["why"]
    assert state_of_the_node() == "exited"
    # The pods are the same: what was in them has outlived the node's end.
    stack.done("up")
    assert content(stack) == before


async def test_a_node_that_is_restarted_keeps_the_content(stack: Devenv) -> None:
    async with writers(stack.stack) as counted:
        await asyncio.sleep(1)
        await asyncio.to_thread(docker, "restart", NODE)
        await asyncio.to_thread(stack.done, "up")
        await asyncio.sleep(1)
    nothing_lost(counted.report)
    stack.done("verify")


def test_objects_that_are_not_devenvs_are_left_alone(stack: Devenv, kubectl: Kubectl) -> None:
    stack.done("down")
    kubectl("create", "deployment", "httpd", "--image=somebody/elses:v1", "--replicas=0")
    kubectl("create", "service", "clusterip", "php-fpm", "--tcp=1234")
    try:
        before = kubectl("get", "deployment/httpd", "service/php-fpm", "--output=jsonpath={..metadata.uid}"
                         " {..metadata.generation} {..spec} {..metadata.labels}")  # fmt: skip
        for command in ("up", "down"):
            run = stack(command)
            if command == "up":
                assert run.code == 1, run.told()
                assert "Deployment httpd" in run.failure["what"]
                assert "Service php-fpm" in run.failure["what"]
                assert "nothing was changed" in run.failure["next"]
        after = kubectl("get", "deployment/httpd", "service/php-fpm", "--output=jsonpath={..metadata.uid}"
                        " {..metadata.generation} {..spec} {..metadata.labels}")  # fmt: skip
        assert after == before
        # Of ours there is nothing beside them: it was all or nothing.
        ours = "deployments,services,pods,secrets,configmaps,networkpolicies,poddisruptionbudgets,ingresses"
        assert kubectl("get", ours, "--selector", "app.kubernetes.io/part-of=devenv", "--output=name") == ""
    finally:
        kubectl("delete", "deployment/httpd", "service/php-fpm")
    restored = stack.done("up")
    assert any("restored" in notice["text"] for notice in restored.of("notice"))


def counts(kubectl: Kubectl) -> tuple[str, str]:
    """How many pods the quota allows, and how many it has counted."""
    hard, _, used = kubectl(
        "get", "quota", "small", "--output=jsonpath={.status.hard.pods} {.status.used.pods}"
    ).partition(" ")
    return hard, used


def test_a_quota_is_named_at_once_and_the_old_release_serves_on(stack: Devenv, kubectl: Kubectl) -> None:
    before = content(stack)
    kubectl("create", "quota", "small", "--hard=pods=3")
    try:
        until(lambda: counts(kubectl) == ("3", "3"), "the quota is not in force")
        run = refused(stack, "upgrade", "--to", "v2")
        assert "serves on with all content" in run.failure["what"]
        assert "exceeded quota: small" in run.failure["why"]
        assert "describe resourcequotas" in run.failure["next"]
        [failed] = [one for one in run.of("step-ended") if one["result"] == "failed"]
        assert (failed["step"], failed["seconds"] < 30) == ("handover", True)
        assert content(stack) == before
        assert len(kubectl.php_fpm()) == 1
        # No pod of httpd may come. If one might, both could: Kubernetes counts behind two at once.
        kubectl("patch", "quota", "small", "--patch", '{"spec":{"hard":{"pods":"1"}}}')
        until(lambda: counts(kubectl)[0] == "1", "the quota is not in force")
        kubectl("delete", "pod", "--selector=app.kubernetes.io/name=httpd", "--wait", "--grace-period=1")
        began = time.monotonic()
        run = refused(stack, "up")
        assert "exceeded quota: small" in run.failure["why"]
        assert time.monotonic() - began < PATIENCE
    finally:
        kubectl("delete", "quota", "small")
    stack.done("up")
    assert content(stack) == before


def test_an_image_that_is_missing_in_the_node_is_brought_again(stack: Devenv, kubectl: Kubectl) -> None:
    before = content(stack)
    image = stack.stack.image("httpd", "v1")
    [pod, _] = kubectl("get", "pods", "--selector=app.kubernetes.io/name=httpd", "--output=name").split()
    docker("exec", NODE, "ctr", "--namespace=k8s.io", "images", "rm", f"docker.io/{image}")
    kubectl("delete", pod, "--wait", "--grace-period=1")
    reason = "--output=jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"
    until(lambda: "ErrImageNeverPull" in kubectl("get", "pods", reason), "its image is there")
    stack.done("up")
    assert content(stack) == before


def test_a_namespace_that_does_not_go_is_told_of_with_what_holds_it(stack: Devenv, kubectl: Kubectl) -> None:
    before = content(stack)
    stack.done("down")
    kubectl("create", "configmap", "held")
    finalizers = '{{"metadata":{{"finalizers":{}}}}}'
    kubectl("patch", "configmap", "held", "--patch", finalizers.format('["example.com/held"]'))
    kubectl("delete", "namespace", "testing", "--wait=false")
    try:
        began = time.monotonic()
        run = refused(stack, "up")
        assert time.monotonic() - began < PATIENCE
        assert "is being deleted" in run.failure["what"]
        assert run.failure["why"] == "held by ConfigMap held (example.com/held)"
        assert "finalizers" in run.failure["next"]
    finally:
        kubectl("patch", "configmap", "held", "--type=merge", "--patch", finalizers.format("null"))
    # It goes meanwhile: that is waited for.
    stack.done("up")
    assert content(stack) == before


def test_a_kubeconfig_that_leads_elsewhere_is_refused(stack: Devenv) -> None:
    kubeconfig = stack.state / "kind" / "kubeconfig"
    ours = kubeconfig.read_text()
    before = content(stack)
    elsewhere = (
        (re.sub(r"(server: \S+:)\d+", r"\g<1>1", ours), "its address"),
        (re.sub(r"(certificate-authority-data: )\S+", r"\g<1>QUJD", ours), "its certificate authority"),
    )
    try:
        for text, what in elsewhere:
            kubeconfig.write_text(text)
            for command in ("status", "up", "down"):
                run = refused(stack, command)
                assert "is not the one that devenv has made" in run.failure["what"]
                assert what in run.failure["why"]
                assert "delete cluster" in run.failure["next"]
    finally:
        kubeconfig.write_text(ours)
    assert content(stack) == before


def test_a_cluster_of_the_same_name_that_was_made_by_hand_is_not_touched(
    stack: Devenv, tmp_path: Path
) -> None:
    before = content(stack)
    stack.done("down")
    program = asyncio.run(programs.path(KIND))
    by_hand = ["--name", NAME, "--kubeconfig", str(tmp_path / "by-hand")]
    subprocess.run([program, "delete", "cluster", *by_hand], check=True, capture_output=True)
    asyncio.run(
        kind.create(
            NAME, stack.state / "kind" / "kind.yaml", stack.stack.images.node, tmp_path / "by-hand", 0
        )
    )
    run = refused(stack, "up")
    assert "is not the one that devenv has made" in run.failure["what"]
    assert "its node" in run.failure["why"]
    theirs = Kubectl(tmp_path / "by-hand")
    assert "testing" not in theirs("get", "namespaces", "--output=name")
    # Without a kubeconfig of ours it is another's from the beginning.
    (stack.state / "kind" / "kubeconfig").rename(tmp_path / "ours")
    run = refused(stack, "up")
    assert "that this devenv has not made" in run.failure["what"]
    assert state_of_the_node() == "running"
    # As the error says.
    subprocess.run([program, "delete", "cluster", "--name", NAME], check=True, capture_output=True)
    killed_while_it_makes_the_cluster(stack)
    restored = stack.done("up")
    assert any("restored" in notice["text"] for notice in restored.of("notice"))
    assert content(stack) == before


def killed_while_it_makes_the_cluster(devenv: Devenv) -> None:
    process = devenv.start("up")
    label = f"label=io.x-k8s.kind.cluster={NAME}"
    until(lambda: docker("ps", "--quiet", "--filter", label), "no node comes")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert not (devenv.state / "kind" / "kubeconfig").exists()


def test_a_node_image_that_is_nowhere_is_told_of(devenv: Devenv, tmp_path: Path) -> None:
    other = make(
        tmp_path / "other", "devenv-kf-other", 'backend = "kind"\n[images]\nnode = "kindest/node:v0.0.0"\n'
    )
    run = refused(other, "up")
    assert "kindest/node:v0.0.0" in run.failure["what"]
    assert (
        docker("ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster=devenv-kf-other{SUFFIX}")
        == ""
    )
