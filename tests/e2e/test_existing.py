"""A cluster that is there already, as somebody who may do there no more than the Role of k8s/rbac allows."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv import assets
from devenv.tools import http, kind
from devenv.tools.registry import Registry
from tests.e2e.cluster import Kubectl, done_in_time, node_of
from tests.e2e.conftest import SUFFIX, Devenv, Run, docker, free_port, make
from tests.e2e.witness import nothing_lost, writers

pytestmark = pytest.mark.engine

CLUSTER = f"devenv-theirs{SUFFIX}"
CONTEXT = "kind-shared"
NAMESPACE = "team-blog"
ROLE = assets.k8s_folder() / "rbac" / "role.json"


@pytest.fixture(scope="module")
def devenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """Both releases are built, and its registry runs. No context is named yet."""
    more = f'[registry]\nport = {free_port()}\n[cluster]\nnamespace = "{NAMESPACE}"\n'
    made = make(tmp_path_factory.mktemp("existing"), "devenv-theirs", more)
    done_in_time(made, "node-image", "build")
    made.environment["KUBECONFIG"] = str(made.folder / "kubeconfig")
    (made.folder / "kubeconfig").touch()
    for release in ("v1", "v2"):
        made.done("build", "--release", release)
    made.done("registry", "up")
    try:
        yield made
    finally:
        made("registry", "down")
        docker("volume", "rm", f"{made.stack.stack.name}-registry")


@pytest.fixture(scope="module")
def admin(devenv: Devenv, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Who has made the cluster: its nodes know the registry, and somebody may work in one namespace."""
    folder = tmp_path_factory.mktemp("theirs")
    theirs = folder / "kubeconfig"
    config = assets.k8s_folder() / "kind.yaml"
    asyncio.run(kind.create(CLUSTER, config, devenv.stack.images.node, theirs, 120))
    try:
        registry = Registry(devenv.stack.stack.name, devenv.stack.registry.port)
        asyncio.run(registry.join(asyncio.run(kind.nodes(CLUSTER))))
        kubectl = Kubectl(theirs, NAMESPACE)
        kubectl("create", "namespace", NAMESPACE)
        kubectl("create", "configmap", "somebody-elses", "--from-literal=a=b")
        kubectl("apply", "--filename", str(ROLE))
        kubectl("create", "serviceaccount", "developer")
        subject = f"--serviceaccount={NAMESPACE}:developer"
        kubectl("create", "rolebinding", "devenv", "--role=devenv", subject)
        write(devenv, kubectl)
        yield kubectl
    finally:
        devenv("down")
        asyncio.run(kind.delete(CLUSTER, theirs))


def write(devenv: Devenv, admin: Kubectl, **contexts: dict[str, str]) -> None:
    """The developer's kubeconfig. `contexts`: what is other than the cluster's, by the context's name."""
    whole = json.loads(admin("config", "view", "--raw", "--flatten", "-o", "json"))
    [there] = whole["clusters"]
    token = admin("create", "token", "developer", "--duration=4h")
    clusters = {CONTEXT: there["cluster"]}
    for name, other in contexts.items():
        clusters[name] = {key: value for key, value in (there["cluster"] | other).items() if value}
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
        "users": [{"name": "developer", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "developer"}} for name in clusters],
        "current-context": "",
    }
    (devenv.folder / "kubeconfig").write_text(json.dumps(written))


@pytest.fixture
def stack(devenv: Devenv, admin: Kubectl) -> Devenv:
    """It runs there, and serves."""
    write(devenv, admin)
    devenv.done("up", "--context", CONTEXT)
    return devenv


def images(admin: Kubectl) -> dict[str, str]:
    found = json.loads(admin("get", "deployments", "-o", "json"))["items"]
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found
    }


def rows(devenv: Devenv) -> dict[str, int]:
    [answer] = devenv.done("verify").of("answer")
    return {name: table["now"] for name, table in answer["data"]["tables"].items()}


def pushed(run: Run) -> dict[str, str]:
    [answer] = [one for one in run.of("answer") if one["about"] == "push"]
    return {service: one["digest"] for service, one in answer["data"]["images"].items()}


