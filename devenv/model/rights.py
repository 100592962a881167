"""What one has to be allowed to do in a namespace. Pure.

Rules are those of a Role (rbac.authorization.k8s.io/v1); a review is a SelfSubjectAccessReview
(authorization.k8s.io/v1), which any authorizer answers, also one that cannot list what it grants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Right:
    verb: str
    group: str
    resource: str
    """`pods`, or a part of one: `pods/exec`."""
    name: str = ""
    """Of the one object that it is on; empty for all."""

    def __str__(self) -> str:
        """As kubectl has it: `create deployments.apps`."""
        group, name = f".{self.group}" if self.group else "", f"/{self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{group}{name}"

    def review(self, namespace: str) -> dict[str, Any]:
        """Whether one has it there."""
        resource, _, part = self.resource.partition("/")
        asked = {"verb": self.verb, "group": self.group, "resource": resource, "namespace": namespace}
        more = {"subresource": part, "name": self.name}
        attributes = asked | {key: value for key, value in more.items() if value}
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }


def of(rules: Iterable[Mapping[str, Any]]) -> Iterator[Right]:
    """Each right that these rules give."""
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or ("",):
                    for verb in rule["verbs"]:
                        yield Right(verb, group, resource, name)
