"""Pods as Kubernetes tells of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devenv import assets
from devenv.backends import pods
from devenv.backends.kind import with_workers
from devenv.backends.manifests import kustomization, rolled_out, rollout, undone
from devenv.model.commands import only_reads
from devenv.model.stack import AppSection, Stack


def pod(name: str = "php-fpm-1", **status: Any) -> dict[str, Any]:
    """One whose only container is as `status` has it."""
    conditions = status.pop("conditions", [])
    return {
        "metadata": {
            "name": name,
            "uid": f"uid of {name}",
            "labels": {"app.kubernetes.io/name": "php-fpm"},
            "creationTimestamp": "2026-01-31T12:00:00Z",
        },
        "spec": {"containers": [{"name": "php-fpm", "image": "php-fpm:v1"}]},
        "status": {"phase": "Pending", "conditions": conditions, "containerStatuses": [status]},
    }


READY = [{"type": "Ready", "status": "True"}]


def event(reason: str, message: str = "", of: str = "php-fpm-1") -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"name": of}}


def test_a_pod_that_serves_is_an_instance() -> None:
    status = {"state": {"running": {}}, "imageID": "x@sha256:abc", "started": True}
    one = pods.instance(pod(conditions=READY, **status), 8080)
    assert (one.name, one.service, one.tag, one.digest) == ("php-fpm-1", "php-fpm", "v1", "sha256:abc")
    assert (one.state, one.health, one.port, one.leaving) == ("running", "healthy", 8080, False)


@pytest.mark.parametrize(
    ("status", "state", "health"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "created", "starting"),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}, "restarting", "starting"),
        ({"state": {"running": {}}, "started": True}, "running", "unhealthy"),
        ({"state": {"terminated": {"exitCode": 0}}, "containerID": "c"}, "restarting", "starting"),
        ({}, "created", "starting"),
    ],
)
def test_its_state_is_told_in_an_engines_words(status: dict[str, Any], state: str, health: str) -> None:
    one = pods.instance(pod(**status))
    assert (one.state, one.health) == (state, health)


def test_a_container_is_not_started_again_where_its_pod_has_ended() -> None:
    evicted = pod(state={"terminated": {"exitCode": 137}}, containerID="c")
    evicted["status"]["phase"] = "Failed"
    assert pods.instance(evicted).state == "exited"


FAILED = {"error": "it is not there", "why": "it is gone", "next": "devenv recover"}


def test_what_its_container_has_ended_of_is_known_until_it_runs_again() -> None:
    ended = {"terminated": {"exitCode": 0, "message": json.dumps(FAILED)}}
    backing_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert pods.instance(pod(state=backing_off, lastState=ended, restartCount=1)).failed == FAILED
    assert pods.instance(pod(state=ended, containerID="c")).failed == FAILED
    assert pods.instance(pod(state={"running": {}}, lastState=ended, restartCount=1)).failed is None


@pytest.mark.parametrize("message", ["", "Killed", "[]", '{"error": "half"}'])
def test_an_end_that_nobody_has_written_of_is_just_an_end(message: str) -> None:
    assert pods.instance(pod(state={"terminated": {"message": message}}, containerID="c")).failed is None


def test_one_that_is_being_removed_is_leaving() -> None:
    raw = pod()
    raw["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    assert pods.instance(raw).leaving


def test_only_what_is_not_usual_is_worth_a_word() -> None:
    usual, unusual = (
        pods.Cause("php-fpm-1", "ContainerCreating", "", final=False),
        pods.Cause("php-fpm-1", "Unschedulable", "0/1 nodes\nInsufficient memory", final=False),
    )
    assert (usual.usual, unusual.usual) == (True, False)
    assert unusual.words == "php-fpm-1: Unschedulable: 0/1 nodes Insufficient memory"


WAITING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.mark.parametrize(
    ("raw", "events", "reason", "final"),
    [
        (pod(**WAITING), [], "ContainerCreating", False),
        (pod(state={"waiting": {"reason": "ImagePullBackOff"}}), [], "ImagePullBackOff", True),
        (pod(state={"waiting": {"reason": "ErrImageNeverPull"}}), [], "ErrImageNeverPull", True),
        (pod(**WAITING), [event("FailedPostStartHook")], "FailedPostStartHook", True),
        (pod(**WAITING), [event("FailedPostStartHook", of="another")], "ContainerCreating", False),
        (pod(**WAITING), [event("FailedMount", "no secret")], "FailedMount", False),
        (pod(state={"waiting": {}}, restartCount=2), [], "CrashLoopBackOff", True),
        (pod(state={"running": {}}), [event("Unhealthy", "refused")], "Unhealthy", False),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
            [],
            "Unschedulable",
            False,
        ),
    ],
)
def test_what_keeps_a_pod_has_one_name(
    raw: dict[str, Any], events: list[dict[str, Any]], reason: str, final: bool
) -> None:
    [cause] = pods.causes([raw], events)
    assert (cause.reason, cause.final) == (reason, final)


def test_a_pod_that_is_ready_or_goes_has_no_cause() -> None:
    going = pod()
    going["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    assert list(pods.causes([pod(conditions=READY), going])) == []


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, True),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, False),
        ({}, False),
    ],
)
def test_a_rollout_is_at_its_end_when_only_new_pods_are_there_and_available(
    status: dict[str, int], done: bool
) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert rolled_out(deployment) is done
    assert not rolled_out(None)


def test_the_kustomization_has_the_stacks_values_and_no_secret() -> None:
    stack = Stack(app=AppSection(database="data/blog.sqlite", writable=("data", "web/files"), warmup="/up"))
    images = {"httpd": "httpd:v1", "php-fpm": "php-fpm:v2"}
    made = kustomization(stack, images, "../overlay", httpd=2, namespace="team", more=["mark.json"])
    assert made["resources"] == ["../overlay", "mark.json"]
    assert made["namespace"] == "team"
    assert '"image": "php-fpm:v2"' in made["patches"][1]["patch"]
    assert made["replicas"] == [{"name": "httpd", "count": 2}]
    patch = made["patches"][1]["patch"]
    for value in ("/app/data/blog.sqlite", "/up"):
        assert value in patch
    mounts = [{"name": "data", "mountPath": "/app/data"}, {"name": "data-1", "mountPath": "/app/web/files"}]
    spec = json.loads(patch)["spec"]["template"]["spec"]
    assert spec["containers"][0]["volumeMounts"] == mounts
    assert spec["volumes"] == [{"name": "data", "emptyDir": {}}, {"name": "data-1", "emptyDir": {}}]
    assert '"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}' in patch
    assert made["secretGenerator"][0]["files"] == ["app_secret", "handover"]


def test_a_folder_of_the_manifests_that_this_application_does_not_write_to_is_no_volume() -> None:
    stack = Stack(app=AppSection(database="var/data.db"))
    images = {"httpd": "httpd:v1", "php-fpm": "php-fpm:v1"}
    made = kustomization(stack, images, "../overlay", httpd=1, namespace="team", more=[])
    [container] = json.loads(made["patches"][1]["patch"])["spec"]["template"]["spec"]["containers"]
    assert container["volumeMounts"] == [
        {"name": "data", "mountPath": "/app/var"},
        {"$patch": "delete", "mountPath": "/app/data"},
    ]


def test_a_rollout_changes_the_image_and_what_it_writes_to() -> None:
    assert rollout(240, "php-fpm:v2", 1.5)["template"] == {
        "metadata": {"annotations": {"devenv.io/began": "1.500"}},
        "spec": {
            "containers": [
                {
                    "name": "php-fpm",
                    "image": "php-fpm:v2",
                    "volumeMounts": [{"name": "data", "mountPath": "/app/data"}],
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    # A folder that only the new release writes to has a volume from the beginning.
    more = rollout(240, "php-fpm:v2", 1.5, ("data", "public/uploads"))["template"]["spec"]
    assert [one["name"] for one in more["volumes"]] == ["data", "data-1"]
    # The same image again is another template.
    assert rollout(240, "php-fpm:v2", 2.5)["template"] != rollout(240, "php-fpm:v2", 1.5)["template"]
    assert "template" not in rollout(0)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_was_evicted_has_ended_as_a_whole(phase: str) -> None:
    there = pod()
    assert pods.lives(there)
    there["status"]["phase"] = phase
    assert not pods.lives(there)


def test_a_pod_in_the_place_of_a_lost_one_is_no_newcomer() -> None:
    def of(name: str, template: str) -> dict[str, object]:
        return {"metadata": {"name": name, "labels": {"pod-template-hash": template}}}

    before = [of("lost", "old")]
    assert pods.newcomers([of("in-its-place", "old"), new := of("new", "new")], before) == [new]
    assert pods.newcomers([of("in-its-place", "old")], before) == []


def test_what_is_undone_is_the_whole_template_at_once() -> None:
    template = {"metadata": {"labels": {"app": "php-fpm", "pod-template-hash": "abc"}}, "spec": {"a": 1}}
    assert undone({"spec": {"template": template}}) == [
        {"op": "add", "path": "/spec/minReadySeconds", "value": 0},
        {"op": "add", "path": "/spec/paused", "value": False},
        {
            "op": "add",
            "path": "/spec/template",
            "value": {"metadata": {"labels": {"app": "php-fpm"}}, "spec": {"a": 1}},
        },
    ]


def test_workers_stand_beside_the_control_plane() -> None:
    config = (assets.k8s_folder() / "kind.yaml").read_text()
    assert with_workers(config, 0) == config
    assert with_workers(config, 2).endswith("  - role: control-plane\n  - role: worker\n  - role: worker\n")


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        (("get", "pods"), True),
        (("wait", "--for=delete", "pod/a"), True),
        (("exec", "pod", "--", "gate", "status"), True),
        (("patch", "deployment", "php-fpm"), False),
        (("delete", "pods"), False),
        (("apply", "--kustomize", "get"), False),
    ],
)
def test_what_kubectl_only_reads_is_shown_on_request(words: tuple[str, ...], reads: bool) -> None:
    where = ("kubectl", "--kubeconfig", "k", "--context", "c", "--namespace", "get")
    assert only_reads((*where, *words)) is reads
    pinned = ("kubectl", "--context", "c", "--server", "s", "--certificate-authority", "get")
    assert only_reads((*pinned, *words)) is reads
