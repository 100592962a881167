"""What a namespace holds against us: objects that are not ours, its own end, a quota. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devenv.tools.kubectl import Object, condition, name_of

PART_OF, DEVENV = "app.kubernetes.io/part-of", "devenv"
STACK = "app.kubernetes.io/instance"
"""Label with the name of the stack that an object is of."""
_KIND = re.compile(r"([a-z0-9-][a-z0-9.-]*?)\.? has \d+ resource")
_QUOTA = re.compile(r"exceeded quota: .*", re.DOTALL)
_REMAINING = ("NamespaceFinalizersRemaining", "NamespaceContentRemaining")


def called(thing: Object) -> str:
    return f"{thing['kind']} {name_of(thing)}"


def foreign(things: Sequence[Object]) -> list[Object]:
    """Those that somebody else has made. A namespace is taken as it is, and never removed."""
    return [
        one
        for one in things
        if one["kind"] != "Namespace" and one["metadata"].get("labels", {}).get(PART_OF) != DEVENV
    ]


def of_others(things: Sequence[Object], stack: str) -> list[str]:
    """The names of other stacks that some of them are of."""
    names = (one["metadata"].get("labels", {}).get(STACK, stack) for one in things)
    return sorted({name for name in names if name != stack})


def terminating(things: Sequence[Object]) -> Object | None:
    """The namespace, where it is about to go: nothing new can be made in it."""
    return next(
        (one for one in things if one["kind"] == "Namespace" and "deletionTimestamp" in one["metadata"]), None
    )


def kept_by(namespace: Object) -> tuple[str, list[str]]:
    """What keeps it from going, in Kubernetes' own words, and the kinds of these objects."""
    conditions = namespace.get("status", {}).get("conditions") or ()
    said = {one["type"]: one.get("message", "") for one in conditions if one["status"] == "True"}
    words = [said[kind] for kind in _REMAINING if kind in said]
    return "; ".join(words), _KIND.findall(said.get(_REMAINING[1], ""))


def finalizers(things: Sequence[Object]) -> list[str]:
    """The objects that have any, with their names."""
    return [
        f"{called(one)} ({', '.join(found)})"
        for one in things
        if (found := one["metadata"].get("finalizers"))
    ]


def refusal(deployment: Object) -> str:
    """Why the API server does not take one of its pods, now or a while ago; empty where it takes all."""
    failure = condition(deployment, "ReplicaFailure")
    if failure is None or failure["status"] != "True":
        return ""
    message = str(failure.get("message", "a pod cannot be created"))
    found = _QUOTA.search(message)
    return found[0] if found else message