async def test_the_whole_story_with_no_more_than_the_role(devenv: Devenv, admin: Kubectl) -> None:
    up = devenv.done("up", "--backend", "cluster", "--context", CONTEXT)
    assert up.of("action-ended")[0]["url"] == devenv.stack.url
    assert await http.status(devenv.stack.stack.port, "/") == 200
    [before] = admin.php_fpm()
    # By digest, which is that of the index in the registry.
    digests = pushed(devenv.done("push"))
    repository = f"localhost:{devenv.stack.registry.port}/{devenv.stack.stack.name}"
    assert images(admin) == {one: f"{repository}:{one}-v1@{digest}" for one, digest in digests.items()}

    async with writers(devenv.stack) as counted:
        upgraded = await asyncio.to_thread(devenv.done, "upgrade", "--to", "v2")
    nothing_lost(counted.report)
    each_call_names_the_cluster(upgraded)
    receipt = upgraded.receipt
    assert receipt["verified"]
    assert (receipt["old"]["release"], receipt["new"]["release"]) == ("v1", "v2")
    assert receipt["old"]["digest"] == digests["php-fpm"]
    assert receipt["new"]["digest"] == pushed(devenv.done("push", "--release", "v2"))["php-fpm"]
    assert admin.php_fpm() != [before]

    [status] = devenv.done("status").of("answer")
    assert [one["verdict"] for one in status["data"]["images"]] == ["current", "current"]
    assert devenv.done("logs", "--tail", "5").of("log-line")
    assert devenv.done("rollback").receipt["verified"]
    devenv.done("snapshot", "save")
    devenv.done("verify")


def test_it_ends_with_what_is_its_own_and_its_content_comes_back_though_the_context_was_renamed(
    stack: Devenv, admin: Kubectl
) -> None:
    before = rows(stack)
    stack.done("down")
    kinds = "deployments,pods,services,secrets,ingresses,networkpolicies,poddisruptionbudgets"
    assert admin("get", kinds, "--output=name") == ""
    configmaps = admin("get", "configmaps", "--output=name")
    assert "somebody-elses" in configmaps
    assert "php-fpm-mark" not in configmaps
    assert NAMESPACE in admin("get", "namespaces", "--output=name")
    path = stack.folder / "kubeconfig"
    path.write_text(path.read_text().replace(CONTEXT, "kind-new-name"))
    stack.done("up", "--context", "kind-new-name")
    assert rows(stack) == before
    # And back, while it runs and its port is forwarded.
    path.write_text(path.read_text().replace("kind-new-name", CONTEXT))
    stack.done("up", "--context", CONTEXT)
    assert rows(stack) == before


def test_a_right_that_is_missing_is_named_before_anything_is_done(devenv: Devenv, admin: Kubectl) -> None:
    role = json.loads(ROLE.read_text())
    [deployments] = [rule for rule in role["rules"] if rule["resources"] == ["deployments"]]
    deployments["verbs"].remove("create")
    replace(admin, role)
    try:
        run = devenv("up", "--context", CONTEXT)
    finally:
        replace(admin, json.loads(ROLE.read_text()))
    assert run.code == 1, run.told()
    assert run.failure["why"].endswith("lacks: create deployments.apps")
    assert "k8s/rbac/role.json" in run.failure["next"]
    assert [one["step"] for one in run.of("step-ended") if one["result"] == "done"] == []


def replace(admin: Kubectl, role: dict[str, Any]) -> None:
    path = admin.kubeconfig.parent / "role.json"
    path.write_text(json.dumps(role))
    admin("replace", "--filename", str(path))


