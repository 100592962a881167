"""What runs, beside what the working tree would build: told as it is, and once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from devenv.engine import watching
from devenv.engine.content import status
from devenv.engine.context import Context
from devenv.engine.freshness import compare
from devenv.engine.lifecycle import up
from devenv.engine.watching import watch
from devenv.errors import ConfigError
from devenv.model import events as e
from devenv.model.freshness import Freshness, Made
from tests.backends.fake import FakeBackend
from tests.unit.conftest import FakeImages, Told


def of(running: str, made: Made, service: str = "php-fpm") -> Freshness:
    return Freshness(service, "v1", running, made)


@pytest.mark.parametrize(
    ("made", "verdict", "next_step"),
    [
        (Made("sha256:1", "a", "a"), "current", ""),
        (Made("sha256:1", "a", "b"), "stale", "devenv build --release v1, then devenv upgrade --to v1"),
        # By hand, without a label that says what it is made of.
        (Made("sha256:1", "", "b"), "stale", "devenv build --release v1, then devenv upgrade --to v1"),
        (Made("sha256:2", "b", "b"), "older", "devenv upgrade --to v1"),
        (Made("sha256:2", "a", "b"), "older", "devenv upgrade --to v1"),
        (Made("", "", "b"), "unknown", "devenv build --release v1, then devenv upgrade --to v1"),
    ],
)
def test_what_runs_is_current_stale_older_or_unknown(made: Made, verdict: str, next_step: str) -> None:
    found = of("sha256:1", made)
    assert (found.verdict, found.next_step) == (verdict, next_step)
    assert found.as_json()["verdict"] == verdict


def test_httpd_holds_no_content_so_up_replaces_it() -> None:
    assert of("sha256:1", Made("sha256:2", "b", "b"), "httpd").next_step == "devenv up"


async def test_status_tells_of_each_service_that_runs(ctx: Context, backend: FakeBackend, told: Told) -> None:
    await status(ctx)
    [answer] = told.of(e.Answer)
    assert answer.data["images"] == []
    told.clear()
    await up(ctx)
    images = ctx.images
    assert isinstance(images, FakeImages)
    images.tree = "changed"
    images.of = "tree"
    await status(ctx)
    data = told.of(e.Answer)[-1].data
    assert [(one["service"], one["verdict"]) for one in data["images"]] == [
        ("httpd", "stale"),
        ("php-fpm", "stale"),
    ]
    assert data["images"][1]["next"] == "devenv build --release v1, then devenv upgrade --to v1"


async def test_without_an_application_in_the_working_tree_status_tells_the_rest(
    ctx: Context, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made(*_: object) -> Made:
        raise ConfigError("there is no application", "", "")

    await up(ctx)
    monkeypatch.setattr(ctx.images, "made", made)
    assert await status(ctx) == 0
    assert told.of(e.Answer)[-1].data["images"] == []


async def test_the_owner_counts_where_there_are_two(ctx: Context, backend: FakeBackend) -> None:
    await up(ctx)
    there = await ctx.backend.instances()
    [owner] = [one for one in there if one.owner]
    other = replace(owner, id="other", image="php-fpm:v2", digest="sha256:v2", gate=None)
    for instances in ([owner, other], [other, owner]):
        [found] = [one for one in await compare(ctx, instances) if one.service == "php-fpm"]
        assert found.release == owner.tag


async def test_a_tree_that_changes_is_told_of_once_and_the_engine_asked_only_then(
    ctx: Context, backend: FakeBackend, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_TREE", 0.01)
    await up(ctx)
    images = ctx.images
    assert isinstance(images, FakeImages)
    task = asyncio.create_task(watch(ctx, lambda lines: None))

    async def compared(count: int) -> list[str]:
        while len(told.of(e.ImagesCompared)) < count:
            await asyncio.sleep(0.005)
        return [one.verdict for one in told.of(e.ImagesCompared)[-1].images]

    try:
        async with asyncio.timeout(5):
            while await compared(1) != ["current", "current"]:
                await asyncio.sleep(0.005)
            asked = images.looked
            await asyncio.sleep(0.1)
            assert images.looked == asked
            before = len(told.of(e.ImagesCompared))
            images.of, images.tree = "tree", "changed"
            assert await compared(before + 1) == ["stale", "stale"]
            await asyncio.sleep(0.1)
            assert len(told.of(e.ImagesCompared)) == before + 1
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
