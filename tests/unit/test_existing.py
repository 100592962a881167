"""A cluster that is there already: which one may be used, what one may do there, and which images it gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devenv import assets
from devenv.backends import mark, namespace
from devenv.engine import building
from devenv.engine.context import Context
from devenv.errors import CommandFailed, DevenvError, NotFit, OtherContent, WrongPlatform
from devenv.model import registry, rights
from devenv.model.contexts import refusal
from devenv.model.events import Notice
from devenv.model.stack import ClusterSection, Stack, StackSection
from devenv.tools.kubectl import Cluster, Forbidden
from tests.backends.fake import FakeBackend
from tests.unit.conftest import FakeImages, Told

ROLE = json.loads((assets.k8s_folder() / "rbac" / "role.json").read_text())["rules"]


@pytest.mark.parametrize(
    ("name", "server", "refused"),
    [
        ("kind-blog", "https://127.0.0.1:41234", ""),
        ("k3d-blog", "https://0.0.0.0:6550", ""),
        ("minikube", "https://192.168.49.2:8443", ""),
        ("docker-desktop", "https://kubernetes.docker.internal:6443", ""),
        ("colima", "https://[::1]:6443", ""),
        ("kind-blog", "https://203.0.113.5:6443", "which is elsewhere"),
        ("kind-staging", "https://10.20.0.5:6443", "which is elsewhere"),
        ("minikube", "https://cluster.example", "which is elsewhere"),
        ("kind", "https://127.0.0.1:41234", "not called as one"),
        ("my-kind-blog", "https://127.0.0.1:41234", "not called as one"),
        ("production", "https://127.0.0.1:41234", "not called as one"),
        ("allowed", "https://cluster.example", ""),
    ],
)
def test_a_context_is_used_unasked_where_its_name_and_its_address_are_of_this_machine(
    name: str, server: str, refused: str
) -> None:
    found = refusal(name, server, ["allowed"])
    assert refused in found
    assert bool(refused) == bool(found)


def test_each_right_of_the_role_is_asked_for_by_itself() -> None:
    """As kubectl names it, and as an API server is asked."""
    wanted = list(rights.of(ROLE))
    assert len(wanted) == len(set(wanted))
    named = {str(right): right.review("team")["spec"]["resourceAttributes"] for right in wanted}
    assert named["create deployments.apps"] == {
        "verb": "create", "group": "apps", "resource": "deployments", "namespace": "team",
    }  # fmt: skip
    assert named["create pods/exec"]["subresource"] == "exec"
    assert named["create pods/exec"]["resource"] == "pods"


def test_of_all_secrets_it_takes_one() -> None:
    on_secrets = {str(right) for right in rights.of(ROLE) if right.resource == "secrets"}
    assert on_secrets == {
        "create secrets", "get secrets/php-fpm", "patch secrets/php-fpm", "delete secrets/php-fpm",
    }  # fmt: skip


def test_of_all_configmaps_it_takes_one() -> None:
    on_them = {str(right) for right in rights.of(ROLE) if right.resource == "configmaps"}
    named = {f"{verb} configmaps/{mark.NAME}" for verb in ("get", "patch", "delete")}
    assert on_them == {"create configmaps", *named}


@pytest.mark.parametrize("naming", ["tags", "repositories"])
@pytest.mark.parametrize("digest", ["", "@sha256:1a2b"])
def test_a_release_is_read_back_from_what_it_is_called_in_a_registry(
    naming: registry.Naming, digest: str
) -> None:
    for service in ("httpd", "php-fpm"):
        name = registry.reference("localhost:5001/blog", naming, service, "v1.2-rc")
        assert registry.release(f"{name}{digest}", service) == "v1.2-rc"
    assert registry.release("blog/php-fpm:v2", "php-fpm") == "v2"


def test_another_stack_in_the_namespace_is_seen() -> None:
    def of(**labels: str) -> dict[str, Any]:
        return {"metadata": {"name": "httpd", "labels": labels}}

    mine, older, theirs = of(**{namespace.STACK: "blog"}), of(), of(**{namespace.STACK: "shop"})
    assert namespace.of_others([mine, older], "blog") == []
    assert namespace.of_others([mine, theirs], "blog") == ["shop"]


def test_each_cluster_and_namespace_is_a_place_of_its_own() -> None:
    def place(context: str, name: str = "testing") -> str:
        cluster = ClusterSection(context=context, namespace=name)
        return Stack(stack=StackSection(backend="cluster"), cluster=cluster).place

    assert len({place("kind-a"), place("kind-b"), place("kind-a", "other"), Stack().place}) == 4
    assert "/" not in place("arn:aws:eks/blog")


WRONG = WrongPlatform("php-fpm:v2 is for linux/amd64", "why", "next", missing=["linux/arm64"])


async def test_an_image_for_another_platform_is_an_error(ctx: Context, backend: FakeBackend) -> None:
    backend.refuses = [WRONG]
    with pytest.raises(WrongPlatform):
        await building.bring(ctx, {"php-fpm": "v2"}, build_missing=False)


async def test_it_is_built_for_where_it_runs_if_one_says_so(ctx: Context, backend: FakeBackend) -> None:
    backend.refuses = [WRONG]
    await building.bring(ctx, {"php-fpm": "v2"}, build_missing=True)
    images = ctx.images
    assert isinstance(images, FakeImages)
    assert images.asked == ["php-fpm:v2 for linux/arm64"]


async def test_other_content_in_the_registry_is_what_runs_and_is_said(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    backend.refuses = [
        OtherContent("blog:php-fpm-v2 is there with other content", "why", "devenv push --force")
    ]
    assert await building.bring(ctx, {"php-fpm": "v2"}, build_missing=False) == []
    [notice] = told.of(Notice)
    assert isinstance(notice, Notice)
    assert "that is what runs; devenv push --force" in notice.text


@pytest.mark.parametrize(
    ("said", "kind", "what"),
    [
        (
            'Error from server (Forbidden): pods is forbidden: User "me" cannot list resource "pods" in API',
            Forbidden,
            "you may not list pods in team",
        ),
        (
            '... is forbidden: cannot patch resource "deployments" in API group "apps" in the',
            Forbidden,
            "you may not patch deployments.apps in team",
        ),
        # One that has just started: it names neither user nor right.
        ("Error from server (Forbidden): unknown", NotFit, "the cluster kind-a does not answer"),
        ('pods "a" is forbidden: exceeded quota: small', CommandFailed, "kubectl failed"),
    ],
)
def test_what_an_api_server_refuses_is_told_as_what_it_is(said: str, kind: type, what: str) -> None:
    with pytest.raises(DevenvError) as raised, Cluster(None, "kind-a", "team").errors():
        raise CommandFailed("kubectl failed", said, "again", argv=["kubectl"], code=1, log_tail=said)
    assert type(raised.value) is kind
    assert raised.value.what == what
