"""The faults of a hand-over between real pods: killed, cut off, corrupted, refused. Nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from devenv.backends.kubernetes import GRACE
from tests.e2e.cluster import Kubectl, kubeconfig, on_kind
from tests.e2e.conftest import PATIENCE, SUFFIX, Devenv, Run, docker, read_until
from tests.e2e.test_kind_faults import until
from tests.e2e.witness import content, held, nothing_lost, python, variant, with_fault, writers

pytestmark = pytest.mark.engine

NODE = f"devenv-hf{SUFFIX}-control-plane"
SHORTEST = "51"
"""Seconds of a hook: those in which names may be old, those in which an owner may come back, and one more."""
MISSING = "the instance that has the content is not there"
CUT = ("FORWARD", "--protocol", "tcp", "--sport", "9010", "--jump", "DROP")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    with on_kind(tmp_path_factory.mktemp("hf"), "devenv-hf") as made:
        made.done("build", "--release", "v2")
        yield made


@pytest.fixture
def stack(cluster: Devenv) -> Devenv:
    """It serves v1 or v2, from one pod."""
    cluster.done("up")
    if release(cluster) not in ("v1", "v2"):
        cluster.done("upgrade", "--to", "v2")
    return cluster


@pytest.fixture
def kubectl(stack: Devenv) -> Kubectl:
    return Kubectl(kubeconfig(stack))


def release(devenv: Devenv) -> str:
    [answer] = devenv.done("status").of("answer")
    return str(answer["data"]["release"])


def other(devenv: Devenv) -> str:
    """A release that it does not have."""
    return "v1" if release(devenv) == "v2" else "v2"


def gate(kubectl: Kubectl, pod: str) -> list[str]:
    """The beginning of a command in the pod."""
    where = ["--kubeconfig", str(kubectl.kubeconfig), "--namespace", "testing"]
    return [kubectl.program, *where, "exec", "--stdin", pod, "--"]


def one_owner(kubectl: Kubectl) -> dict[str, object]:
    """The stack as it is left: one pod, at work."""
    [pod] = kubectl.php_fpm()
    status: dict[str, object] = json.loads(kubectl("exec", pod, "--", "gate", "status"))
    assert (status["role"], status["state"], status["ready"]) == ("owner", "open", True)
    return status


def other_than(kubectl: Kubectl, pod: str) -> str:
    [new] = [one for one in kubectl.php_fpm() if one != pod]
    return new


def phases(events: Sequence[dict[str, object]], side: str) -> list[object]:
    return [one["phase"] for one in events if one["event"] == "phase-reached" and one["side"] == side]


def events(kubectl: Kubectl, pod: str, reason: str) -> int:
    """How often Kubernetes tells this of a pod, which may be gone."""
    about = f"--field-selector=involvedObject.name={pod},reason={reason}"
    found = json.loads(kubectl("get", "events", about, "--output=json"))["items"]
    return sum(one["count"] for one in found)


@contextmanager
def cut() -> Iterator[None]:
    """Within, no pod hears of another one's gate. What httpd asks of php-fpm passes.

    What is asked of a gate arrives, so the owner closes whenever it is cut; its answers are lost.
    """
    docker("exec", NODE, "iptables", "--insert", *CUT)
    try:
        yield
    finally:
        docker("exec", NODE, "iptables", "--delete", *CUT)


@pytest.mark.parametrize("phase", ["leased", "completed"])
async def test_a_new_pod_that_is_killed_costs_no_write_and_no_request(
    stack: Devenv, kubectl: Kubectl, phase: str
) -> None:
    before, faulty = release(stack), with_fault(stack, f"successor.{phase}")
    async with writers(stack.stack) as counted:
        run = await asyncio.to_thread(stack, "upgrade", "--to", faulty)
    nothing_lost(counted.report)
    assert counted.report.failures == [], run.told()
    [new] = {one["instance"] for one in run.of("phase-reached") if one["side"] == "successor"}
    until(lambda: events(kubectl, new, "FailedPostStartHook") > 0, "its hook was not cut off")
    assert one_owner(kubectl)["release"] == (faulty if run.code == 0 else before), run.told()
    if phase == "completed":
        assert run.code == 0, run.told()
        assert run.receipt["verified"]
    if run.code != 0:
        assert "serves on with all content" in run.failure["what"]


@pytest.mark.parametrize("phase", ["closed", "moved"])
async def test_an_old_pod_that_is_killed_costs_no_write(stack: Devenv, kubectl: Kubectl, phase: str) -> None:
    faulty = with_fault(stack, f"owner.{phase}")
    await asyncio.to_thread(stack.done, "upgrade", "--to", faulty)
    [old] = kubectl.php_fpm()
    async with writers(stack.stack) as counted:
        run = await asyncio.to_thread(stack, "upgrade", "--to", "v2")
    nothing_lost(counted.report)
    until(lambda: events(kubectl, old, "Started") > 1, "it was not killed")
    if run.code != 0:
        assert "serves on with all content" in run.failure["what"]
    assert one_owner(kubectl)["release"] == ("v2" if run.code == 0 else faulty), run.told()


async def test_a_network_that_is_cut_while_the_owner_is_closed_opens_it_again_and_the_upgrade_goes_on(
    stack: Devenv, kubectl: Kubectl
) -> None:
    [old], after = kubectl.php_fpm(), other(stack)
    async with writers(stack.stack) as counted:
        with held(gate(kubectl, old)) as let_go:
            upgrading = stack.start("upgrade", "--to", after)
            read = await asyncio.to_thread(read_until, upgrading, phase="lease")
            with cut():
                let_go()
                read += await asyncio.to_thread(read_until, upgrading, phase="reopened")
                await asyncio.sleep(1)
        run = await asyncio.to_thread(stack.finish, upgrading, read)
    assert run.code == 0, run.told()
    nothing_lost(counted.report)
    assert counted.report.failures == []
    told = phases(run.events, "owner")
    assert told.index("closed") < told.index("reopened") < told.index("moved")
    assert run.receipt["verified"]
    assert one_owner(kubectl)["release"] == after


async def test_a_network_that_stays_cut_ends_the_upgrade_and_the_old_pod_serves_on(
    stack: Devenv, kubectl: Kubectl
) -> None:
    """The release does not wait for its owner for longer than it must, that the test may not take longer."""
    before, there = release(stack), kubectl.php_fpm()
    impatient = variant(stack, "impatient", GATE_DEADLINE_HOOK=SHORTEST)
    async with writers(stack.stack) as counted:
        with cut():
            run = await asyncio.to_thread(stack, "upgrade", "--to", impatient)
    assert run.code == 1, run.told()
    assert "serves on with all content" in run.failure["what"]
    assert "does not answer" in run.failure["what"] + run.failure["why"]
    nothing_lost(counted.report)
    assert counted.report.failures == []
    assert kubectl.php_fpm() == there
    assert one_owner(kubectl)["release"] == before


SPOIL = """
from devenv.handover.settings import Settings
path = Settings.from_env().staging / "database.sqlite"
with open(path, "r+b") as file:
    file.seek(path.stat().st_size // 2)
    byte = file.read(1)
    file.seek(-1, 1)
    file.write(bytes([byte[0] ^ 1]))
"""


def test_a_copy_that_is_corrupted_on_the_way_never_becomes_the_content(
    stack: Devenv, kubectl: Kubectl
) -> None:
    before = content(stack)
    [old] = kubectl.php_fpm()
    with held(gate(kubectl, old)) as let_go:
        upgrading = stack.start("upgrade", "--to", other(stack))
        read = read_until(upgrading, phase="lease")
        new = other_than(kubectl, old)
        subprocess.run(python(gate(kubectl, new), SPOIL), check=True, stdin=subprocess.DEVNULL)
        let_go()
    run = stack.finish(upgrading, read)
    assert run.code == 0, run.told()
    refused = [one["details"]["error"] for one in run.of("phase-reached") if one["phase"] == "waiting"]
    assert "the copy of the database is not the owner's" in refused
    assert phases(run.events, "successor").count("verified") == 1
    assert run.receipt["verified"]
    assert content(stack) == before


def test_another_secret_is_refused_and_the_running_pod_keeps_the_one_that_it_has(
    stack: Devenv, kubectl: Kubectl
) -> None:
    before, there = content(stack), kubectl.php_fpm()
    kept = kubectl("get", "secret", "php-fpm", "--output=jsonpath={.data.handover}")
    change = ("patch", "secret", "php-fpm", "--patch")
    kubectl(*change, json.dumps({"stringData": {"handover": "0" * 64}}))
    try:
        run = stack("upgrade", "--to", other(stack))
    finally:
        kubectl(*change, json.dumps({"data": {"handover": kept}}))
    assert run.code == 1
    assert "secret" in run.failure["what"]
    assert "serves on with all content" in run.failure["what"]
    assert kubectl.php_fpm() == there
    assert content(stack) == before


@pytest.mark.parametrize(
    ("number", "phase"),
    [(signal.SIGINT, "discover"), (signal.SIGKILL, "discover"), (signal.SIGKILL, "completed")],
)
async def test_an_interrupted_upgrade_is_undone_or_finished(
    stack: Devenv, kubectl: Kubectl, number: signal.Signals, phase: str
) -> None:
    after = other(stack)
    async with writers(stack.stack) as counted:
        upgrading = stack.start("upgrade", "--to", after)
        read = await asyncio.to_thread(read_until, upgrading, phase=phase)
        upgrading.send_signal(number)
        run = await asyncio.to_thread(stack.finish, upgrading, read)
        if number is signal.SIGKILL:
            assert run.code == -signal.SIGKILL
            await asyncio.to_thread(stack.done, "up")
    nothing_lost(counted.report)
    assert counted.report.failures == []
    status = one_owner(kubectl)
    if number is signal.SIGINT:
        assert run.code == (0 if status["release"] == after else 130), run.told()
    if phase == "completed":
        assert status["release"] == after


def test_two_upgrades_at_once_are_one(stack: Devenv, kubectl: Kubectl) -> None:
    after = other(stack)
    first = stack.start("upgrade", "--to", after)
    read = read_until(first, phase="discover")
    second = stack("upgrade", "--to", after)
    assert second.code == 1
    assert "another devenv is at work" in second.failure["what"]
    assert stack.finish(first, read).code == 0
    assert one_owner(kubectl)["release"] == after


def test_an_upgrade_to_the_release_that_runs_is_one(stack: Devenv, kubectl: Kubectl) -> None:
    [old] = kubectl.php_fpm()
    run = stack.done("upgrade", "--to", release(stack))
    assert run.receipt["verified"]
    assert run.receipt["old"]["instance"] == old
    assert kubectl.php_fpm() == [run.receipt["new"]["instance"]] != [old]


def test_a_pod_that_is_deleted_by_force_still_hands_over_if_it_can(stack: Devenv, kubectl: Kubectl) -> None:
    """Kubernetes forgets it at once, but lets it end; its successor knows it already."""
    before, there, after = content(stack), release(stack), other(stack)
    [old] = kubectl.php_fpm()
    with held(gate(kubectl, old)):
        upgrading = stack.start("upgrade", "--to", after)
        read = read_until(upgrading, phase="lease")
        kubectl("delete", "pod", old, "--force", "--grace-period=0")
    run = stack.finish(upgrading, read)
    status = one_owner(kubectl)
    assert status["release"] == (after if run.code == 0 else there), run.told()
    if run.code != 0:
        assert "serves on with all content" in run.failure["what"]
    elif not run.of("receipt-written"):
        assert "nothing was compared" in run.of("notice")[-1]["text"]
    assert content(stack) == before


def test_a_pod_that_is_lost_in_mid_upgrade_is_told_of_with_the_snapshot_of_its_content(
    stack: Devenv, kubectl: Kubectl
) -> None:
    stack.done("probe", "--seconds", "1")
    before = content(stack)
    [old] = kubectl.php_fpm()
    impatient = variant(stack, "impatient", GATE_DEADLINE_HOOK=SHORTEST, GATE_DEADLINE_REPLY="5")
    with held(gate(kubectl, old)):
        upgrading = stack.start("upgrade", "--to", impatient)
        read = read_until(upgrading, phase="lease")
        removed_by_force(kubectl, old)
        run = stack.finish(upgrading, read)
    assert run.code == 1, run.told()
    assert f"{old} was removed in the middle of the upgrade" in run.failure["what"], run.told()
    # The pod in the place of the old one has waited for the new one as well, until that was gone.
    until(lambda: MISSING in stack("up").failure["what"], "it does not say who is missing", PATIENCE)
    recovered(stack, kubectl)
    stack.done("snapshot", "restore", snapshot_of(run.failure["next"]), "--yes")
    assert content(stack) == before


def test_nothing_begins_anew_where_a_pod_is_lost_until_a_person_says_so(
    stack: Devenv, kubectl: Kubectl
) -> None:
    stack.done("probe", "--seconds", "1")
    stack.done("snapshot", "save")
    before = content(stack)
    [old] = kubectl.php_fpm()
    removed_by_force(kubectl, old)
    for _ in range(2):
        missed(stack, old)
    stack.done("snapshot", "restore", snapshot_of(recovered(stack, kubectl)), "--yes")
    assert content(stack) == before
    # Once: what is there now is known.
    assert not lost(stack.done("up"))


def test_no_pod_serves_beside_one_that_is_not_listed_any_more(stack: Devenv, kubectl: Kubectl) -> None:
    """As one takes a pod out to look at it: its Deployment makes another one, which does not find it."""
    before = content(stack)
    [old] = kubectl.php_fpm()
    kubectl("label", "pod", old, "app.kubernetes.io/name-")
    try:
        missed(stack, old)
        [new] = kubectl.php_fpm()
        assert new != old
        assert "True" not in ready(kubectl, new)
    finally:
        kubectl("label", "pod", old, "app.kubernetes.io/name=php-fpm")
    until(lambda: kubectl.php_fpm() == [old], "there are two pods")
    stack.done("up")
    assert content(stack) == before


async def test_one_that_takes_the_content_over_is_marked_as_its_owner(
    stack: Devenv, kubectl: Kubectl
) -> None:
    stack.done("upgrade", "--to", other(stack))
    [new] = kubectl.php_fpm()
    assert json.loads(marked(kubectl))["host"] == new
    before = json.loads(marked(kubectl))["lineage"]
    stack.done("snapshot", "save")
    stack.done("snapshot", "restore", "latest", "--yes")
    status = one_owner(kubectl)
    assert status["lineage"] != before
    assert json.loads(marked(kubectl))["lineage"] == status["lineage"]


def test_a_down_that_is_cut_off_leaves_an_owner_that_waits_for_its_replacement(
    stack: Devenv, kubectl: Kubectl
) -> None:
    before = content(stack)
    downing = stack.start("down")
    read = read_until(downing, event="step-started", step="stop")
    downing.send_signal(signal.SIGKILL)
    stack.finish(downing, read)
    stack.done("up")
    [old] = kubectl.php_fpm()
    kubectl("delete", "pod", old, "--wait", "--timeout=120s")
    kubectl("rollout", "status", "deployment/php-fpm", "--timeout=120s")
    assert kubectl.php_fpm() != [old]
    assert content(stack) == before


def test_a_pod_that_was_evicted_is_missed_and_keeps_nobody_waiting(stack: Devenv, kubectl: Kubectl) -> None:
    """Kubernetes lists it on, but its volumes are gone, and with them the content."""
    stack.done("probe", "--seconds", "1")
    stack.done("snapshot", "save")
    before = content(stack)
    limit_data(kubectl, "16Mi")
    try:
        assert content(stack) == before
        # Its rollout was begun by hand: now devenv sees who owns the content.
        stack.done("up")
        [old] = kubectl.php_fpm()
        kubectl("exec", old, "--", "dd", "if=/dev/zero", "of=/app/data/too-much", "bs=1M", "count=32")
        until(lambda: "Evicted" in told_of(kubectl, old), "Kubernetes lets it go beyond its limit", 240)
        began = time.monotonic()
        missed(stack, old)
        assert time.monotonic() - began < GRACE / 2
        assert "Evicted" in told_of(kubectl, old)
        stack.done("snapshot", "restore", snapshot_of(recovered(stack, kubectl)), "--yes")
    finally:
        limit_data(kubectl, None)
    assert content(stack) == before
    assert one_owner(kubectl)
    began = time.monotonic()
    stack.done("upgrade", "--to", other(stack))
    assert time.monotonic() - began < GRACE / 2
    assert content(stack) == before


def limit_data(kubectl: Kubectl, size: str | None) -> None:
    volume = {"name": "data", "emptyDir": {"sizeLimit": size}}
    patch = {"spec": {"template": {"spec": {"volumes": [volume]}}}}
    kubectl("patch", "deployment", "php-fpm", "--patch", json.dumps(patch))
    kubectl("rollout", "status", "deployment/php-fpm", "--timeout=240s")


def told_of(kubectl: Kubectl, pod: str) -> str:
    return kubectl("get", "pod", pod, "--output=jsonpath={.status.phase} {.status.reason}")


def missed(stack: Devenv, pod: str) -> None:
    """`up` fails, and says whom it waits for."""
    run = stack("up")
    assert run.code == 1, run.told()
    assert MISSING in run.failure["what"], run.told()
    assert pod in run.failure["why"]
    assert "devenv recover --from" in run.failure["next"]


def recovered(stack: Devenv, kubectl: Kubectl) -> str:
    """A person says that whoever has the content is gone for good; what is told of the one that begins."""
    [new] = kubectl.php_fpm()
    run = stack.done("recover", "--from", new, "--yes")
    [told] = [one["text"] for one in run.of("notice") if "first content" in one["text"]]
    kubectl("rollout", "status", "deployment/php-fpm", "--timeout=120s")
    return str(told)


def ready(kubectl: Kubectl, pod: str) -> str:
    return kubectl("get", "pod", pod, "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}")


def marked(kubectl: Kubectl) -> str:
    return kubectl("get", "configmap", "php-fpm-mark", "--output=jsonpath={.data.owner\\.json}")


def lost(run: Run) -> list[str]:
    """Where it is told that content is."""
    texts = [one["text"] for one in run.of("notice") if one["level"] == "warning"]
    return [text for text in texts if "the instance that had the content is gone" in text]


def removed_by_force(kubectl: Kubectl, pod: str) -> None:
    """As a node that hangs: what runs in the pod does not hear of its end, so it hands nothing over."""
    id_ = kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].containerID}")
    tasks = docker("exec", NODE, "ctr", "--namespace=k8s.io", "tasks", "ls").splitlines()
    [pid] = [line.split()[1] for line in tasks if line.startswith(id_.rpartition("/")[2])]
    docker("exec", NODE, "kill", "-STOP", pid)
    kubectl("delete", "pod", pod, "--force", "--grace-period=0")


def snapshot_of(words: str) -> str:
    """The one that they offer."""
    return words.rpartition("devenv snapshot restore ")[2]
