"""What is the compose backend's alone: its settings hold, whatever the shell that devenv runs in exports."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devenv import assets
from devenv.backends import settings
from devenv.backends.compose import Compose
from devenv.backends.protocol import HTTPD, PHP_FPM, SERVICES
from devenv.errors import NotFit
from devenv.model.stack import Stack, StackSection
from devenv.tools import docker
from tests.backends.conftest import NAME, free_port, images_of

pytestmark = pytest.mark.engine

HOSTILE = {
    "PORT": "3000",
    "APP_SECRET": "of another application",
    "HANDOVER_SECRET": "short",
    "IMAGE_PREFIX": "registry.example/",
    "HTTPD_RELEASE": "v404",
    "PHP_FPM_RELEASE": "v404",
    "GATE_DATABASE": "/elsewhere/database.sqlite",
    "GATE_DOCUMENT_ROOT": "/elsewhere",
    "GATE_TRAVEL": "/elsewhere",
    "GATE_WARMUP": "/elsewhere",
    "COMPOSE_PROJECT_NAME": "somebody-elses",
    "COMPOSE_FILE": "/elsewhere/compose.yaml",
    "COMPOSE_PROFILES": "elsewhere",
    "COMPOSE_ENV_FILES": "/elsewhere/.env",
    "COMPOSE_DISABLE_ENV_FILE": "1",
}


@pytest.fixture
def stack() -> Stack:
    return Stack(stack=StackSection(name=NAME, port=free_port()))


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


async def test_what_a_shell_exports_changes_nothing(stack: Stack, tmp_path: Path, hostile: None) -> None:
    await images_of(stack, tmp_path, "v1", "v2")
    backend = Compose(stack, assets.compose_file(), tmp_path / "compose.env")
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    try:
        await backend.start()
        await backend.start_beside("v2", lambda instance: None)
        found = await backend.instances()
        assert sorted((one.service, one.tag) for one in found) == [
            (HTTPD, "v1"), (PHP_FPM, "v1"), (PHP_FPM, "v2"),
        ]  # fmt: skip
        [httpd] = [one for one in found if one.service == HTTPD]
        assert httpd.port == stack.stack.port
        new = found[-1]
        assert new.gate is not None
        assert new.gate.role == "owner"
        told = await docker.call("inspect", "--format", "{{json .Config.Env}}", new.id)
        environment = dict(pair.split("=", 1) for pair in json.loads(told.stdout))
        assert environment["GATE_DATABASE"] == "/app/data/database.sqlite"
        assert environment["GATE_WARMUP"] == "/healthz"
        secret = await docker.call("exec", new.id, "cat", "/run/secrets/app_secret")
        assert len(secret.stdout) == 64
    finally:
        await backend.remove_all(content=True)
    assert await backend.instances() == []


async def test_a_stack_whose_settings_were_removed_can_be_removed(
    stack: Stack, tmp_path: Path, hostile: None
) -> None:
    await images_of(stack, tmp_path, "v1")
    settings = tmp_path / "compose.env"
    backend = Compose(stack, assets.compose_file(), settings)
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    try:
        await backend.start()
    finally:
        settings.unlink()
        await backend.stop()
        await backend.remove_all(content=True)
    assert await backend.instances() == []


def test_a_settings_file_says_to_docker_compose_what_it_says_to_us(tmp_path: Path) -> None:
    values = {
        "PLAIN": "8080", "SPACE": "a b", "QUOTE": "it's", "DOUBLE": 'q"x', "VARIABLE": "do$HOME",
        "HASH": "x#y", "COMMENT": "x #y", "BACKSLASH": "a\\b", "ALL": "it's $X \\ \"", "ACCENT": "é",
        "LETTER_N": "a'\\nb",
    }  # fmt: skip
    theirs = b'MULTI=\'two\nPLAIN=lines\'\nexport REMARK = sp   # c\nESCAPES="a\\"b\\\\c"\nTRAILS=v   \n'
    path = tmp_path / ".env"
    path.write_bytes(theirs)
    settings.write(path, values)
    names = [*values, "MULTI", "REMARK", "ESCAPES", "TRAILS"]
    lines = "".join(f"      {name}: ${{{name}}}\n" for name in names)
    (tmp_path / "compose.yaml").write_text(f"services:\n  one:\n    image: x\n    environment:\n{lines}")
    argv = ["docker", "compose", "--file", str(tmp_path / "compose.yaml"), "--env-file", str(path), "config"]
    done = subprocess.run([*argv, "--format", "json"], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)["services"]["one"]["environment"]
    # It prints a dollar as it would have to be written.
    assert {name: value.replace("$$", "$") for name, value in read.items()} == {
        name: settings.read(path)[name] for name in names
    }
    assert values.items() <= settings.read(path).items()


async def test_what_somebody_else_uses_is_not_said_to_be_gone(stack: Stack, tmp_path: Path) -> None:
    """Of no project at all: whoever mounts a volume keeps it."""
    await images_of(stack, tmp_path, "v1")
    backend = Compose(stack, assets.compose_file(), tmp_path / "compose.env")
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    theirs = ""
    try:
        await backend.start()
        network, volume = f"{NAME}_default", f"{NAME}_snapshots"
        run = ("run", "--detach", "--network", network, "--volume", f"{volume}:/theirs")
        theirs = (await docker.call(*run, stack.images.base, "sleep", "600")).stdout.strip()
        kept = await backend.remove_all(content=True)
        assert {(one.what, one.content) for one in kept} == {
            (f"the network {network}", False),
            (f"the volume {volume}", True),
        }
        assert all(one.by for one in kept)
    finally:
        if theirs:
            await docker.call("rm", "--force", theirs)
        await backend.remove_all(content=True)
    assert await backend.remove_all(content=True) == []


async def test_another_project_of_the_same_name_is_named_and_left_alone(stack: Stack, tmp_path: Path) -> None:
    """A folder that is called like the stack is enough for compose to give its containers that name."""
    await images_of(stack, tmp_path, "v1")
    backend = Compose(stack, assets.compose_file(), tmp_path / "compose.env")
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    labels = {
        docker.PROJECT_LABEL: NAME,
        docker.SERVICE_LABEL: PHP_FPM,
        docker.FILES_LABEL: "/else/compose.yaml",
    }
    options = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    theirs = ""
    try:
        await backend.start()
        network, volume = f"{NAME}_default", f"{NAME}_snapshots"
        run = ("run", "--detach", "--network", network, "--volume", f"{volume}:/theirs", *options)
        theirs = (await docker.call(*run, stack.images.base, "sleep", "600")).stdout.strip()
        [name] = (await docker.call("inspect", "--format", "{{.Name}}", theirs)).stdout.split()
        name = name.lstrip("/")

        assert {one.service for one in await backend.instances()} == set(SERVICES)
        assert theirs not in {one.id for one in await backend.instances()}
        for starts in (backend.start(), backend.start_beside("v1", lambda instance: None)):
            with pytest.raises(NotFit, match="another compose project") as refused:
                await starts
            assert name in refused.value.why
        await backend.stop()
        kept = await backend.remove_all(content=True)
        assert {(one.what, one.by, one.content) for one in kept} == {
            (f"the network {network}", name, False),
            (f"the volume {volume}", name, True),
        }
        assert await backend.instances() == []
        state = await docker.call("inspect", "--format", "{{.State.Running}}", theirs)
        assert state.stdout.strip() == "true"
    finally:
        if theirs:
            await docker.call("rm", "--force", theirs)
        await backend.remove_all(content=True)
    assert await backend.remove_all(content=True) == []
    assert await docker.of_project("volume", NAME) == []
