"""Pushes to real registries that are away, refuse, distrust, are full, or have something else already."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SUFFIX, Devenv, Run, docker, free_port, make, read_until

pytestmark = pytest.mark.engine

SERVICES = ("httpd", "php-fpm")
HTPASSWD = "devenv:$2b$04$xMA2PXk2wVyKOMULJAlKB.gqux0Of2hJ8CE7N2leNFPZ.XweSfKhO\n"
"""Of the user devenv, whose password is `right`."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """Built, and with a registry of its own, as devenv starts it."""
    made = make(tmp_path_factory.mktemp("registry"), "devenv-reg", f"[registry]\nport = {free_port()}\n")
    made.done("build")
    made.done("registry", "up")
    try:
        yield made
    finally:
        made.done("registry", "down")
        docker("volume", "rm", f"{made.stack.stack.name}-registry")


@pytest.fixture
def bridge() -> str:
    """An address of this machine that docker does not take for itself, as it does 127.0.0.0/8."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")


@contextmanager
def registry(stack: Devenv, address: str = "127.0.0.1", *options: str, port: int = 0) -> Iterator[str]:
    """Another one, with these options of its container. Its address."""
    port = port or free_port()
    published = ("--publish", f"{address}:{port}:5000")
    container = docker("run", "--detach", *published, *options, stack.stack.registry.image)
    try:
        time.sleep(1)
        yield f"{address}:{port}"
    finally:
        docker("rm", "--force", "--volumes", container)


def push(stack: Devenv, repository: str, *options: str, **environment: str) -> Run:
    return stack("push", "--registry", repository, *options, **environment)


def sent(run: Run) -> dict[str, int]:
    assert run.code == 0, run.told()
    [answer] = [one for one in run.of("answer") if one["about"] == "push"]
    return {service: one["layers_sent"] for service, one in answer["data"]["images"].items()}


def test_one_that_is_not_there(stack: Devenv) -> None:
    host = f"localhost:{free_port()}"
    run = push(stack, f"{host}/app")
    assert run.code == 1
    assert f"the registry {host} does not answer" in run.failure["what"]
    assert "connection refused" in run.failure["why"]
    assert "devenv registry up" in run.failure["next"]


def test_none_at_all(stack: Devenv, tmp_path: Path) -> None:
    other = make(tmp_path, "devenv-reg-none", f"[registry]\nport = {free_port()}\n")
    run = other("push")
    assert run.code == 2
    assert "devenv push --registry HOST/REPOSITORY" in run.failure["next"]
    assert "devenv registry up" in run.failure["next"]


def test_a_port_that_another_program_has(stack: Devenv, tmp_path: Path) -> None:
    taken = stack.stack.registry.port
    other = make(tmp_path, "devenv-reg-port", f"[registry]\nport = {taken}\n")
    run = other("registry", "up")
    assert run.code == 4, run.told()
    assert f"another program listens on port {taken}" in run.failure["what"]
    assert "[registry] port" in run.failure["next"]
    assert not docker("ps", "--all", "--quiet", "--filter", f"name={other.stack.stack.name}-registry")


def test_a_container_of_that_name_that_is_anothers_stays(stack: Devenv, tmp_path: Path) -> None:
    other = make(tmp_path, "devenv-reg-theirs", f"[registry]\nport = {free_port()}\n")
    name = f"{other.stack.stack.name}-registry"
    theirs = docker("run", "--detach", "--name", name, stack.stack.registry.image)
    try:
        run = other("registry", "up")
        assert run.code == 1, run.told()
        assert f"there is a container {name} that devenv has not made" in run.failure["what"]
        assert "[stack] name" in run.failure["next"]
        other.done("registry", "down")
        assert docker("ps", "--quiet", "--no-trunc", "--filter", f"name={name}") == theirs
    finally:
        docker("rm", "--force", "--volumes", theirs)


