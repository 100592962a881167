"""An engine that stores images in containerd, as Docker Desktop and newer engines do by themselves.

It calls an image by its manifest, not by its configuration, and would add to each image how it was built.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import engine as engines
from tests.e2e.conftest import Devenv, Run, docker, free_port, make
from tests.e2e.witness import one_owner

pytestmark = pytest.mark.engine

SERVICES = ("httpd", "php-fpm")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    """It runs, from images that this engine has built."""
    if reason := engines.unfit():
        pytest.skip(reason)
    registry = f"[registry]\nport = {free_port()}\n"
    made = make(tmp_path_factory.mktemp("containerd"), "devenv-containerd", registry)
    # The path of a socket has to be short.
    with engines.engine(Path(tempfile.mkdtemp(prefix="dockerd-")), "containerd-snapshotter") as engine:
        engine.load(made.stack.images.base)
        made.through = engine.network
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", engine.host)
            assert "io.containerd.snapshotter" in docker("info", "--format", "{{.DriverStatus}}")
            made.done("registry", "up")
            made.done("up")
            yield made


def answer(run: Run, about: str) -> dict[str, Any]:
    [found] = [one["data"] for one in run.of("answer") if one["about"] == about]
    return dict(found)


def test_what_runs_is_current(stack: Devenv) -> None:
    fresh = answer(stack.done("status"), "status")["images"]
    assert {one["service"]: one["verdict"] for one in fresh} == dict.fromkeys(SERVICES, "current")


def test_what_is_built_is_not_built_again(stack: Devenv) -> None:
    run = stack.done("build")
    assert {one["result"] for one in run.of("step-ended")} == {"skipped"}, run.told()


def test_an_upgrade_under_load_loses_nothing(stack: Devenv) -> None:
    run = stack.done("upgrade", "--to", "v2", "--probe", "8")
    assert one_owner(stack)["release"] == "v2"
    probe = run.receipt["probe"]
    assert probe["acknowledged"] > 0
    assert (probe["lost"], probe["failed"]) == (0, 0)


def test_a_push_is_one_index_and_a_second_one_sends_nothing(stack: Devenv) -> None:
    first = answer(stack.done("push"), "push")["images"]
    again = answer(stack.done("push"), "push")["images"]
    for service in SERVICES:
        assert first[service]["layers_sent"] > 0
        assert again[service]["layers_sent"] == 0
        assert again[service]["digest"] == first[service]["digest"]
        # Its image alone: it was built without a record of how.
        [manifest] = first[service]["platforms"].values()
        image = stack.stack.image(service, first[service]["reference"].rpartition("-")[2])
        assert docker("image", "inspect", "--format", "{{.Id}}", image) == manifest
    assert not docker("image", "ls", "--quiet", f"localhost:{stack.stack.registry.port}/*")


def test_an_image_with_a_record_of_how_it_was_built_is_pushed_like_any_other(stack: Devenv) -> None:
    """As this engine builds by itself: its image is an index then."""
    name, repository = stack.stack.image("php-fpm", "v1"), f"localhost:{stack.stack.registry.port}/by-hand"
    build = ("buildx", "build", "--builder", "default", "--load", "--provenance=mode=min", "--tag", name, "-")
    subprocess.run(["docker", *build], input=f"FROM {name}\nENV BUILT=by-hand\n".encode(), check=True)
    first = answer(stack.done("push", "--registry", repository), "push")["images"]["php-fpm"]
    again = answer(stack.done("push", "--registry", repository), "push")["images"]["php-fpm"]
    assert docker("image", "inspect", "--format", "{{.Id}}", name) not in first["platforms"].values()
    assert len(first["platforms"]) == 1
    assert again["digest"] == first["digest"]
    assert again["layers_sent"] == 0
