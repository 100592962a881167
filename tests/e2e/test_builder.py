"""A builder in a container of its own: it has no image of this machine, and hands over what it has built."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.tools import programs
from devenv.tools.programs import GO
from tests.e2e.conftest import SUFFIX, Devenv, docker, make
from tests.e2e.witness import one_owner

pytestmark = pytest.mark.engine

SOURCE = Path(__file__).parent / "buildkit"
PROGRAMS = ("buildkitd", "buildctl")
NAME = f"devenv-builder{SUFFIX}"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `docker buildx create` makes it, but for its image, which no registry gives."""
    made, image = tmp_path_factory.mktemp("buildkit"), f"{NAME}:of-tests"
    compile_programs(made)
    recipe = ("--file", str(SOURCE / "Dockerfile"), "--tag", image, str(made))
    docker("buildx", "build", "--builder", docker("context", "show"), "--load", *recipe)
    docker(
        "buildx", "create", "--name", NAME, "--driver", "docker-container", "--driver-opt", f"image={image}"
    )
    try:
        yield NAME
    finally:
        docker("buildx", "rm", NAME)
        docker("image", "rm", image)


def compile_programs(folder: Path) -> None:
    flags = ("-trimpath", "-ldflags", "-s -w", "-o", f"{folder}/")
    packages = (f"github.com/moby/buildkit/cmd/{name}" for name in PROGRAMS)
    subprocess.run(
        [asyncio.run(programs.path(GO)), "build", *flags, *packages],
        cwd=SOURCE,
        env=os.environ | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        check=True,
    )


@pytest.fixture
def stack(builder: str, tmp_path: Path) -> Iterator[Devenv]:
    made = make(tmp_path, "devenv-builder")
    made.environment["BUILDX_BUILDER"] = builder
    try:
        yield made
    finally:
        made("reset", "--yes")


def test_it_builds_on_the_base_image_that_is_here_and_what_it_builds_runs(stack: Devenv) -> None:
    stack.done("up")
    assert one_owner(stack)["release"] == "v1"
    steps = {one["step"]: one["result"] for one in stack.done("build").of("step-ended")}
    assert set(steps.values()) == {"skipped"}, steps
    log = (stack.state / "builds" / "php-fpm-v1.log").read_text()
    assert f"[context {stack.stack.images.base}]" in log