@pytest.fixture
def guarded(stack: Devenv, tmp_path: Path) -> Iterator[str]:
    """A registry that wants to know who one is."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    options = ("--volume", f"{tmp_path}/htpasswd:/htpasswd:ro", "--env", "REGISTRY_AUTH=htpasswd")
    options += ("--env", "REGISTRY_AUTH_HTPASSWD_REALM=devenv")
    with registry(stack, "127.0.0.1", *options, "--env", "REGISTRY_AUTH_HTPASSWD_PATH=/htpasswd") as host:
        yield host.replace("127.0.0.1", "localhost")


def as_user(folder: Path, host: str, password: str) -> str:
    """Docker's own store of credentials, as `docker login` leaves it. The folder that DOCKER_CONFIG names."""
    who = base64.b64encode(f"devenv:{password}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": who}}}))
    return str(folder)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_credentials_that_are_missing_or_wrong(
    stack: Devenv, guarded: str, tmp_path: Path, password: str
) -> None:
    known = as_user(tmp_path / "docker", guarded if password else "elsewhere.example", password)
    run = push(stack, f"{guarded}/app", DOCKER_CONFIG=known)
    assert run.code == 1, run.told()
    assert run.failure["what"] == f"{guarded} does not accept who you are"
    assert run.failure["next"] == f"docker login {guarded}"


def test_credentials_of_dockers_own_store_and_nobody_else_sees_them(
    stack: Devenv, guarded: str, tmp_path: Path
) -> None:
    run = push(stack, f"{guarded}/app", DOCKER_CONFIG=as_user(tmp_path / "docker", guarded, "right"))
    assert all(count > 0 for count in sent(run).values())
    assert "right" not in run.told()
    assert base64.b64encode(b"devenv:right").decode() not in run.told()


FRONT = """\
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/httpd.pid
User daemon
Group daemon
ErrorLog {folder}/httpd.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass "/" "http://{behind}/"
ProxyPreserveHost On
<Location "/v2/theirs/">
    <LimitExcept GET HEAD>
        Require all denied
    </LimitExcept>
</Location>
"""
"""Whoever may read everything there, and write everywhere but in one repository."""


@contextmanager
def front(behind: str, folder: Path) -> Iterator[str]:
    """Apache httpd before a registry. Its address."""
    port, config = free_port(), folder / "httpd.conf"
    config.write_text(FRONT.format(port=port, folder=folder, behind=behind))
    with subprocess.Popen(["apache2", "-DFOREGROUND", "-f", str(config)]) as httpd:
        try:
            time.sleep(1)
            assert httpd.poll() is None, (folder / "httpd.log").read_text()
            yield f"127.0.0.1:{port}"
        finally:
            httpd.terminate()


def test_a_repository_that_one_may_not_write_to(stack: Devenv, tmp_path: Path) -> None:
    if shutil.which("apache2") is None:
        pytest.skip("not installed: apache2; python -m tests.setup installs it")
    with registry(stack) as behind, front(behind, tmp_path) as host:
        run = push(stack, f"{host}/theirs")
        assert run.code == 1, run.told()
        assert f"{host} refuses {host}/theirs" in run.failure["what"]
        assert f"docker login {host}" in run.failure["next"]
        sent(push(stack, f"{host}/ours"))


def test_a_certificate_that_nobody_has_signed(stack: Devenv, bridge: str, tmp_path: Path) -> None:
    subject = ("-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{bridge}")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject)
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    subprocess.run([*made, *files], check=True, capture_output=True)
    options = ("--volume", f"{tmp_path}:/tls:ro", "--env", "REGISTRY_HTTP_TLS_CERTIFICATE=/tls/cert.pem")
    with registry(stack, bridge, *options, "--env", "REGISTRY_HTTP_TLS_KEY=/tls/key.pem") as host:
        run = push(stack, f"{host}/app")
    assert run.code == 1, run.told()
    assert f"the certificate of {host}" in run.failure["what"]
    assert f"/etc/docker/certs.d/{host}/ca.crt" in run.failure["next"]


