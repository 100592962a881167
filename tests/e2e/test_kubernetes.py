"""The main job on a real kind cluster, with devenv and by hand, under load."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv.tools import http, kind
from tests.e2e.cluster import Kubectl, kubeconfig, on_kind
from tests.e2e.conftest import SUFFIX, Devenv, Run, docker, free_port, read_until
from tests.e2e.test_kind import run_checks
from tests.e2e.test_kind_faults import until
from tests.e2e.witness import nothing_lost, writers

pytestmark = pytest.mark.engine

CHECKOUT = Path(__file__).parents[2]
NAME = f"devenv-k8s{SUFFIX}"


@pytest.fixture(scope="module")
def devenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    with on_kind(tmp_path_factory.mktemp("k8s"), "devenv-k8s") as made:
        yield made


@pytest.fixture(scope="module")
def kubectl(devenv: Devenv) -> Kubectl:
    return Kubectl(kubeconfig(devenv))


@pytest.fixture
def stack(devenv: Devenv) -> Devenv:
    """It runs, and serves."""
    devenv.done("up")
    return devenv


def rows(devenv: Devenv) -> dict[str, int]:
    [answer] = devenv.done("verify").of("answer")
    return {name: table["now"] for name, table in answer["data"]["tables"].items()}


def comments(devenv: Devenv) -> int:
    return rows(devenv)["symfony_demo_comment"]


def address(kubectl: Kubectl, pod: str) -> str:
    return kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")


def test_the_whole_story_on_a_cluster(devenv: Devenv, kubectl: Kubectl) -> None:
    up = devenv.done("up")
    assert up.of("action-ended")[0]["url"] == devenv.stack.url
    assert run_checks(devenv)["port"] == "ok"
    [before] = kubectl.php_fpm()
    began = comments(devenv)
    avatar = "content of a person's own"
    php = f"mkdir('data/avatars'); file_put_contents('data/avatars/me', \"{avatar}\");"
    kubectl("exec", before, "--", "php8.2", "-r", php)

    def is_there() -> bool:
        """What an application has put beside its database."""
        [pod] = kubectl.php_fpm()
        return kubectl("exec", pod, "--", "cat", "data/avatars/me") == avatar

    upgraded = devenv.done("upgrade", "--to", "v2", "--probe", "4")
    [after] = kubectl.php_fpm()
    assert after != before
    receipt = upgraded.receipt
    assert receipt["verified"]
    assert (receipt["old"]["release"], receipt["new"]["release"]) == ("v1", "v2")
    assert (receipt["old"]["instance"], receipt["new"]["instance"]) == (before, after)
    assert receipt["new"]["digest"].startswith("sha256:")
    probe = receipt["probe"]
    assert (probe["lost"], probe["failed"], probe["duplicated"], probe["uncounted"]) == (0, 0, 0, None)
    assert all(probe["by_phase"][phase] > 0 for phase in ("before", "held", "relayed", "after"))
    # Live: both sides are told while the hook runs.
    told = {(event["side"], event["phase"]): event["time"] for event in upgraded.of("phase-reached")}
    [handover] = [event for event in upgraded.of("step-ended") if event["step"] == "handover"]
    assert told["owner", "closing"] < told["owner", "moved"] < handover["time"]
    assert told["successor", "discover"] < told["successor", "opened"] < handover["time"]
    assert comments(devenv) == began + probe["acknowledged"]
    assert receipt["beside"]["changed"]["files"] >= 1
    assert is_there()

    back = devenv.done("rollback")
    assert back.receipt["new"]["release"] == "v1"
    there = comments(devenv)
    assert there == began + probe["acknowledged"]

    devenv.done("down")
    assert kubectl.php_fpm() == []
    again = devenv.done("up")
    assert any("restored" in notice["text"] for notice in again.of("notice"))
    assert comments(devenv) == there
    assert is_there()


async def test_a_pod_that_is_deleted_hands_over_under_load(stack: Devenv, kubectl: Kubectl) -> None:
    [before] = kubectl.php_fpm()
    async with writers(stack.stack) as counted:
        await asyncio.sleep(1)
        await asyncio.to_thread(kubectl, "delete", "pod", before)
        await asyncio.sleep(3)
    nothing_lost(counted.report)
    assert counted.report.failures == []
    [after] = kubectl.php_fpm()
    assert after != before


async def test_an_undo_in_the_middle_of_a_hand_over_hands_back(stack: Devenv, kubectl: Kubectl) -> None:
    [before] = kubectl.php_fpm()
    image = stack.stack.image("php-fpm", "v2")
    async with writers(stack.stack) as counted:
        await asyncio.sleep(1)
        await asyncio.to_thread(kubectl, "set", "image", "deployment/php-fpm", f"php-fpm={image}")
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(kubectl.php_fpm)) < 2:
                pass
        await asyncio.to_thread(kubectl, "rollout", "undo", "deployment/php-fpm")
        await asyncio.to_thread(kubectl, "rollout", "status", "deployment/php-fpm", "--timeout=120s")
        await asyncio.sleep(8)
    nothing_lost(counted.report)
    assert counted.report.failures == []
    assert kubectl.php_fpm() == [before]
    [answer] = stack.done("status").of("answer")
    assert answer["data"]["release"] == "v1"


def test_a_release_that_cannot_serve_leaves_the_old_one_at_work(stack: Devenv, kubectl: Kubectl) -> None:
    before = kubectl.php_fpm()
    template = kubectl("get", "deployment", "php-fpm", "-o", "jsonpath={.spec.template}")
    stack.done("build", "--release", "v2")
    image = stack.stack.image("php-fpm", "broken")
    broken = "USER root\nRUN echo '<?php http_response_code(500);' > /app/public/index.php\nUSER www-data"
    recipe = f"FROM {stack.stack.image('php-fpm', 'v2')}\n{broken}\nENV GATE_RELEASE=broken\n"
    docker("build", "--quiet", "--tag", image, "-", stdin=recipe)
    run = stack("upgrade", "--to", "broken")
    assert run.code == 1
    assert "serves on with all content" in run.failure["what"]
    assert "500" in run.failure["why"]
    assert kubectl("get", "deployment", "php-fpm", "-o", "jsonpath={.spec.template}") == template
    assert kubectl.php_fpm() == before
    stack.done("verify")


@pytest.mark.parametrize("folder", ["base", "overlays/registry"])
def test_the_manifests_are_accepted_as_they_stand(stack: Devenv, kubectl: Kubectl, folder: str) -> None:
    said = kubectl("apply", "--kustomize", str(CHECKOUT / "k8s" / folder), "--dry-run=server",
                   "--server-side", "--force-conflicts", "-o", "name")  # fmt: skip
    assert "ingress.networking.k8s.io/httpd" in said
    assert "deployment.apps/php-fpm" in said


async def test_a_new_size_of_the_pod_comes_by_a_hand_over(stack: Devenv, kubectl: Kubectl) -> None:
    before = kubectl.php_fpm()
    config = stack.folder / "devenv.toml"
    written = config.read_text()
    config.write_text(f'{written}[pod]\nmemory = "600Mi"\n')
    try:
        async with writers(stack.stack) as counted:
            await asyncio.sleep(1)
            await asyncio.to_thread(stack.done, "up")
    finally:
        config.write_text(written)
    nothing_lost(counted.report)
    assert counted.report.failures == []
    [after] = kubectl.php_fpm()
    assert after not in before
    limit = "jsonpath={.spec.containers[0].resources.limits.memory}"
    assert kubectl("get", "pod", after, "-o", limit) == "600Mi"


def test_what_keeps_a_pod_waiting_is_said_while_it_waits(stack: Devenv, kubectl: Kubectl) -> None:
    before = kubectl.php_fpm()
    config = stack.folder / "devenv.toml"
    written = config.read_text()
    config.write_text(f'{written}[pod]\nmemory = "900Gi"\n')
    process = stack.start("up")
    try:
        read = []
        while not (read and read[-1]["event"] == "step-noted" and read[-1]["text"]):
            read += read_until(process, event="step-noted")
            assert read[-1]["event"] == "step-noted", read
        process.send_signal(signal.SIGINT)
        run = stack.finish(process, read)
    finally:
        config.write_text(written)
    assert run.code == 130, run.told()
    assert "Unschedulable" in read[-1]["text"]
    assert "Insufficient memory" in read[-1]["text"]
    stack.done("up")
    assert kubectl.php_fpm() == before


def test_a_log_goes_on_over_a_restart_of_its_container(stack: Devenv, kubectl: Kubectl) -> None:
    def started(run: Run) -> int:
        lines = [line for line in run.of("log-line") if line["source"] == pod]
        return sum("resuming normal operations" in line["text"] for line in lines)

    names = "jsonpath={.items[*].metadata.name}"
    pod = kubectl("get", "pods", "-l", "app.kubernetes.io/name=httpd", "-o", names).split()[0]
    count = ("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
    assert (started(stack.done("logs", "httpd")), kubectl(*count)) == (1, "0")
    following = stack.start("logs", "httpd", "--follow")
    try:
        read = read_until(following, event="log-line", source=pod)
        kubectl("exec", pod, "--", "sh", "-c", "(sleep 1; kill -TERM 1) </dev/null >/dev/null 2>&1 &")
        ends = time.monotonic() + 60
        while kubectl(*count) != "1":
            assert time.monotonic() < ends
        kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=60s")
        while started(Run(0, read, "")) < 2:
            read += read_until(following, event="log-line", source=pod)
            assert read[-1]["event"] == "log-line", read
    finally:
        following.terminate()
    assert started(stack.finish(following, read)) == 2
    # The node may be too busy to give a log at the first time.
    until(lambda: started(stack.done("logs", "httpd")) == 2, "the log of the first one is not told", 30)


def test_the_port_stays_when_httpd_is_replaced(stack: Devenv, kubectl: Kubectl) -> None:
    """`writers` asks nothing twice: a request that finds nobody counts as failed."""

    async def replaced() -> None:
        async with writers(stack.stack) as counted:
            await asyncio.sleep(1)
            await asyncio.to_thread(kubectl, "rollout", "restart", "deployment/httpd")
            await asyncio.to_thread(kubectl, "rollout", "status", "deployment/httpd", "--timeout=120s")
            await asyncio.sleep(8)
        nothing_lost(counted.report)
        assert counted.report.failures == []

    asyncio.run(replaced())


def commands(file: Path) -> list[str]:
    mark = "    "
    found = [line.removeprefix(mark) for line in file.read_text().splitlines() if line.startswith(mark)]
    return [line for line in found if line.startswith(("kubectl", "sed"))]


async def test_the_documented_way_by_hand_keeps_the_content(
    stack: Devenv, kubectl: Kubectl, tmp_path: Path
) -> None:
    """Line by line as the document has it, on the cluster that is there."""
    stack.done("reset", "--yes")
    shutil.copytree(CHECKOUT / "k8s", tmp_path / "k8s")
    names = [f"{service}:{tag}" for service, tag in (("httpd", "v1"), ("php-fpm", "v1"), ("php-fpm", "v2"))]
    for name in names:
        docker("tag", stack.stack.image(*name.split(":")), f"byhand/{name}")
    manifests = tmp_path / "k8s" / "base"
    for file in manifests.glob("*-deployment.yaml"):
        file.write_text(re.sub(r"image: (httpd|php-fpm):", r"image: byhand/\1:", file.read_text()))
    await kind.load(NAME, [f"byhand/{name}" for name in names])
    port = free_port()
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    environment["PATH"] = f"{Path(kubectl.program).parent}{os.pathsep}{environment['PATH']}"

    def types(line: str) -> None:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    namespace, secret, httpd, php_fpm, status, forward, tag, apply, wait = [
        line
        for line in commands(CHECKOUT / "docs" / "kubernetes.md")
        if not line.startswith("kubectl apply -k")
    ]
    try:
        for line in (namespace, secret, httpd, php_fpm, status):
            types(line)
        argv = forward.replace("8080:80", f"{port}:80").split()
        log = tmp_path / "forward.log"
        with log.open("wb") as said:
            forwarding = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=said)
        try:
            while "Forwarding" not in log.read_text():
                await asyncio.sleep(0.1)
            await http.until_it_serves(port, "/healthz", 30)
            here = stack.stack.model_copy(
                update={"stack": stack.stack.stack.model_copy(update={"port": port})}
            )
            async with writers(here) as counted:
                await asyncio.sleep(1)
                for line in (tag, apply, wait):
                    await asyncio.to_thread(types, line)
                await asyncio.sleep(8)
        finally:
            forwarding.kill()
            await forwarding.wait()
        nothing_lost(counted.report)
        assert counted.report.failures == []
        [pod] = kubectl.php_fpm()
        image = kubectl("get", "pod", pod, "-o", "jsonpath={.spec.containers[0].image}")
        assert image == "byhand/php-fpm:v2"
    finally:
        types("kubectl delete deployment,service,secret,pod -n testing --all --wait --grace-period=1")
        for name in names:
            docker("image", "rm", f"byhand/{name}")


LISTEN = "import socket, time; s = socket.create_server(('', 9000)); time.sleep(900)"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""


def test_a_stranger_reaches_no_instance_where_the_network_enforces_policies(
    stack: Devenv, kubectl: Kubectl, tmp_path: Path
) -> None:
    """Whether it does, a policy of the test's own tells: that of a pod which nobody may reach.

    Where it does not, the test can see only that they are there, and for each pod.
    """
    there = kubectl("get", "networkpolicies", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert sorted(there) == ["default-deny", "httpd", "names", "php-fpm"]
    denied = json.loads(kubectl("get", "networkpolicy", "default-deny", "-o", "json"))["spec"]["podSelector"]
    [(label, value)] = denied["matchLabels"].items()
    assert kubectl("get", "pods", "-o", "name") == kubectl(
        "get", "pods", "-l", f"{label}={value}", "-o", "name"
    )
    outside = Kubectl(kubeconfig(stack), "default")
    [php_fpm] = kubectl.php_fpm()
    image = kubectl("get", "pod", php_fpm, "-o", "jsonpath={.spec.containers[0].image}")

    def pod(name: str) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "python", "image": image, "imagePullPolicy": "Never"}
        container |= {"command": ["python3", "-c", LISTEN]}
        container |= {"readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1}}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": spec,
        }

    shut = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "shut"},
        "spec": {"podSelector": {"matchLabels": {"app": "shut"}}, "policyTypes": ["Ingress"]},
    }
    made = tmp_path / "strangers.json"
    made.write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [shut, pod("shut"), pod("stranger")]})
    )

    def reaches(there: str, port: int) -> bool:
        told = outside("exec", "stranger", "--", "python3", "-c", CONNECT, there, str(port))
        assert told in ("reached", "TimeoutError", "ConnectionRefusedError")
        return told == "reached"

    outside("apply", "--filename", str(made))
    try:
        outside("wait", "--for=condition=Ready", "pod/shut", "pod/stranger", "--timeout=60s")
        enforced = not reaches(address(outside, "shut"), 9000)
        httpd = kubectl("get", "pods", "-l", "app.kubernetes.io/name=httpd", "-o", "name").split()[0]
        assert reaches(address(kubectl, httpd.removeprefix("pod/")), 8080)
        for port in (9000, 9010):
            assert reaches(address(kubectl, php_fpm), port) is not enforced
    finally:
        outside("delete", "--filename", str(made), "--wait=false")


def test_the_cluster_goes_when_a_person_says_so(devenv: Devenv) -> None:
    run = devenv.done("down", "--cluster")
    assert run.of("step-ended")[-1]["step"] == "cluster"
    assert NAME not in asyncio.run(kind.clusters())
