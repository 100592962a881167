"""Pods as Kubernetes tells of them: what each one is, and what keeps one from running. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from devenv.model.instance import Instance
from devenv.tools.kubectl import Object, condition, holds, name_of

NAME_LABEL = "app.kubernetes.io/name"
HASH_LABEL = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"


def instance(pod: Object, port: int | None = None) -> Instance:
    """`port`: on this machine, where requests to it arrive."""
    main = pod["spec"]["containers"][0]
    status = _status(pod)
    return Instance(
        id=pod["metadata"]["uid"],
        name=name_of(pod),
        service=service(pod),
        image=main["image"],
        digest=digest(status.get("imageID", "")),
        created=moment(pod["metadata"]["creationTimestamp"]),
        state=_state(pod, status),
        health=_health(pod),
        port=port,
        leaving="deletionTimestamp" in pod["metadata"],
        restarts=status.get("restartCount", 0),
        failed=_last_words(status),
    )


def service(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get(NAME_LABEL, ""))


def lives(pod: Object) -> bool:
    """Whether its containers run, or will: else its volumes have gone with it."""
    return pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")


def template(of: Object) -> str:
    """Which one a pod, or a ReplicaSet, has."""
    return str(of["metadata"]["labels"].get(HASH_LABEL, ""))


def made_by(pod: Object) -> str:
    """The name of its ReplicaSet."""
    [owner] = [one for one in pod["metadata"]["ownerReferences"] if one["kind"] == "ReplicaSet"]
    return str(owner["name"])


def newcomers(there: Sequence[Object], before: Sequence[Object]) -> list[Object]:
    """Those of another template. One in the place of a pod that was lost has the same as that."""
    known = {template(pod) for pod in before}
    return [pod for pod in there if template(pod) not in known]


def revision(replicas: Object) -> int:
    """The higher, the later it was what a Deployment wants."""
    return int(replicas["metadata"].get("annotations", {}).get(_REVISION, 0))


def digest(image_id: str) -> str:
    """`sha256:…` of what the node's runtime calls an image."""
    return image_id.rpartition("@")[2]


def moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _status(pod: Object) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return dict(statuses[0])


def _state(pod: Object, status: Mapping[str, Any]) -> str:
    """In the words of a container engine."""
    if "running" in status.get("state", {}):
        return "running"
    if not (status.get("containerID") or status.get("restartCount")):
        return "created"
    # One that has ended is started again, with what it had, unless its pod has ended as a whole.
    return "restarting" if lives(pod) else "exited"


def _last_words(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a hook that failed has written down of the end of its container, until that runs again."""
    if "running" in status.get("state", {}):
        return None
    for state in ("state", "lastState"):
        with suppress(ValueError):
            said = json.loads(status.get(state, {}).get("terminated", {}).get("message", ""))
            if isinstance(said, dict) and said.keys() >= {"error", "why", "next"}:
                return said
    return None


def _health(pod: Object) -> str:
    if holds(pod, "Ready"):
        return "healthy"
    return "unhealthy" if _status(pod).get("started") else "starting"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a pod does not run."""

    pod: str
    reason: str
    """In one word, Kubernetes' own."""
    message: str
    final: bool
    """It does not come right by waiting."""

    @property
    def usual(self) -> bool:
        """Each pod is kept by this for a moment."""
        return self.reason in _USUAL

    @property
    def words(self) -> str:
        """In one line."""
        return ": ".join(filter(None, (self.pod, self.reason, " ".join(self.message.split()))))


HOOK = "FailedPostStartHook"
ABSENT = "ErrImageNeverPull"
_FINAL = {
    ABSENT, "InvalidImageName", "ImageInspectError", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
}  # fmt: skip
_USUAL = {"ContainerCreating", "PodInitializing", "Pending", "Running"}
_PULL = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}
_CRASHES = 2
"""A container that has ended so often will end again."""


def causes(pods: Sequence[Object], events: Sequence[Object] = ()) -> Iterator[Cause]:
    """What keeps each pod from being ready, the most telling first. `events` are those of the pods."""
    for pod in pods:
        if "deletionTimestamp" not in pod["metadata"] and not holds(pod, "Ready"):
            yield _cause(pod, [one for one in events if one["involvedObject"]["name"] == name_of(pod)])


def _cause(pod: Object, events: Sequence[Object]) -> Cause:
    name, status = name_of(pod), _status(pod)
    if (scheduled := condition(pod, "PodScheduled")) and scheduled["status"] == "False":
        return Cause(
            name, scheduled.get("reason", "Unschedulable"), scheduled.get("message", ""), final=False
        )
    waiting = status.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULL:
        return Cause(name, reason, message or "the image is not there", final=True)
    if reason in _FINAL:
        return Cause(name, reason, message, final=True)
    crashes = status.get("restartCount", 0) >= _CRASHES
    if not crashes and any(one.get("reason") == HOOK for one in events):
        return Cause(name, HOOK, "the hook that fetches the content failed", final=True)
    if mounts := [one for one in events if one.get("reason") == "FailedMount"]:
        return Cause(name, "FailedMount", mounts[-1].get("message", ""), final=False)
    if crashes or reason == "CrashLoopBackOff":
        ended = status.get("lastState", {}).get("terminated", {})
        said = f"exit code {ended['exitCode']}" if "exitCode" in ended else message
        return Cause(name, "CrashLoopBackOff", said, final=True)
    if probes := [one for one in events if one.get("reason") == "Unhealthy"]:
        return Cause(name, "Unhealthy", probes[-1].get("message", ""), final=False)
    return Cause(name, reason or pod.get("status", {}).get("phase", "Pending"), message, final=False)
