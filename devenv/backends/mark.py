"""The ConfigMap that tells new pods of php-fpm who has the content. Pure.

No volume outlives a pod, so devenv writes down there what an instance writes beside its snapshots on compose.
What a gate makes of it: devenv/handover/told.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from devenv.backends.manifests import OURS
from devenv.backends.namespace import STACK
from devenv.model.instance import Gate, Instance
from devenv.model.stack import Stack

NAME = "php-fpm-mark"
FILE = "mark.json"
"""Of the manifest, where it is applied with all others."""
OWNER, NOBODY = "owner.json", "nobody-until"
"""It holds one of these."""


def manifest(stack: Stack, namespace: str, data: Mapping[str, str]) -> dict[str, Any]:
    labels = dict([OURS.split("=")]) | {STACK: stack.stack.name}
    metadata = {"name": NAME, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def of_owner(owner: Instance, gate: Gate) -> dict[str, str]:
    """That this one has the content, and it is saved nowhere else. `gate`: its own."""
    about = {"uid": gate.uid, "host": owner.name, "release": gate.release, "epoch": gate.epoch}
    return {OWNER: json.dumps(about | {"lineage": gate.lineage or ""})}


def of_nobody(until: float) -> dict[str, str]:
    """That no instance has any content, which counts for a while. `until`: seconds since the epoch."""
    return {NOBODY: f"{until:.0f}"}
