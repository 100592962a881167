"""What devenv.toml and an upgrade have to say to the manifests of k8s/. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devenv.backends import pods, settings
from devenv.backends.namespace import DEVENV, PART_OF, STACK
from devenv.backends.protocol import HTTPD, PHP_FPM
from devenv.model.stack import Stack
from devenv.tools.kubectl import Object

NAMESPACE = "testing"
"""That of the manifests of k8s/."""
OURS = f"{PART_OF}={DEVENV}"
SECRET = "php-fpm"  # noqa: S105 - the name of one
_BEGAN = "devenv.io/began"
"""Annotation of a pod: when its upgrade began. An upgrade to the image that runs is a rollout too."""


def rolled_out(deployment: Object | None) -> bool:
    """As `kubectl rollout status` sees it."""
    if deployment is None:
        return False
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted = spec.get("replicas", 1)
    counts = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return seen and all(count == wanted for count in counts)


def rollout(
    hold: int, image: str = "", began: float = 0, writable: Sequence[str] = ("data",)
) -> dict[str, Any]:
    """What changes of the Deployment php-fpm. Also of one that somebody has paused: it goes on.

    `began`: seconds since the epoch, another one for each upgrade. `writable`: the folders that the new
    release writes to, each of which has a volume.
    """
    spec: dict[str, Any] = {"minReadySeconds": hold, "paused": False}
    if image:
        spec["template"] = {
            "metadata": {"annotations": {_BEGAN: f"{began:.3f}"}},
            "spec": {
                "containers": [{"name": PHP_FPM, "image": image, "volumeMounts": _mounts(writable)}],
                "volumes": _volumes(writable),
            },
        }
    return spec


def undone(replicas: Object) -> list[dict[str, Any]]:
    """The Deployment php-fpm as it was when it made this ReplicaSet, as a JSON patch."""
    template = dict(replicas["spec"]["template"])
    labels = {name: text for name, text in template["metadata"]["labels"].items() if name != pods.HASH_LABEL}
    template["metadata"] = {**template["metadata"], "labels": labels}
    values = {"minReadySeconds": 0, "paused": False, "template": template}
    return [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in values.items()]


def kustomization(
    stack: Stack, images: Mapping[str, str], overlay: str, *, httpd: int, namespace: str, more: Sequence[str]
) -> dict[str, Any]:
    """What devenv.toml and the settings have to say to the manifests.

    `images`: of each service. `more`: files that are applied as well.
    """
    app, root = stack.app, _ROOT
    values = {
        "GATE_DATABASE": str(root / app.database),
        "GATE_DOCUMENT_ROOT": str(root / app.document_root),
        "GATE_WARMUP": app.warmup,
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [overlay, *more],
        "namespace": namespace,
        "labels": [{"pairs": {STACK: stack.stack.name}, "includeTemplates": True}],
        "replicas": [{"name": HTTPD, "count": httpd}],
        "secretGenerator": [
            {
                "name": SECRET,
                "namespace": NAMESPACE,
                "files": sorted(settings.SECRETS.values()),
                "options": {"disableNameSuffixHash": True, "labels": dict([OURS.split("=")])},
            }
        ],
        "patches": [
            _patch(
                HTTPD,
                {"image": images[HTTPD], "env": _env({"DOCUMENT_ROOT": values["GATE_DOCUMENT_ROOT"]})},
            ),
            _patch(
                PHP_FPM,
                {
                    "image": images[PHP_FPM],
                    "env": _env(values),
                    "resources": {
                        "requests": {"cpu": stack.pod.cpu, "memory": stack.pod.memory},
                        "limits": {"memory": stack.pod.memory},
                    },
                    "volumeMounts": _mounts(app.writable),
                },
                _volumes(app.writable),
            ),
        ],
    }


_ROOT = Path("/app")
_MOUNT = "/app/data"
"""Where the manifests themselves mount the volume."""


def _volume(number: int) -> str:
    """The name of a writable folder's volume: the first is that of the manifests."""
    return f"data-{number}" if number else "data"


def _volumes(writable: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": _volume(number), "emptyDir": {}} for number in range(len(writable))]


def _mounts(writable: Sequence[str]) -> list[dict[str, str]]:
    """A volume for each writable folder, and none for that of the manifests, if it is not one of them."""
    paths = (str(_ROOT / folder) for folder in writable)
    mounts = [{"name": _volume(number), "mountPath": path} for number, path in enumerate(paths)]
    if all(mount["mountPath"] != _MOUNT for mount in mounts):
        mounts.append({"$patch": "delete", "mountPath": _MOUNT})
    return mounts


def _patch(
    service: str, container: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    spec = {"containers": [{"name": service, **container}], **({"volumes": volumes} if volumes else {})}
    template = {"spec": spec}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": service, "namespace": NAMESPACE},
        "spec": {"template": template},
    }
    return {"patch": json.dumps(deployment)}


def _env(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
