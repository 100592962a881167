"""What one may do in a namespace, beside what one has to. Pure.

Rules are those of a Role and of a SelfSubjectRulesReview (kubernetes.io, authorization.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]
_ALL = "*"


def missing(wanted: Iterable[Rule], granted: Sequence[Rule]) -> list[str]:
    """Each right that is lacking, as kubectl has it: `create deployments.apps`."""
    return [
        f"{verb} {resource}{f'.{group}' if group else ''}"
        for group, resource, verb in _single(wanted)
        if not any(_grants(rule, group, resource, verb) for rule in granted)
    ]


def _single(rules: Iterable[Rule]) -> Iterator[tuple[str, str, str]]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb


def _grants(rule: Rule, group: str, resource: str, verb: str) -> bool:
    # Of single objects only: that does not let one make new ones, or list all.
    if rule.get("resourceNames"):
        return False
    _, slash, part = resource.partition("/")
    resources = rule.get("resources") or ()
    return (
        _has(rule.get("apiGroups"), group)
        and (_has(resources, resource) or bool(slash and f"*/{part}" in resources))
        and _has(rule.get("verbs"), verb)
    )


def _has(some: Sequence[str] | None, one: str) -> bool:
    return some is not None and (_ALL in some or one in some)
