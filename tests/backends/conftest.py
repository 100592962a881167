"""Each test of the contract runs on the fake, on real containers, and on a real cluster."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from devenv import assets
from devenv.backends.compose import Compose
from devenv.backends.kind import Kind
from devenv.backends.protocol import SERVICES, Backend
from devenv.images import BuiltImages
from devenv.model.instance import Instance
from devenv.model.stack import Stack, StackSection
from devenv.tools import docker, kind
from tests.backends.fake import FakeBackend

RELEASES = ("v1", "v2")
NAME = f"devenv-contract{os.environ.get('DEVENV_TEST_SUFFIX', '')}"
"""The suffix keeps two checkouts apart that are tested on one machine at a time."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def images_of(stack: Stack, folder: Path, *releases: str) -> None:
    images = BuiltImages(stack, folder, assets.docker_context(), folder / "builds")
    await images.ensure_base(lambda event: None)
    for release in releases:
        for service in SERVICES:
            await images.build(service, release, lambda event: None)


COMPOSE = pytest.param("compose", marks=pytest.mark.engine)
KIND = pytest.param("kind", marks=pytest.mark.engine)


@pytest.fixture(params=["fake", COMPOSE, KIND])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A backend with the images of two releases and nothing running."""
    async with made(request, tmp_path) as one:
        yield one


@pytest.fixture(params=["fake", COMPOSE])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """One that keeps a container that was stopped. Kubernetes keeps none."""
    async with made(request, tmp_path) as one:
        yield one


@asynccontextmanager
async def made(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Backend]:
    if request.param == "fake":
        yield FakeBackend()
        return
    # A project, images and a port of its own: a stack that a person runs here is left alone.
    stack = Stack(stack=StackSection(name=NAME, port=free_port()))
    await images_of(stack, folder, *RELEASES)
    one: Backend
    if request.param == "kind":
        k8s, cluster = assets.k8s_folder(), request.getfixturevalue("cluster")
        one = Kind(stack, k8s / "overlays" / "kind", cluster, config=k8s / "kind.yaml")
        await one.provide()
        for release in RELEASES:
            await one.bring(dict.fromkeys(SERVICES, release))
    else:
        one = Compose(stack, assets.compose_file(), folder / "compose.env")
    await one.prepare(dict.fromkeys(SERVICES, "v1"))
    try:
        yield one
    finally:
        await one.remove_all(content=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of one cluster for all tests: the first makes it. It goes with the last, since it takes
    a part of a processor from all that come after."""
    folder = tmp_path_factory.mktemp("cluster")

    async def ready() -> None:
        images = BuiltImages(Stack(), folder, assets.docker_context(), folder / "builds")
        await images.ensure_node(lambda event: None)
        await images.ensure_programs(lambda event: None)

    # In a thread: whoever asks for this has a loop that runs.
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: asyncio.run(ready())).result()
    yield folder
    asyncio.run(kind.delete(NAME, folder / "kubeconfig"))


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to an instance in spite of its backend."""

    kill: Callable[[Instance], Awaitable[object]]
    fill_volume: Callable[[Instance], Awaitable[object]]
    """It can save nothing at its end."""
    lose_settings: Callable[[], object]
    """The file of settings is removed."""


@pytest.fixture
def faults(request: pytest.FixtureRequest, tmp_path: Path) -> Faults:
    wanted = "engine" if "engine" in request.fixturenames else "backend"
    backend: Backend = request.getfixturevalue(wanted)

    def lose_settings() -> None:
        if isinstance(backend, Kind):
            (request.getfixturevalue("cluster") / "settings.env").unlink()
        elif isinstance(backend, Compose):
            (tmp_path / "compose.env").unlink()

    async def kill(instance: Instance) -> None:
        if isinstance(backend, FakeBackend):
            backend.kill(instance)
        else:
            await docker.call("kill", instance.id)
            await docker.call("wait", instance.id)

    async def fill_volume(instance: Instance) -> None:
        if isinstance(backend, FakeBackend):
            backend.fill_volume(instance)
        else:
            # To whoever writes, a folder that takes no file is the same as a full one.
            await docker.call("exec", instance.id, "chmod", "555", "/snapshots")

    return Faults(kill, fill_volume, lose_settings)
