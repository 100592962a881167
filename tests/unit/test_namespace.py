"""What a namespace holds against us."""

from __future__ import annotations

from typing import Any

from devenv.backends import namespace

OURS = {"app.kubernetes.io/part-of": "devenv"}


def thing(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, **metadata}}


def test_what_somebody_else_has_made_is_known_by_its_labels() -> None:
    ours, theirs = thing("Service", "php-fpm", labels=OURS), thing("Deployment", "httpd")
    other = thing("Secret", "php-fpm", labels={"app.kubernetes.io/part-of": "shop"})
    assert namespace.foreign([thing("Namespace", "testing"), ours]) == []
    assert namespace.foreign([ours, theirs, other]) == [theirs, other]
    assert namespace.called(theirs) == "Deployment httpd"


def test_a_namespace_that_goes_says_what_keeps_it() -> None:
    stays = thing("Namespace", "testing")
    going = thing("Namespace", "testing", deletionTimestamp="2026-01-31T12:00:00Z")
    assert namespace.terminating([stays, thing("Service", "a")]) is None
    assert namespace.terminating([thing("Service", "a"), going]) is going
    assert namespace.kept_by(going) == ("", [])
    remaining = (
        "Some resources are remaining: configmaps. has 1 resource instances, a.example.com has 2 resource"
    )
    held = "Some content in the namespace has finalizers remaining: example.com/held in 3 resource instances"
    conditions = [
        {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "all content deleted"},
        {"type": "NamespaceContentRemaining", "status": "True", "message": remaining},
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": held},
    ]
    going["status"] = {"conditions": conditions}
    assert namespace.kept_by(going) == (f"{held}; {remaining}", ["configmaps", "a.example.com"])


def test_who_holds_it_is_named_with_its_finalizers() -> None:
    things = [thing("ConfigMap", "free"), thing("ConfigMap", "held", finalizers=["a.com/x", "b.com/y"])]
    assert namespace.finalizers(things) == ["ConfigMap held (a.com/x, b.com/y)"]


def test_a_quota_is_named_in_kubernetes_words() -> None:
    def deployment(status: str, message: str) -> dict[str, Any]:
        return {"status": {"conditions": [{"type": "ReplicaFailure", "status": status, "message": message}]}}

    quota = 'pods "php-fpm-68749f544b-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3'
    assert (
        namespace.refusal(deployment("True", quota))
        == "exceeded quota: small, requested: pods=1, used: pods=3"
    )
    assert namespace.refusal(deployment("True", "a webhook says no")) == "a webhook says no"
    assert namespace.refusal(deployment("False", quota)) == ""
    assert namespace.refusal({"status": {}}) == ""
