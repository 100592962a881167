"""A builder in a container of its own: it has no image of this machine, and hands over what it has built."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.tools import programs
from devenv.tools.programs import GO
from tests.e2e.conftest import SUFFIX, Devenv, docker, make, remove_images
from tests.e2e.witness import one_owner

pytestmark = pytest.mark.engine

SOURCE = Path(__file__).parent / "buildkit"
PROGRAMS = ("buildkitd", "buildctl")
NAME = f"devenv-builder{SUFFIX}"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `docker buildx create` makes it, but for its image, which no registry gives."""
    go = asyncio.run(programs.find(GO))
    if go is None or not go.fits:
        pytest.skip("no Go that is new enough; python -m tests.setup installs it")
    made, image = tmp_path_factory.mktemp("buildkit"), f"{NAME}:of-tests"
    compile_programs(go.path, made)
    recipe = ("--file", str(SOURCE / "Dockerfile"), "--tag", image, str(made))
    docker("buildx", "build", "--builder", docker("context", "show"), "--load", *recipe)
    try:
        driver = ("--driver", "docker-container", "--driver-opt", f"image={image}")
        docker("buildx", "create", "--name", NAME, *driver)
        try:
            yield NAME
        finally:
            docker("buildx", "rm", NAME)
    finally:
        docker("image", "rm", image)


def compile_programs(go: str, folder: Path) -> None:
    flags = ("-trimpath", "-ldflags", "-s -w", "-o", f"{folder}/")
    packages = (f"github.com/moby/buildkit/cmd/{name}" for name in PROGRAMS)
    subprocess.run(
        [go, "build", *flags, *packages],
        cwd=SOURCE,
        env=os.environ | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        check=True,
    )


@pytest.fixture
def stack(builder: str, tmp_path: Path) -> Iterator[Devenv]:
    """Of a release that was never built."""
    made = make(tmp_path, "devenv-builder", f'release = "v{secrets.token_hex(4)}"\n')
    made.environment["BUILDX_BUILDER"] = builder
    try:
        yield made
    finally:
        made("reset", "--yes")
        remove_images(made)


def test_it_builds_on_the_base_image_that_is_here_and_what_it_builds_runs(stack: Devenv) -> None:
    stack.done("up")
    release = stack.stack.stack.release
    assert one_owner(stack)["release"] == release
    steps = {one["step"]: one["result"] for one in stack.done("build").of("step-ended")}
    assert set(steps.values()) == {"skipped"}, steps
    log = (stack.state / "builds" / f"php-fpm-{release}.log").read_text()
    assert f"[context {stack.stack.images.base}]" in log