def test_plain_http_from_elsewhere(stack: Devenv, bridge: str) -> None:
    with registry(stack, bridge) as host:
        run = push(stack, f"{host}/app")
    assert run.code == 1, run.told()
    assert f"the registry {host} speaks plain HTTP" in run.failure["what"]
    assert "insecure-registries" in run.failure["next"]


def test_a_disk_that_is_full(stack: Devenv) -> None:
    with registry(stack, "127.0.0.1", "--tmpfs", "/var/lib/registry:size=8m") as host:
        run = push(stack, f"{host}/app")
    assert run.code == 1, run.told()
    # It tells nobody why; its log does.
    assert run.failure["what"] == f"the registry {host} fails"
    assert "500 Internal Server Error" in run.failure["why"]
    assert "whether it has room left" in run.failure["next"]


def test_one_that_goes_away_in_mid_push_and_what_it_has_by_then_is_not_sent_again(stack: Devenv) -> None:
    volume = f"devenv-reg-half{SUFFIX}"
    options = ("--volume", f"{volume}:/var/lib/registry")
    port = free_port()
    total = {service: layers(stack, service) for service in SERVICES}
    try:
        with registry(stack, "127.0.0.1", *options, port=port) as host:
            process = stack.start("push", "--registry", f"{host}/app")
            read = until_a_layer_is_there(process)
            [container] = docker("ps", "--quiet", "--filter", f"publish={port}").split()
            docker("kill", container)
            run = stack.finish(process, read)
            assert run.code == 1, run.told()
            assert f"the registry {host} does not answer" in run.failure["what"]
        with registry(stack, "127.0.0.1", *options, port=port) as host:
            again = sent(push(stack, f"{host}/app"))
            assert sum(again.values()) < sum(total.values()), again
            assert sent(push(stack, f"{host}/app")) == dict.fromkeys(SERVICES, 0)
    finally:
        docker("volume", "rm", volume)


def until_a_layer_is_there(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    read = []
    while True:
        read += read_until(process, event="step-noted")
        words = read[-1].get("text", "")
        assert process.poll() is None, read[-1]
        if " layers" in words and not words.partition(": ")[2].startswith("0 "):
            return read


def layers(stack: Devenv, service: str) -> int:
    [image] = json.loads(docker("image", "inspect", stack.stack.image(service, "v1")))
    return len(image["RootFS"]["Layers"])


def test_a_release_that_is_there_with_other_content(stack: Devenv, tmp_path: Path) -> None:
    """The same name, built from another working tree."""
    repository = f"localhost:{stack.stack.registry.port}/shared"
    app = tmp_path / "app"
    (app / "public").mkdir(parents=True)
    (app / "public" / "index.php").write_text("<?php echo 'mine';\n")
    first = push(stack, repository)
    sent(first)
    other = make(tmp_path / "other", "devenv-reg-other", '[app]\nsource = "../app"\nwarmup = "/"\n')
    run = push(other, repository)
    assert run.code == 1, run.told()
    assert "is there with other content" in run.failure["what"]
    assert "devenv push --force" in run.failure["next"]
    assert sent(push(stack, repository)) == dict.fromkeys(SERVICES, 0)
    sent(push(other, repository, "--force"))
    assert sent(push(other, repository)) == dict.fromkeys(SERVICES, 0)
    assert push(stack, repository).code == 1


def test_a_push_that_is_cancelled_leaves_no_name_behind(stack: Devenv) -> None:
    with registry(stack) as host:
        process = stack.start("push", "--registry", f"{host}/app")
        read = read_until(process, event="step-started", step="push php-fpm")
        process.send_signal(2)
        run = stack.finish(process, read)
        assert run.code == 130, run.told()
        assert not docker("image", "ls", "--quiet", f"{host}/app")
