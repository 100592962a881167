"""Both architectures on a machine of one: built, pushed as one, run, and brought to a kind cluster."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv.model import platform as platforms
from tests.e2e.cluster import Kubectl, done_in_time, kubeconfig, node_of, on_kind
from tests.e2e.conftest import Devenv, docker, free_port, make, remove_images
from tests.e2e.witness import one_owner

pytestmark = pytest.mark.engine

OWN = docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}") if shutil.which("docker") else ""
FOREIGN = "linux/amd64" if OWN == "linux/arm64" else "linux/arm64"
BOTH = f"{OWN},{FOREIGN}"
MACHINES = {"linux/arm64": "aarch64", "linux/amd64": "x86_64"}
SERVICES = ("httpd", "php-fpm")
COMPOSE = Path(__file__).parents[2] / "compose" / "compose.yaml"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DIES = r"""
USER 0
RUN printf '\177ELF\002\001\001' > /bin/false
USER www-data
ENTRYPOINT ["/bin/false"]
"""
_PROVENANCE = ("base.name", "base.digest", "version")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """On kind, with a registry that runs, and both services built for both platforms."""
    port = free_port()
    with on_kind(tmp_path_factory.mktemp("platforms"), "devenv-both", f"[registry]\nport = {port}\n") as made:
        made.done("doctor", "--fix", "--yes", "--platform", FOREIGN)
        done_in_time(made, "build", "--platform", BOTH)
        made.done("registry", "up")
        try:
            yield made
        finally:
            made.done("registry", "down")
            docker("volume", "rm", f"{made.stack.stack.name}-registry")


def foreign(service: str) -> str:
    return f"{service}-{FOREIGN.rpartition('/')[2]}"


def registry(stack: Devenv, path: str) -> tuple[dict[str, Any], str]:
    """A manifest as the registry has it, and its digest."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.stack.registry.port}/v2/{path}", headers={"Accept": f"{INDEX}, */*"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text), f"sha256:{hashlib.sha256(text).hexdigest()}"


def release(stack: Devenv) -> str:
    [answer] = stack.done("status").of("answer")
    return str(answer["data"]["release"])


def pushed(run: Any) -> dict[str, Any]:
    [answer] = [one for one in run.of("answer") if one["about"] == "push"]
    return dict(answer["data"]["images"])


def test_each_image_is_of_its_platform_and_says_what_it_is_made_of(stack: Devenv) -> None:
    for service in SERVICES:
        for name, platform in ((service, OWN), (foreign(service), FOREIGN)):
            [image] = json.loads(docker("image", "inspect", stack.stack.image(name, "v1")))
            assert f"{image['Os']}/{image['Architecture']}" == platform
            labels = image["Config"]["Labels"]
            assert all(labels[f"org.opencontainers.image.{one}"] for one in _PROVENANCE), labels


def test_a_shell_that_prefers_the_other_platform_gets_the_engines_own(stack: Devenv) -> None:
    run = stack("build", "--release", "v3", DOCKER_DEFAULT_PLATFORM=FOREIGN)
    assert run.code == 0, run.told()
    for service in SERVICES:
        [image] = json.loads(docker("image", "inspect", stack.stack.image(service, "v3")))
        assert f"{image['Os']}/{image['Architecture']}" == OWN


def test_what_is_built_is_not_built_again(stack: Devenv) -> None:
    run = stack.done("build", "--platform", BOTH)
    steps = {one["step"]: one["result"] for one in run.of("step-ended")}
    assert len(steps) == 2 * (1 + len(SERVICES))
    assert set(steps.values()) == {"skipped"}, steps