def test_contexts_that_are_none_or_may_not_be_used(devenv: Devenv, admin: Kubectl) -> None:
    write(
        devenv,
        admin,
        production={},
        **{
            "kind-far": {"server": "https://cluster.invalid:6443"},
            "kind-blind": {"certificate-authority-data": "", "insecure-skip-tls-verify": "true"},
        },
    )
    path = devenv.folder / "kubeconfig"
    path.write_text(path.read_text().replace('"true"', "true"))

    unknown = devenv("status", "--context", "kind-none")
    assert unknown.code == 2, unknown.told()
    assert "there is no context kind-none" in unknown.failure["what"]
    assert f"there are: kind-blind, kind-far, {CONTEXT}, production" in unknown.failure["next"]

    forbidden = devenv("status", "--context", "production")
    assert forbidden.code == 2, forbidden.told()
    assert "the context production is not allowed" in forbidden.failure["what"]
    assert '[cluster] allow = ["production"]' in forbidden.failure["next"]

    far = devenv("status", "--context", "kind-far")
    assert far.code == 2, far.told()
    assert "it leads to https://cluster.invalid:6443" in far.failure["why"]

    blind = devenv("status", "--context", "kind-blind")
    assert blind.code == 2, blind.told()
    assert "says whose certificate its server must have" in blind.failure["what"]

    assert found_by_doctor(devenv, "kind-none")["reason"] == "your kubeconfig has no context kind-none"
    assert CONTEXT in found_by_doctor(devenv, "kind-none")["mend"]
    assert "production is not allowed" in found_by_doctor(devenv, "production")["reason"]
    assert '[cluster] allow = ["production"]' in found_by_doctor(devenv, "production")["mend"]
    assert found_by_doctor(devenv, CONTEXT)["status"] == "ok"

    toml = devenv.folder / "devenv.toml"
    before = toml.read_text()
    toml.write_text(f'{before}allow = ["production"]\n')
    try:
        devenv.done("status", "--context", "production")
    finally:
        toml.write_text(before)

    both = devenv("status", "--backend", "kind", "--context", CONTEXT)
    assert both.code == 2, both.told()
    assert "kind takes no context" in both.failure["what"]


def found_by_doctor(devenv: Devenv, context: str) -> dict[str, Any]:
    [answer] = devenv("doctor", "--backend", "cluster", "--context", context).of("answer")
    [found] = [one for one in answer["data"]["checks"] if one["name"] == "context"]
    return dict(found)


def test_a_context_that_was_renamed_and_one_that_leads_elsewhere(stack: Devenv, admin: Kubectl) -> None:
    path = stack.folder / "kubeconfig"
    before = path.read_text()
    path.write_text(before.replace(CONTEXT, "kind-new-name"))
    renamed = stack("status")
    assert renamed.code == 2, renamed.told()
    assert f"there is no context {CONTEXT}" in renamed.failure["what"]
    assert "devenv up --context kind-new-name" in renamed.failure["next"]

    # Another cluster by the same name: its authority is another one, its address may be the same.
    authority = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
    write(stack, admin, **{CONTEXT: {"certificate-authority-data": authority}})
    elsewhere = stack("status")
    assert elsewhere.code == 1, elsewhere.told()
    assert f"the context {CONTEXT} leads to another cluster than before" in elsewhere.failure["what"]
    assert "changed since: authority" in elsewhere.failure["why"]
    write(stack, admin, **{CONTEXT: {"server": "https://127.0.0.1:1"}})
    elsewhere = stack("upgrade", "--to", "v2")
    assert elsewhere.code == 1, elsewhere.told()
    assert "changed since: server" in elsewhere.failure["why"]

    path.write_text(before)
    stack.done("status")


def each_call_names_the_cluster(run: Run) -> None:
    """Its server and its authority, wherever the kubeconfig leads by then; and no credentials."""
    commands: list[list[str]] = [one["argv"] for one in run.of("command-started")]
    calls = [one for one in commands if one[0].endswith("kubectl") and not {"--client", "config"} & set(one)]
    assert calls
    for argv in calls:
        assert argv[argv.index("--context") + 1] == CONTEXT
        assert argv[argv.index("--server") + 1].startswith("https://127.0.0.1:")
        assert Path(argv[argv.index("--certificate-authority") + 1]).is_file()
    assert not any("token" in word.lower() for argv in commands for word in argv)


