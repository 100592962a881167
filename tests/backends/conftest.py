"""Each test of the contract runs on the fake and on real containers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devenv import assets
from devenv.backends.compose import Compose
from devenv.backends.protocol import SERVICES, Backend
from devenv.images import BuiltImages
from devenv.model.stack import Stack, StackSection
from tests.backends.fake import FakeBackend

RELEASES = ("v1", "v2")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["fake", pytest.param("compose", marks=pytest.mark.engine)])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A backend with the images of two releases and nothing running."""
    if request.param == "fake":
        yield FakeBackend()
        return
    # A project, images and a port of its own: a stack that a person runs here is left alone.
    stack = Stack(stack=StackSection(name="devenv-contract", port=free_port()))
    images = BuiltImages(stack, tmp_path, assets.docker_context(), tmp_path / "builds")
    await images.ensure_base(lambda event: None)
    for release in RELEASES:
        for service in SERVICES:
            await images.build(service, release, lambda event: None)
    made = Compose(stack, assets.compose_file(), tmp_path / "compose.env")
    await made.prepare(dict.fromkeys(SERVICES, "v1"))
    try:
        yield made
    finally:
        await made.remove_all(content=True)