def test_the_other_platform_serves_a_page(stack: Devenv) -> None:
    """httpd before php-fpm, both emulated, by the compose file as it stands."""
    name, port = f"{stack.stack.stack.name}-emulated", free_port()
    for service in SERVICES:
        docker("tag", stack.stack.image(foreign(service), "v1"), f"{name}/{service}:v1")
    environment = os.environ | {
        "COMPOSE_PROJECT_NAME": name,
        "IMAGE_PREFIX": f"{name}/",
        "PORT": str(port),
        "HANDOVER_SECRET": secrets.token_hex(32),
        "APP_SECRET": secrets.token_hex(32),
    }

    def compose(*arguments: str) -> str:
        argv = ["docker", "compose", "--file", str(COMPOSE), *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        compose("up", "--detach", "--wait")
        assert compose("exec", "php-fpm", "uname", "-m") == MACHINES[FOREIGN]
        assert compose("exec", "httpd", "uname", "-m") == MACHINES[FOREIGN]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            page = answer.read().decode()
        assert answer.status == 200
        assert "Slow Release" in page
    finally:
        compose("exec", "php-fpm", "gate", "retire")
        compose("down", "--volumes")
        docker("rmi", *(f"{name}/{service}:v1" for service in SERVICES))


def test_one_index_has_both_and_a_second_push_sends_nothing(stack: Devenv) -> None:
    name = stack.stack.stack.name
    first = pushed(stack.done("push", "--platform", BOTH))
    for service in SERVICES:
        index, digest = registry(stack, f"{name}/manifests/{service}-v1")
        found = {
            f"{one['platform']['os']}/{one['platform']['architecture']}": one["digest"]
            for one in index["manifests"]
        }
        assert found == first[service]["platforms"]
        assert set(found) == {OWN, FOREIGN}
        assert digest == first[service]["digest"]
        assert first[service]["layers_sent"] > 0
    second = pushed(stack.done("push", "--platform", BOTH))
    for service in SERVICES:
        assert second[service] == first[service] | {"layers_sent": 0, "new": False}
    # No name of it is left on this machine.
    assert not docker("image", "ls", "--quiet", f"localhost:{stack.stack.registry.port}/{name}")


def test_another_release_sends_no_layer_that_is_there(stack: Devenv) -> None:
    """Releases differ in their configuration alone."""
    stack.done("push", "--platform", OWN)
    sent = pushed(stack.done("push", "--platform", OWN, "--release", "v2"))
    assert {service: one["layers_sent"] for service, one in sent.items()} == dict.fromkeys(SERVICES, 0)
    assert all(one["new"] for one in sent.values())


def test_a_push_of_one_platform_keeps_the_other(stack: Devenv) -> None:
    both = pushed(stack.done("push", "--platform", BOTH))
    one = pushed(stack.done("push", "--platform", FOREIGN))
    assert {name: image["digest"] for name, image in one.items()} == {
        name: image["digest"] for name, image in both.items()
    }


def test_a_cluster_gets_its_images_through_the_registry(stack: Devenv) -> None:
    stack.done("up")
    node, host = f"{stack.stack.stack.name}-control-plane", f"localhost:{stack.stack.registry.port}"
    names = docker("exec", node, "crictl", "images")
    for service in SERVICES:
        image = stack.stack.image(service, "v1")
        assert f"{host}/{image}" in names, names
        assert f"docker.io/{image}" in names, names
    kubectl = Kubectl(kubeconfig(stack))
    assert host in kubectl("get", "configmap", "local-registry-hosting", "-n", "kube-public", "-o", "yaml")
    began = time.monotonic()
    stack.done("upgrade", "--to", "v2")
    assert time.monotonic() - began < 120
    [pod] = kubectl.php_fpm()
    assert kubectl("get", "pod", pod, "-o", "jsonpath={.spec.containers[0].image}").endswith(":v2")


def test_a_registry_that_hangs_is_passed_over(stack: Devenv) -> None:
    """The image comes to the nodes as it would without one."""
    container = f"{stack.stack.stack.name}-registry"
    stack.done("build", "--release", "v4")
    docker("pause", container)
    try:
        began = time.monotonic()
        stack.done("upgrade", "--to", "v4")
        assert time.monotonic() - began < 120
    finally:
        docker("unpause", container)
    assert release(stack) == "v4"
    came_without_a_registry(stack, "v4")


def came_without_a_registry(stack: Devenv, release: str) -> None:
    names = docker("exec", f"{stack.stack.stack.name}-control-plane", "crictl", "images")
    image = stack.stack.image("php-fpm", release)
    assert f"docker.io/{image}" in names, names
    assert f"localhost:{stack.stack.registry.port}/{image}" not in names, names


def test_a_registry_that_takes_nothing_is_passed_over(stack: Devenv) -> None:
    container = f"{stack.stack.stack.name}-registry"
    stack.done("build", "--release", "v5")
    # Its own user, who may do no more than others.
    docker("exec", container, "chmod", "-R", "a-w", "/var/lib/registry")
    try:
        stack.done("upgrade", "--to", "v5")
    finally:
        docker("exec", container, "chmod", "-R", "u+w", "/var/lib/registry")
    assert release(stack) == "v5"
    came_without_a_registry(stack, "v5")


def test_a_base_image_for_another_platform_is_pulled_by_its_digest(stack: Devenv, tmp_path: Path) -> None:
    """From a registry that has it for both under one name."""
    repository = f"localhost:{stack.stack.registry.port}/base"
    names = {OWN: stack.stack.images.base, FOREIGN: platforms.local(stack.stack.images.base, FOREIGN)}
    for platform, name in names.items():
        one = f"{repository}:{platforms.architecture(platform)}"
        docker("tag", name, one)
        docker("push", "--quiet", one)
        docker("image", "rm", one)
    each = (f"{repository}:{platforms.architecture(platform)}" for platform in names)
    docker("buildx", "imagetools", "create", "--tag", f"{repository}:12", *each)
    index, _ = registry(stack, "base/manifests/12")
    digests = {one["platform"]["architecture"]: one["digest"] for one in index["manifests"]}

    own = make(tmp_path / "pulls", "devenv-pulls", f'[images]\nbase = "{repository}:12"\n')
    run = own.done("build", "--platform", FOREIGN)
    [pulled] = [one["argv"] for one in run.of("command-started") if one["argv"][1] == "pull"]
    assert pulled[-1] == f"{repository}@{digests[platforms.architecture(FOREIGN)]}"
    [image] = json.loads(docker("image", "inspect", own.stack.image(foreign("httpd"), "v1")))
    assert f"{image['Os']}/{image['Architecture']}" == FOREIGN
    assert image["Config"]["Labels"]["org.opencontainers.image.base.name"] == f"{repository}:12"
    left = [platforms.local(f"{repository}:12", FOREIGN)]
    docker("rmi", *left, *(own.stack.image(foreign(service), "v1") for service in SERVICES))


def test_what_a_node_of_another_architecture_needs_is_built(stack: Devenv, tmp_path: Path) -> None:
    """The same cluster, as one that is there already. Nothing of these releases was ever built."""
    port, cluster = stack.stack.registry.port, stack.stack.stack.name
    first, new = (f"v{secrets.token_hex(4)}" for _ in range(2))
    more = f'[registry]\npush = "localhost:{port}/near"\n[cluster]\nnamespace = "near"\n'
    near = make(tmp_path / "near", "devenv-near", f'release = "{first}"\n{more}')
    near.environment["KUBECONFIG"] = str(kubeconfig(stack))
    there = Kubectl(kubeconfig(stack), "near")
    try:
        with node_of(there, "other", FOREIGN):
            assert near("up", "--backend", "cluster", "--context", f"kind-{cluster}").code == 4
            near.done("up", "--build-missing")
            assert near("upgrade", "--to", new).code == 4
            near.done("upgrade", "--to", new, "--build-missing")
        assert release(near) == new
        digests = {}
        for name in (f"httpd-{first}", f"php-fpm-{first}", f"php-fpm-{new}"):
            index, digests[name] = registry(stack, f"near/manifests/{name}")
            found = {one["platform"]["architecture"] for one in index["manifests"]}
            assert found == {platforms.architecture(one) for one in (OWN, FOREIGN)}
        [pod] = there.php_fpm()
        running = there("get", "pod", pod, "-o", "jsonpath={.spec.containers[0].image}")
        assert running.endswith(f"@{digests[f'php-fpm-{new}']}")
    finally:
        near("reset", "--yes")
        remove_images(near)


ELSEWHERE = "linux/pdp11"
"""That nothing emulates: a machine may have all that qemu knows."""


def test_an_image_for_another_architecture_is_not_started_but_built_anew(stack: Devenv) -> None:
    """It came from elsewhere, under the name of a release of ours."""
    before = release(stack)
    image = stack.stack.image("php-fpm", "v6")
    folder = stack.folder / "nothing"
    folder.mkdir()
    archive = subprocess.run(["tar", "-C", str(folder), "-c", "."], capture_output=True, check=True).stdout
    done = subprocess.run(
        ["docker", "import", "--platform", ELSEWHERE, "-", image], input=archive, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    run = stack("upgrade", "--to", "v6")
    assert run.code == 4, run.told()
    assert image in run.failure["what"]
    assert ELSEWHERE in run.failure["what"]
    assert f"{stack.stack.stack.name}-control-plane" in run.failure["what"]
    assert "exec format error" in run.failure["why"]
    assert "devenv build --release v6" in run.failure["next"]
    assert release(stack) == before
    stack.done("upgrade", "--to", "v6", "--build-missing")
    assert release(stack) == "v6"


def test_emulation_that_was_removed_is_named_and_mended(stack: Devenv, tmp_path: Path) -> None:
    """The engine believes that it still has it: only a program that it runs tells."""
    own = make(tmp_path / "own", "devenv-small", '[app]\nsource = "app"\nwarmup = "/"\n')
    (own.folder / "app" / "public").mkdir(parents=True)
    # The same packages as the demo site: these layers are there.
    shutil.copy(COMPOSE.parents[1] / "docker" / "app" / "packages.txt", own.folder / "app")
    (own.folder / "app" / "public" / "index.php").write_text(f"<?php echo '{secrets.token_hex(8)}';\n")
    kernel = Path("/proc/sys/fs/binfmt_misc") / f"qemu-{MACHINES[FOREIGN]}"
    # As the kernel reads it: -1 removes.
    kernel.write_text("-1")
    run = own("build", "--platform", FOREIGN)
    assert run.code == 4, run.told()
    assert FOREIGN in run.failure["what"]
    assert run.failure["next"] == f"devenv doctor --fix --platform {FOREIGN}"
    looked = own("doctor", "--platform", FOREIGN)
    assert looked.code == 4, looked.told()
    assert looked.failure["next"].endswith(f"devenv doctor --fix --platform {FOREIGN}")
    own.done("doctor", "--fix", "--yes", "--platform", FOREIGN)
    assert kernel.read_text().startswith("enabled")
    own.done("build", "--platform", FOREIGN)
    docker("rmi", *(own.stack.image(foreign(service), "v1") for service in SERVICES))


def test_a_program_of_another_architecture_is_recognised_as_it_dies(stack: Devenv, tmp_path: Path) -> None:
    """Its image claims to be for this machine."""
    own = make(tmp_path / "lies", "devenv-lies")
    own.done("build")
    recipe = f"FROM {own.stack.image('php-fpm', 'v1')}\n{DIES}"
    docker("build", "--quiet", "--tag", own.stack.image("php-fpm", "v9"), "-", stdin=recipe)
    own.done("up")
    try:
        run = own("upgrade", "--to", "v9")
        assert run.code == 4, run.told()
        assert own.stack.image("php-fpm", "v9") in run.failure["what"]
        assert "exec format error" in run.failure["why"]
        assert one_owner(own)["release"] == "v1"
    finally:
        own("reset", "--yes")