def test_a_node_of_another_architecture(stack: Devenv, admin: Kubectl) -> None:
    """Who may see the nodes is told before anything starts there."""
    subject = f"--serviceaccount={NAMESPACE}:developer"
    admin("create", "clusterrole", "see-nodes", "--verb=get,list", "--resource=nodes")
    admin("create", "clusterrolebinding", "see-nodes", "--clusterrole=see-nodes", subject)
    before = admin.php_fpm()
    try:
        with node_of(admin, "raspberry", "linux/arm64"):
            run = stack("upgrade", "--to", "v2")
    finally:
        admin("delete", "clusterrolebinding,clusterrole", "see-nodes")
    assert run.code == 4, run.told()
    assert "php-fpm:v2 is for linux/amd64, and the node raspberry is linux/arm64" in run.failure["what"]
    assert "devenv push --platform linux/amd64,linux/arm64 --release v2" in run.failure["next"]
    assert "--build-missing" in run.failure["next"]
    assert admin.php_fpm() == before


def test_a_program_of_another_architecture_is_recognised_as_it_dies(stack: Devenv, admin: Kubectl) -> None:
    """Its image claims to be for this machine."""
    recipe = f"FROM {stack.stack.image('php-fpm', 'v1')}\nRUN printf '\\177ELF\\2\\1\\1' > /bin/of-another"
    recipe += "; chmod 755 /bin/of-another\n"
    entry = 'ENTRYPOINT ["/bin/of-another"]\n'
    user = "USER root\n"
    image = stack.stack.image("php-fpm", "v9")
    docker("build", "--quiet", "--tag", image, "-", stdin=recipe.replace("\nRUN", f"\n{user}RUN") + entry)
    before = admin.php_fpm()
    run = stack("upgrade", "--to", "v9")
    assert run.code == 4, run.told()
    assert "exec format error" in run.failure["why"]
    assert "devenv build --release v9" in run.failure["next"]
    assert admin.php_fpm() == before


def test_another_stack_in_the_same_namespace_is_left_alone(
    stack: Devenv, admin: Kubectl, tmp_path: Path
) -> None:
    more = f'[registry]\npush = "localhost:{stack.stack.registry.port}/other"\n'
    other = make(tmp_path / "other", "devenv-theirs-other", f'{more}[cluster]\nnamespace = "{NAMESPACE}"\n')
    other.environment["KUBECONFIG"] = stack.environment["KUBECONFIG"]
    before = images(admin), admin.php_fpm()
    run = other("up", "--context", CONTEXT)
    assert run.code == 1, run.told()
    assert f"has another stack: {stack.stack.stack.name}" in run.failure["what"]
    other.done("down")
    other.done("reset", "--yes")
    assert (images(admin), admin.php_fpm()) == before
    assert admin("get", "secret", "php-fpm", "--output=name") == "secret/php-fpm"
    stack.done("verify")


def test_a_registry_that_is_down(stack: Devenv, admin: Kubectl) -> None:
    before = admin.php_fpm()
    container = f"{stack.stack.stack.name}-registry"
    docker("stop", "--time=1", container)
    try:
        run = stack("upgrade", "--to", "v2")
    finally:
        docker("start", container)
    assert run.code == 2, run.told()
    assert "there is no registry to push to" in run.failure["what"]
    assert "devenv registry up" in run.failure["next"]
    assert admin.php_fpm() == before


def test_a_release_that_the_registry_has_with_other_content(stack: Devenv, admin: Kubectl) -> None:
    """What it has is what runs, and that is said."""
    mine = stack.stack.image("php-fpm", "v2")
    kept = docker("image", "inspect", "--format", "{{.Id}}", mine)
    had = pushed(stack.done("push", "--release", "v2"))["php-fpm"]
    docker("build", "--quiet", "--tag", mine, "-", stdin=f"FROM {mine}\nLABEL changed=yes\n")
    try:
        run = stack.done("upgrade", "--to", "v2")
    finally:
        docker("tag", kept, mine)
    assert any("with other content" in one["text"] for one in run.of("notice")), run.of("notice")
    assert run.receipt["new"]["digest"] == had
