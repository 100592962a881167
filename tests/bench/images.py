"""The rows of images: built anew, pushed again, and brought to a kind cluster in two ways."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from devenv import assets
from devenv.tools import docker, kind, process, programs
from devenv.tools.programs import KIND
from devenv.tools.registry import Registry
from tests.e2e.conftest import Devenv, free_port, make

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

TIMES = 3
_TEMPLATE = "templates/base.html.twig"


def stack(folder: Path) -> Devenv:
    """The demo site as an application of one's own, which can be changed."""
    more = f'backend = "kind"\n[app]\nsource = "app"\n[registry]\nport = {free_port()}\n'
    made = make(folder, "devenv-bench-images", more)
    left_out = shutil.ignore_patterns("var", "data", "seed")
    shutil.copytree(assets.docker_context() / "docker" / "app", folder / "app", ignore=left_out)
    return made


async def measure(bench: Bench) -> None:
    devenv = bench.devenv
    await asyncio.to_thread(devenv.done, "build")
    await asyncio.to_thread(devenv.done, "registry", "up")
    await _builds(bench)
    await _pushes(bench)
    await asyncio.to_thread(devenv.done, "up")
    await _releases(bench)


async def _builds(bench: Bench) -> None:
    template = bench.devenv.folder / "app" / _TEMPLATE
    changed, unchanged = [], []
    for number in range(TIMES):
        template.write_text(f"{template.read_text()}{{# {number} #}}\n")
        changed.append(await timed(bench.devenv, "build"))
        unchanged.append(await timed(bench.devenv, "build") / 2)
    bench.row(
        "a template changed, both images built",
        f"{min(changed):.1f} to {max(changed):.1f} s; nothing changed {max(unchanged):.2f} s an image",
        "3 s; 0.5 s an image",
        changed_s=changed,
        unchanged_s=unchanged,
    )


async def _pushes(bench: Bench) -> None:
    first = await timed(bench.devenv, "push")
    again, layers = [], 0
    for _ in range(TIMES):
        started = time.monotonic()
        run = await asyncio.to_thread(bench.devenv.done, "push")
        again.append(time.monotonic() - started)
        [answer] = [one for one in run.of("answer") if one["about"] == "push"]
        layers += sum(one["layers_sent"] for one in answer["data"]["images"].values())
    bench.row(
        "both images pushed to the registry of this machine",
        f"{first:.1f} s; again {min(again):.2f} to {max(again):.2f} s, {layers} layers sent",
        "again: 1 s, 0 layers",
        first_s=first,
        again_s=again,
        layers=layers,
    )


async def _releases(bench: Bench) -> None:
    """The second release into a cluster that has the first: through the registry, and by `kind load`."""
    devenv = bench.devenv
    name = devenv.stack.stack.name
    registry = Registry(name, devenv.stack.registry.port)
    through, loaded = [], []
    for number in range(TIMES):
        for times, way in ((through, "r"), (loaded, "l")):
            release = f"v{number}{way}"
            await asyncio.to_thread(devenv.done, "build", "--release", release)
            image = devenv.stack.image("php-fpm", release)
            started = time.monotonic()
            if way == "r":
                await registry.join(await kind.nodes(name))
                await kind.pull(name, [image], registry.host)
            else:
                program = await programs.path(KIND)
                await process.run([program, "load", "docker-image", image, "--name", name], timeout=120)
            times.append(time.monotonic() - started)
            await docker.call("image", "rm", image)
    ratio = sum(through) / sum(loaded)
    bench.row(
        "another release of php-fpm into the nodes of kind",
        f"{min(through):.1f} to {max(through):.1f} s; kind load docker-image"
        f" {min(loaded):.1f} to {max(loaded):.1f} s: {ratio:.2f} times",
        "0.35 times",
        through_s=through,
        loaded_s=loaded,
    )


async def timed(devenv: Devenv, *arguments: str) -> float:
    started = time.monotonic()
    await asyncio.to_thread(devenv.done, *arguments)
    return time.monotonic() - started
